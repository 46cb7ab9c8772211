# make demo   a real computation on the cores of this machine; needs Linux, Python 3.11 or newer, make
# make test   everything that a release needs: lint, types, layers, tests (SYSTEM=0 leaves the system's packages alone)
# The rest: make help

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help demo venv dev system lint types layers fast test test-hosts soak quick test-all bench bench-quick bench-system \
	testbed testbed-shell testbed-down \
	clean FORCE

HERE := $(CURDIR)
VENV := .venv
PY := '$(HERE)/$(VENV)/bin/python'
VERSIONS := 3.11 3.12 3.13
WORKERS := 2
# Of tests that mostly wait, for hosts and for leases.
WAITERS := 4
NAME := CENSUS
N := 3
ROUNDS := 10

# Nothing is written outside the clone by setting up or by the demonstration.
INSIDE = TMPDIR='$(HERE)/$(VENV)/tmp' PIP_CACHE_DIR='$(HERE)/$(VENV)/pip-cache' PIP_DISABLE_PIP_VERSION_CHECK=1 \
	PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_ROOT_USER_ACTION=ignore
INSIDE_BENCH = PIP_CACHE_DIR='$(HERE)/.venv-bench/pip-cache' PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
PIP = $(INSIDE) $(PY) -m pip --quiet

# The stamps hold the clone's path: a clone that was moved or copied is set up anew, since an environment cannot move.
stamp_is_ours = $(findstring <$(HERE)>,<$(shell cat $(1) 2>/dev/null)>)
runs = $(shell $(1) -c 'print("yes")' 2>/dev/null)

help:
	@echo 'make demo      a real computation on the cores of this machine, in the directory demo/'
	@echo 'make test      lint, types, layers, all tests, and bench-quick; SYSTEM=0 installs no system packages'
	@echo 'make test-hosts  of these only the tests on real sshd hosts in network namespaces (root)'
	@echo 'make soak      the table of faults on such hosts ten times, with 200 random schedules; about an hour; or ROUNDS=1'
	@echo 'make quick     lint, types, layers and the fast tests, in less than 30 s'
	@echo 'make test-all  the fast tests under each of Python $(VERSIONS) that is here'
	@echo 'make bench     ours beside every peer, in one run of two hours: tables, JSON, a plot (docs/performance.rst)'
	@echo 'make bench-quick  ours beside Pool, joblib and dask, in less than 3 minutes'
	@echo 'make testbed   N=3 hosts with sshd on this machine, to try a cluster on; as root, see tests/testbed/README.rst'
	@echo '               make testbed-shell enters it, make testbed-down removes it'
	@echo 'make venv      only set up .venv, for `python coordinator.py`'
	@echo 'make clean     remove what these made'

# --- setting up ---------------------------------------------------------------------------------------

venv: $(VENV)/.installed

dev: $(VENV)/.dev

$(VENV)/.installed: setup.py pyproject.toml $(if $(and $(call stamp_is_ours,$(VENV)/.installed),$(call runs,$(PY))),,FORCE)
	@python=$$(sh .ci/find-python $(PYTHON) python3.13 python3.12 python3.11 python3) || { \
		echo 'No Python 3.11 or newer with venv was found. On Debian or Ubuntu: apt-get install python3-venv;' >&2; \
		echo 'elsewhere install Python, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; }; \
	if [ -z '$(call runs,$(PY))' ] || [ -n '$(PYTHON)' ] || \
	   { [ -e $(VENV)/.installed ] && [ -z '$(call stamp_is_ours,$(VENV)/.installed)' ]; }; then \
		echo "setting up .venv with $$python"; "$$python" -m venv --clear $(VENV); fi
	@mkdir -p $(VENV)/tmp
	@$(PIP) install --config-settings editable_mode=compat --editable .
	@rm -rf $(VENV)/tmp && echo '$(HERE)' > $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed
	@mkdir -p $(VENV)/tmp
	@$(PIP) install --requirement requirements-dev.txt
	@rm -rf $(VENV)/tmp && echo '$(HERE)' > $@

system:
	@SYSTEM='$(SYSTEM)' sh .ci/system-packages

# --- the two commands ---------------------------------------------------------------------------------

demo: $(VENV)/.installed
	@mkdir -p demo/tmp demo/state
	@cd demo && TMPDIR='$(HERE)/demo/tmp' XDG_STATE_HOME='$(HERE)/demo/state' PATH='$(HERE)/$(VENV)/bin':"$$PATH" \
		$(PY) ../examples/census.py $(NAME) --local

# At its end ours beside Pool, joblib and dask, each run checked for every ID accepted once; no time makes it fail.
test: $(VENV)/.dev system lint types layers
	@$(PY) -m pytest -q -n $(WAITERS) --dist loadscope tests
	@$(INSIDE_BENCH) $(PY) -m benchmarks --quick --no_plot

test-hosts: $(VENV)/.dev system
	@$(PY) -m pytest -q -n $(WAITERS) --dist loadscope tests/hosts

soak: $(VENV)/.dev system
	@$(PY) -m tests.hosts.faults.soak $(ROUNDS)

# --- parts of them ------------------------------------------------------------------------------------

lint: $(VENV)/.dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m codespell_lib

types: $(VENV)/.dev
	@$(PY) -m mypy

layers: $(VENV)/.dev
	@$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()'

# Fast because the tests' own directories are in memory where there is room, because compiled modules are kept (inside
# .venv, whatever the user's setting is), and because property tests try 20 examples each instead of 100.
fast: $(VENV)/.dev
	@room=$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 500000 {print "/dev/shm"}'); \
	[ -z "$$room" ] || [ ! -w "$$room" ] || export PYTEST_DEBUG_TEMPROOT="$$room"; \
	env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX='$(HERE)/$(VENV)/pycache' \
		$(PY) -m pytest -q -n $(WORKERS) -m 'not slow' --hypothesis-profile=quick tests/unit tests/contract \
		--ignore=tests/unit/test_simulate.py --ignore=tests/unit/test_simulated_mutants.py

quick: lint types layers fast

test-all:
	@summary=''; status=0; for version in $(VERSIONS); do \
		python=$$(sh .ci/find-python $$version) || { summary="$$summary$$version is not here; "; continue; }; \
		venv=$(VENV)-$$version; \
		echo "Python $$version ($$python)"; \
		if [ "$$(cat $$venv/.dev 2>/dev/null)" != '$(HERE)' ] || [ setup.py -nt $$venv/.dev ] || [ requirements-dev.txt -nt $$venv/.dev ]; then \
			"$$python" -m venv --clear $$venv && mkdir -p $$venv/tmp && \
			$(subst $(VENV)/tmp,'$$venv'/tmp,$(INSIDE)) \
				$$venv/bin/python -m pip --quiet install --config-settings editable_mode=compat --editable . --requirement requirements-dev.txt && \
			rm -rf $$venv/tmp && echo '$(HERE)' > $$venv/.dev || exit 1; \
		fi; \
		if $$venv/bin/python -m pytest -q -n $(WORKERS) -p no:cacheprovider tests/unit tests/contract; \
		then summary="$$summary$$version passed; "; else summary="$$summary$$version FAILED; "; status=1; fi; \
	done; echo "test-all: $${summary%; }"; exit $$status

# --- measuring ----------------------------------------------------------------------------------------

# Nothing that is measured runs in .venv: benchmarks/ makes environments of its own below .venv-bench, ours among them.
# BENCH='--only start --rounds 9', for instance; `$(PY) -m benchmarks --help` lists all.
bench: $(VENV)/.installed bench-system
	@$(INSIDE_BENCH) $(PY) -m benchmarks $(BENCH)

bench-quick: $(VENV)/.installed
	@$(INSIDE_BENCH) $(PY) -m benchmarks --quick --no_plot $(BENCH)

bench-system:
	@SYSTEM='$(SYSTEM)' sh .ci/system-packages bench

# --- hosts to try a cluster on ------------------------------------------------------------------------

testbed: $(VENV)/.installed system
	@$(PY) -m tests.testbed up $(N)

testbed-shell: $(VENV)/.installed
	@$(PY) -m tests.testbed shell

testbed-down: $(VENV)/.installed
	@$(PY) -m tests.testbed down

clean:
	@rm -rf $(VENV) .venv-bench $(addprefix $(VENV)-,$(VERSIONS)) demo build dist *.egg-info .hypothesis .coverage .coverage.* \
		.mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
