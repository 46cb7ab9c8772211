"""The examples, run as a newcomer runs them: real commands, real processes, in a folder of the test's own."""

import hashlib
import importlib.util
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid

import psutil
import pytest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HANG_S = 120  # a bound on what hangs, no promise of speed
needs_blast = pytest.mark.skipif(
    not (shutil.which("blastn") and shutil.which("makeblastdb")),
    reason="no blastn on this machine (Debian: apt-get install ncbi-blast+)",
)


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path):
    """run(script, *arguments) -> (exit status, output): in tmp_path, with its own home and temporary directory."""
    mark = uuid.uuid4().hex
    for name in "home", "tmp":
        (tmp_path / name).mkdir()

    def marked():
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("EXAMPLES_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def start(script, *arguments, path=()):
        environment = {
            **os.environ,
            "EXAMPLES_TEST": mark,
            "HOME": str(tmp_path / "home"),
            "XDG_STATE_HOME": str(tmp_path / "home" / "state"),
            "TMPDIR": str(tmp_path / "tmp"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "160",
            "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]),
        }
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return done.returncode, done.stdout

    yield start
    _, left = psutil.wait_procs(marked(), timeout=20)
    told = [(process.pid, process.cmdline()) for process in left]
    for process in left:
        process.kill()
    assert not told, f"processes that outlived their job: {told}"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """results(NAME) -> {id: value} of a job that ran in tmp_path; each ID has one result."""
    import coordinator

    monkeypatch.chdir(tmp_path)

    def read(name):
        pairs = list(coordinator.results(name))
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return read


# census.py


def test_the_census_measures_every_module_once_and_prints_the_table(run, results):
    status, output = run(EXAMPLES / "census.py", "CENSUS", "--local=2", "--limit=40")
    assert status == 0, output
    census = load("census")
    expected = {path: census.measure_file(path) for path in census.serve_modules(limit=40)}
    assert results("CENSUS") == expected
    functions, lines = (sum(m[key] for m in expected.values()) for key in ("functions", "lines"))
    assert f"The 10 most complex of {functions:,} functions, 40 modules, {lines:,} lines" in output
    most = max((f for m in expected.values() for f in m["complex"]), key=lambda f: f["complexity"])
    assert re.search(rf"{most['complexity']}\W+{re.escape(most['name'])}\W", output)


def test_a_file_that_is_not_python_costs_one_task_of_the_census(run, results, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(12):
        (folder / f"good{number:02}.py").write_text("def f(a):\n    return a or 1\n")
    broken = folder / "broken.py"
    broken.write_text("def (:\n")
    status, output = run(EXAMPLES / "census.py", "MINE", "--local=2", f"--folder={folder}")
    assert status == 1, output
    assert "SyntaxError" in output
    assert len(results("MINE")) == 12
    assert (tmp_path / "MINE.error").read_text().splitlines() == [str(broken)]
    assert len((tmp_path / "MINE.success").read_text().splitlines()) == 12


def test_a_misspelt_option_of_the_census_is_an_error_that_names_the_near_one(run, tmp_path):
    status, output = run(EXAMPLES / "census.py", "CENSUS", "--local=2", "--limt=40")
    assert status == 2, output
    assert "--limit" in output
    assert not (tmp_path / "CENSUS.journal").exists()


# mapclusters.py


def test_the_made_genome_is_the_same_bytes_everywhere(tmp_path):
    load("make_genome").make(str(tmp_path))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in tmp_path.iterdir()}
    assert digests == {"genome.fa": "f87634f0761b0933", "clusters.fa": "05a28dea8bddce93"}


def test_an_alignment_is_read_with_its_strand_and_intervals_from_0():
    table = "1\t600\tchr2\t2000\t1401\t99.0\t1000\n11\t20\tchr1\t5\t14\t100.0\t20.5\n1\t50\tchr2\t1\t50\t98.0\t90\n"
    found = load("mapclusters").best_alignments(table, maxseq=1)
    assert [
        (a["src_start"], a["src_end"], a["dest_id"], a["dest_start"], a["dest_end"], a["dest_ori"]) for a in found
    ] == [
        (0, 600, "chr2", 1400, 2000, -1),
        (0, 50, "chr2", 0, 50, 1),
    ]
    assert load("mapclusters").best_alignments("", maxseq=1) == []


def test_a_cluster_that_is_mapped_again_leaves_only_its_last_answer(tmp_path):
    mapclusters = load("mapclusters")
    a = mapclusters.best_alignments("1\t600\tchr2\t2000\t1401\t99.0\t1000\n1\t50\tchr2\t1\t50\t98.0\t90\n", maxseq=1)
    db = mapclusters.open_table(str(tmp_path / "a.db"), "t")
    for alignments in a, a, a[:1], a[:1]:
        mapclusters.save_alignment(db, "t", "c1", alignments)
        mapclusters.save_alignment(db, "t", "c2", a)
    assert db.execute("SELECT src_id, hit, bitscore FROM t ORDER BY 1, 2").fetchall() == [
        ("c1", 0, 1000.0),
        ("c2", 0, 1000.0),
        ("c2", 1, 90.0),
    ]
    db.close()


def test_a_table_name_from_the_command_line_is_never_sql(tmp_path):
    with pytest.raises(ValueError, match="--result_table"):
        load("mapclusters").open_table(str(tmp_path / "a.db"), 't"; DROP TABLE t; --')
    assert not (tmp_path / "a.db").exists()


@pytest.fixture
def mapping(tmp_path):
    """The script in a folder with a space, a makeblastdb that counts its calls: (script, its directory, the count)."""
    folder, counting, counted = tmp_path / "my examples", tmp_path / "bin", tmp_path / "built"
    folder.mkdir()
    counting.mkdir()
    for name in "mapclusters.py", "make_genome.py":
        shutil.copy(EXAMPLES / name, folder)
    wrapper = counting / "makeblastdb"
    wrapper.write_text(f"#!/bin/sh\necho built >> '{counted}'\nexec {shutil.which('makeblastdb')} \"$@\"\n")
    wrapper.chmod(0o755)
    return folder / "mapclusters.py", counting, counted


def clusters(path):
    """{name: (chromosome, start, end, strand) | None}: where each cluster was cut, as its header says."""
    found = {}
    for name, where in re.findall(r"^>(\S+) (\S+)$", path.read_text(), re.MULTILINE):
        place = re.fullmatch(r"(\w+):(\d+)-(\d+)\(([+-])\)", where)
        found[name] = place and (place[1], int(place[2]), int(place[3]), 1 if place[4] == "+" else -1)
    return found


@needs_blast
def test_each_cluster_is_mapped_to_where_it_was_cut_and_the_genome_is_built_once(run, results, mapping):
    script, counting, counted = mapping
    status, output = run(script, "MAPPED", "--local=3", path=[counting])
    assert status == 0, output
    assert counted.read_text() == "built\n"  # by one of three Processors that all asked at once

    data = script.parent / "mapclusters-data"
    cut = clusters(data / "clusters.fa")
    assert sum(place is None for place in cut.values()) == 5
    found = results("MAPPED")
    assert found.keys() == cut.keys()
    for name, place in cut.items():
        if place is None:
            assert found[name] == []
            continue
        best = found[name][0]
        assert (best["dest_id"], best["dest_ori"]) == (place[0], place[3])
        # BLAST may leave out what lies between a substitution and the end: they are 100 bases apart
        assert 0 <= best["dest_start"] - place[1] < 100
        assert 0 <= place[2] - best["dest_end"] < 100

    db = sqlite3.connect(data / "alignments.db")
    saved = db.execute("SELECT src_id, hit, dest_id, dest_start, dest_end FROM genome_alignment").fetchall()
    db.close()
    assert sorted(saved) == sorted(
        (name, hit, a["dest_id"], a["dest_start"], a["dest_end"])
        for name, alignments in found.items()
        for hit, a in enumerate(alignments)
    )


@needs_blast
def test_the_options_of_the_command_line_reach_the_mapping(run, results, mapping, tmp_path):
    script, _, _ = mapping
    arguments = "--result_table=other", f"--dbname={tmp_path / 'other.db'}", "--rmOpts=-dust no -word_size 40"
    status, output = run(script, "OTHER", "--local=2", *arguments)
    assert status == 0, output
    db = sqlite3.connect(tmp_path / "other.db")
    assert db.execute("SELECT count(DISTINCT src_id) FROM other").fetchone() == (115,)
    db.close()


@needs_blast
def test_masking_options_that_blastn_refuses_are_reported_in_its_own_words(run, mapping):
    script, _, _ = mapping
    status, output = run(script, "WRONG", "--local=2", "--rmOpts=-rodent")
    assert status == 1, output
    assert 'Unknown argument: "rodent"' in output
