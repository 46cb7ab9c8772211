"""What tests of launching share: a script that notes which task ran where, and the options of a host's other names.

test_launching.py and its like use it; their fixtures ``home`` and ``farm`` are in conftest.py.
"""

from __future__ import annotations

from coordinator import RCMonitor
from coordinator.wire.client import split_url
from tests.end_to_end.daemons import Daemons, until
from tests.testbed.host import Host

#: notes which task ran where, in a file that all hosts see
SCRIPT = """\
import os, time


def client(server, **kwargs):
    for task_id in server:
        while not any(os.path.exists(os.path.join({directory!r}, name)) for name in ("go", "go." + str(task_id))):
            time.sleep(0.01)
        with open(os.path.join({directory!r}, "ran"), "a") as file:
            file.write("%s %s %d\\n" % (task_id, os.uname().nodename, os.getpid()))
        time.sleep(0.02)
        yield task_id


def serve(n=100, **kwargs):
    yield from range(int(n))


if __name__ == "__main__":
    import coordinator

    with open(os.path.join({directory!r}, "loaded"), "a") as file:
        file.write(os.uname().nodename + "\\n")
    coordinator.start_client_or_server(client, serve, {resources!r}, __file__)
"""


def ran(farm: Daemons) -> dict[str, str]:
    """{task: host} of what ran."""
    path = farm.directory / "ran"
    return (
        {words[0]: words[1] for line in path.read_text().splitlines() if (words := line.split())}
        if path.exists()
        else {}
    )


def at(host: Host, *more: str) -> str:
    """Options of NAME.hosts for another name of that host."""
    return ",".join([f"sshopts=-o HostName={host.address}", *more])


def told_everywhere(farm: Daemons, rc_url: str, job: str, host: str, words: str, what: str) -> None:
    """Sooner or later ``words`` stand in the job's log, in the row of the host in a monitor's table of hosts, and in
    `coordinator why HOST` under ``what``."""
    _, port, _, _ = split_url(rc_url)
    monitor = RCMonitor(port=port)
    said: list[str] = []

    def in_table() -> bool:
        monitor.get_status()
        said[:] = [" ".join(map(str, one.row())) for one in monitor.hosts if one[0] == host]
        return words in said[0]

    def in_why() -> bool:
        reasons = farm.document("why", host, f"--rc_url={rc_url}")["reasons"]
        said[:] = [f"{one['what']} | {one['why']}" for one in reasons]
        return any(what in one["what"] and words in one["why"] for one in reasons)

    def in_log() -> bool:
        said[:] = [farm.log(job)]
        return words in said[0]

    for place, there in (("the log", in_log), ("m.hosts", in_table), (f"coordinator why {host}", in_why)):
        try:
            until(there, words)
        except AssertionError:
            raise AssertionError(f"{words!r} is not in {place}, which says:\n{said[0]}") from None
