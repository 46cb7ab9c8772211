"""Commands about the farm: hosts, rules, stopping a ResourceController, and the ResourceController's own role.

coordinator.commands imports this file for `hosts`, `rules`, `stop --rc=NAME` and `--rc=NAME`. The role starts a new
interpreter as a daemon and returns when that is ready, or with its error; `--foreground` is the server itself.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import (
    CONTEXT,
    ask_farm,
    document,
    finite,
    json_option,
    print_json,
    print_tables,
    rc_url_option,
)
from coordinator.errors import StateError

if TYPE_CHECKING:
    from coordinator.remote import Remote
    from coordinator.tables import Table

NEEDS_NAME = (
    "--rc needs the ResourceController's name: --rc=NAME (it names NAME.hosts, NAME.log, NAME.rules, NAME.rsrc)"
)
# A ResourceController that was told to stop writes its shelves and goes; longer than that is worth a word.
STOP_WAIT_S = 15.0


@click.command(context_settings=CONTEXT)
@click.argument("what", type=click.Choice(["check", "trust"]), required=False)
@click.argument("which", required=False, metavar="[NAME|HOST]")
@click.option("--path", metavar="PATH", help="With check: what every host must see.  [default: here]")
@json_option
@rc_url_option
def hosts(what: str | None, which: str | None, path: str | None, as_json: bool, rc_url: str | None) -> int:
    """The hosts of a ResourceController: load, processors, state, and why one is not used.

    \b
    check [NAME]: log in to every host of NAME.hosts and tell what to do about each fault.
    trust HOST:   show the fingerprint of a host's key, and record it after a yes.
    """
    if what == "check":
        from coordinator.commands.hosts import check

        return check(which, rc_url, path, as_json)
    if what == "trust":
        from coordinator.commands.hosts import trust

        if which is None:
            raise click.UsageError("which host? `coordinator hosts trust HOST`")
        return trust(which, rc_url, as_json)
    from coordinator.monitor import HOSTS, host_row
    from coordinator.tables import Table, cell

    farm = _farm(rc_url)
    if as_json:
        content = {"controller": farm["name"], "throttle": farm["throttle"], "problem": farm.get("hosts_error")}
        print_json(document("hosts", **content, hosts=farm["hosts"]))
        return 0
    if farm.get("hosts_error"):
        print(f"The edited hosts file is not used: {cell(farm['hosts_error'])}", file=sys.stderr)
    rows = [host_row(name, host) for name, host in sorted(farm["hosts"].items())]
    print_tables([Table(HOSTS, rows, empty=f"(no hosts: {farm['name']}.hosts names none)")])
    return 0


@click.command(context_settings=CONTEXT)
@json_option
@rc_url_option
def rules(as_json: bool, rc_url: str | None) -> int:
    """The rules of a ResourceController, what is built, what is locked now and what could not be built."""
    farm = _farm(rc_url)
    keys = ("rules", "resources", "built", "locks", "builds", "failed_builds")
    if as_json:
        print_json(document("rules", controller=farm["name"], **{key: farm.get(key) for key in keys}))
        return 0
    print_tables(rule_tables(farm))
    return 0


def rule_tables(farm: dict[str, Any]) -> list[Table]:
    from coordinator.tables import Column, Table, bytes_size, clock_time, columns

    since = Column("since", clock_time)
    there = sorted(farm.get("built") or [], key=lambda one: (str(one["resource"]), str(one["host"])))
    built = [[one.get(key) for key in ("resource", "host", "path", "since", "size_bytes")] for one in there]
    building = [[b.get(key) for key in ("resource", "host", "pid", "since", "job")] for b in farm.get("builds") or []]
    failed = sorted((farm.get("failed_builds") or {}).items())
    return [
        Table(columns("resource", "file", "command"), [[name, *rule] for name, rule in farm["rules"].items()], "Rules"),
        Table(columns("resource", "host", "file", since, Column("size", bytes_size)), built, "Built"),
        Table(columns("resource", "host", "pid", since, "job"), building, "Under construction"),
        *([Table(columns("host:resource", "reason"), failed, "Could not be built")] if failed else []),
    ]


def _farm(rc_url: str | None) -> dict[str, Any]:
    farm, _ = ask_farm(rc_url)
    assert farm is not None
    return farm


# --- the ResourceController itself -----------------------------------------------------------------


def _a_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value or value.startswith("-"):
        raise click.UsageError(NEEDS_NAME)
    from coordinator import paths

    return paths.check_name(value)


@click.command("coordinator", context_settings=CONTEXT)
@click.option("--rc", metavar="NAME", required=True, callback=_a_name, help="Its name, and that of its files.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0: any free one.")
@click.option(
    "--overload_margin",
    type=click.FloatRange(min=0),
    default=0.6,
    show_default=True,
    callback=finite,
    help="Load above a host's maxload that is borne before processors leave.",
)
@click.option(
    "--rebalance_frequency",
    type=click.FloatRange(min=0, min_open=True),
    default=1200.0,
    show_default=True,
    callback=finite,
    metavar="SECONDS",
    help="Shares are settled anew at least so often; events do so at once.",
)
@click.option("--errlog", metavar="FILE", help="Its log.  [default: NAME.log]")
@click.option(
    "--throttle",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    callback=finite,
    help="Share of all hosts' maxload to use.",
)
@click.option("--host", metavar="NAME", default="", help="Interface to bind and name to announce.  [default: all]")
@click.option("--no_tls", is_flag=True, help="Plain HTTP for other machines too, on a network that you trust.")
@click.option(
    "--insecure",
    is_flag=True,
    help="Ask nobody for a token: whoever can reach the port may do everything. Only on a network that you trust.",
)
@click.option("--foreground", is_flag=True, help="Stay in this terminal until Ctrl-C.")
def controller(foreground: bool, **options: Any) -> int:
    """Start a ResourceController as a daemon: it shares the hosts of NAME.hosts between jobs."""
    options["errlog"] = os.path.abspath(options["errlog"] or f"{options['rc']}.log")
    return _serve(options) if foreground else _start(options)


def _start(options: dict[str, Any]) -> int:
    """Start the daemon; say where it is before the prompt returns."""
    from coordinator import daemons

    words = [f"--{name}={value}" for name, value in options.items() if value != "" and not isinstance(value, bool)]
    words += [f"--{name}" for name, value in options.items() if value is True]
    argv = [sys.executable, "-P", "-m", "coordinator", *words, "--foreground"]
    ready = daemons.start_daemon(argv, importable(dict(os.environ)), options["errlog"])
    _say_ready(options, ready)
    return 0


def importable(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which a new interpreter finds this very package: a checkout is on no path of its own."""
    import coordinator

    parent = os.path.dirname(os.path.dirname(os.path.abspath(coordinator.__file__ or "")))
    # An installed package is found already, and its directory in PYTHONPATH could hide standard modules.
    if os.path.basename(parent) not in ("site-packages", "dist-packages"):
        known = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = parent + (os.pathsep + known if known else "")
    return environment


def _say_ready(options: dict[str, Any], ready: dict[str, Any]) -> None:
    from coordinator.tables import cell

    print(f"ResourceController {cell(options['rc'])} is ready")
    print(f"  url  {cell(ready.get('url'))}")
    print(f"  pid  {cell(ready.get('pid'))}")
    print(f"  log  {cell(options['errlog'])}", flush=True)
    if options["insecure"]:
        from coordinator.door import INSECURE

        print(f"warning: {INSECURE.format(ready.get('port'))}", file=sys.stderr)


def _serve(options: dict[str, Any]) -> int:
    """Be the server, until it is stopped; a failure to start is told to whoever waits for us."""
    from coordinator import daemons
    from coordinator.controller import serve_controller
    from coordinator.errors import CoordinatorError

    def announce(**details: Any) -> None:
        if not daemons.report_ready(**details):
            _say_ready(options, {"pid": os.getpid(), **details})

    try:
        # On stderr: the terminal's, or for a daemon its log.
        serve_controller({**options, "foreground": True}, announce)
    except (CoordinatorError, OSError) as problem:
        daemons.report_failed(problem)
        raise
    return 0


def stop_controller(name: str, rc_url: str | None, as_json: bool) -> int:
    """Stop the ResourceController of that name. Its jobs go on with the processors that they have."""
    from coordinator.controller import read_run_file
    from coordinator.remote import controller as controller_at

    noted = read_run_file(os.getcwd(), name) or {}
    remote = controller_at(rc_url or noted.get("url"))
    farm = remote.call("get_farm")
    if farm["name"] != name:
        raise StateError(
            f"The ResourceController at {remote.url} is called {farm['name']!r}, not {name!r}. Type this in the "
            f"directory where {name} was started, or give its URL (--rc_url=http://host:port)."
        )
    ended = _stop_and_wait(remote, int(farm["pid"]))
    if as_json:
        content = {"controller": name, "url": remote.url, "pid": farm["pid"], "jobs": len(farm["jobs"])}
        print_json(document("stop", ended=ended, **content))
    else:
        now = "has ended" if ended else "was told to stop"
        print(f"ResourceController {name} at {remote.url} {now}; {len(farm['jobs'])} jobs go on without it.")
    return 0


def _stop_and_wait(remote: Remote, pid: int) -> bool:
    """Call stop() and wait for the process to end, if it is one of this machine's; whether it is known to be gone."""
    import select

    from coordinator import paths, procs
    from coordinator.wire.client import split_url

    watched = None
    if paths.is_this_machine(split_url(remote.url)[0]):
        try:
            watched = procs.open_pidfd(pid)
        except OSError:  # another user's view of /proc, or a container's: then it is only told
            watched = None
    try:
        remote.call("stop")
        if watched is None:
            return False
        return bool(select.select([watched], [], [], STOP_WAIT_S)[0])
    finally:
        if watched is not None:
            os.close(watched)
