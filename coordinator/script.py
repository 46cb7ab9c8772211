"""start_client_or_server: a user's script calls it, and it finds out which role this process has.

The same script is the Coordinator (``python script.py NAME``), the Coordinator in the foreground (``--local``), a
Processor started by hand (``--url=...``), and, started by a keeper or a Coordinator, a zygote, a Processor or a feeder.
It defines nothing and decides nothing about tasks; a process that is not the foreground Coordinator never returns
from it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from coordinator import options
from coordinator.clients import check_client
from coordinator.errors import BadOption, ControllerLost, CoordinatorError, PeerLost, StateError
from coordinator.loading import loading
from coordinator.processor import Processor
from coordinator.zygote import ROLE, Work, Zygote, work_as_processor

if TYPE_CHECKING:
    from coordinator.job import Outcome
    from coordinator.sitelink import Site

#: in the environment of a Coordinator that shall serve in the background: it was started by the one that was typed
DAEMON = "COORDINATOR_DAEMON"


def start_client_or_server(
    client: Callable[..., Any],
    server: Callable[..., Iterable[Any]],
    resources: Iterable[str] | dict[str, Any] = (),
    script: str | None = None,
    setup: Callable[..., Any] | None = None,
    exit: bool = True,
) -> Outcome | None:
    """Run this script as a Coordinator or as a Processor, as the command line says.

    ``client``: a generator function ``f(server, **options)`` that loops over ``server`` and yields each ID when its
    work is done, or a plain function ``f(task_id, **options)`` whose value, if not None, is the result. ``server``: a
    generator function ``f(**options)`` of task IDs. ``resources``: names of resources, or ``{name: (path, command)}``.
    ``setup``: called once in each Processor before a plain function; what it returns is the function's parameter
    ``setup``.

    Returns the outcome of a job that ran in the foreground, None after a job was started in the background. Ends the
    process on bad options, and with the job's exit status when not everything was done, unless ``exit`` is false.
    """
    script = script or sys.argv[0]
    try:
        check_client(client)
        line = options.read(sys.argv[1:], _takers(client, server, setup), sys.argv[0])
        work = Work(
            client, setup, options.taken_by(client, line.users), options.taken_by(setup, line.users) if setup else {}
        )

        def make() -> Iterable[Any]:
            return server(**options.taken_by(server, line.users))

        role = os.environ.pop(ROLE, None)
        if role is not None:
            sys.exit(_play(role, work, make))
        for warning in line.warnings:
            print(f"{sys.argv[0]}: {warning}", file=sys.stderr)
        if line.url is not None:
            sys.exit(_work_by_hand(line, work))
        ours = dict(line.ours)
        foreground = ours.pop("foreground")
        if ours["local"] is None and not foreground and DAEMON not in os.environ:
            _start_daemon(line)
            return None
        outcome = _coordinate(line.name, script, make, resources, work, ours, line.users)
        if exit and not outcome.ok:
            sys.exit(outcome.exit_status)
        return outcome
    except BadOption as error:
        print(f"{sys.argv[0]}: {error.message}", file=sys.stderr)
        sys.exit(2)
    except (CoordinatorError, OSError) as raised:
        problem = raised if isinstance(raised, CoordinatorError) else StateError(_refused(raised))
        if DAEMON in os.environ and _report_failed(problem):
            sys.exit(1)
        print(f"{sys.argv[0]}: {problem.message}", file=sys.stderr)
        sys.exit(1)


def _report_failed(problem: CoordinatorError) -> bool:
    from coordinator import daemons

    return daemons.report_failed(problem)


def _refused(error: OSError) -> str:
    """What the system refused: a file of the job's, since the user's code runs in other processes."""
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def _takers(
    client: Callable[..., Any], server: Callable[..., Any], setup: Callable[..., Any] | None
) -> list[tuple[Callable[..., Any], int]]:
    takers = [(client, 1), (server, 0)]
    if setup is not None:
        takers.append((setup, 1))
    return takers


# --- the Coordinator ----------------------------------------------------------------------------------


def _coordinate(
    name: str,
    script: str,
    make: Callable[[], Iterable[Any]],
    resources: Any,
    work: Work,
    ours: dict[str, Any],
    users: dict[str, Any],
) -> Outcome:
    from coordinator.forerunners import fork_forerunners

    forerunners = fork_forerunners(make, work)
    try:
        with loading():  # while they load what they need
            from coordinator.taskserver import Coordinator

        job = Coordinator(
            name, script, make, resources, work=work, forerunners=forerunners, site=_site(ours),
            **{k: v for k, v in ours.items() if k in OURS_FOR_COORDINATOR},
        )  # fmt: skip
    except BaseException:
        forerunners.dismiss()
        raise
    job.user_options = users
    if DAEMON in os.environ:

        def announce(told: dict[str, Any]) -> None:
            from coordinator import daemons, paths

            paths.note_run(name, job.job.directory)
            os.environ.pop(DAEMON, None)
            daemons.report_ready(**told)

        outcome = job.serve_forever(announce)
        sys.exit(outcome.exit_status)
    from coordinator.progress import Progress

    progress = Progress(name)
    job.on_tick = progress.show

    def begin(told: dict[str, Any]) -> None:
        progress.begin(told)
        _warn(ours, told)

    outcome = job.serve_forever(begin)
    progress.end(job.job, outcome)
    return outcome


def _site(ours: dict[str, Any]) -> Site | None:
    if ours["executor"] is None:
        return None
    from coordinator.sitelink import Site

    return Site.of(ours)


def _warn(ours: dict[str, Any], told: dict[str, Any]) -> None:
    """Loudly, each time."""
    if ours["insecure"]:
        from coordinator.door import INSECURE
        from coordinator.wire.client import split_url

        print(f"warning: {INSECURE.format(split_url(told['url'])[1])}", file=sys.stderr)


OURS_FOR_COORDINATOR = frozenset(option.name for option in options.OURS) - {"foreground"}


def _start_daemon(line: options.CommandLine) -> None:
    """Start this script anew in the background and tell where it serves, or why it does not."""
    from coordinator import daemons, paths
    from coordinator.addresses import remember, without_token
    from coordinator.zygote import script_argv

    name = paths.check_name(line.name)
    log = line.ours["errlog"] or f"{name}.log"
    argv, url = script_argv(), line.ours["rc_url"]
    if url:
        try:
            argv = [word.replace(url, remember(url)) for word in argv]
        except PeerLost as error:
            from coordinator.link import nobody_words

            raise ControllerLost(nobody_words(without_token(url), error)) from error
    told = daemons.start_daemon(argv, {**os.environ, DAEMON: "1"}, log)
    print(f"{name}: serving at {told['url']}, pid {told['pid']}, log {told['log']}")
    _warn(line.ours, told)
    print(
        f"watch it with `coordinator status {name}`, wait for it with `coordinator wait {name}`, "
        f"end it with `coordinator stop {name}`"
    )


# --- the other roles ----------------------------------------------------------------------------------


def _play(role: str, work: Work, make: Callable[[], Iterable[Any]]) -> int:
    """Be what a keeper or a Coordinator started this process for: "role:descriptor:descriptor"."""
    part, first, second = role.split(":")
    for descriptor in (int(first), int(second)):
        os.set_inheritable(descriptor, False)
    if part == "zygote":
        from coordinator.zygote import script_argv

        return Zygote(socket.socket(fileno=int(first)), int(second), work, script_argv()).serve()
    if part == "processor":
        with os.fdopen(int(first), "rb") as pipe:
            order = json.loads(pipe.read())
        return work_as_processor(order, int(second), work)
    if part == "feeder":
        from coordinator.feeder import run_feeder

        return run_feeder(make, int(first), int(second))
    raise BadOption(f"{ROLE}={role} is not a role of this version")


def _work_by_hand(line: options.CommandLine, work: Work) -> int:
    from coordinator.addresses import known_address

    assert line.url is not None
    server = known_address(line.url)
    processor = Processor(
        server.url, line.ours.get("rc_url"), line.logfile or False, token=server.token, fingerprint=server.fingerprint
    )
    return 0 if processor.run_all(work.client, work.setup, work.setup_options, **work.options) == "run_all done" else 1
