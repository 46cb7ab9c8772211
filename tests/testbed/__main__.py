"""What ``make testbed`` and its like call: put the standing testbed up, try faults on it by hand, take it down.

python -m tests.testbed up [N] | status | shell | env | run HOST COMMAND... | crash HOST | boot HOST | heal HOST |
    cut HOST [both|in|out] | delay HOST MS | load HOST RUNNABLE | killsshd HOST | startsshd HOST | freeze HOST |
    thaw HOST | memlimit HOST BYTES | down
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable

from tests.testbed.host import Host
from tests.testbed.hosts import ROOT, STANDING, STATE, Hosts, watch
from tests.testbed.machine import TestbedError, missing
from tests.testbed.processes import Process


def _cut(host: Host, direction: str = "both") -> None:
    if direction not in ("both", "in", "out"):
        raise TestbedError(f"cut {host.name} both, in or out, not {direction}")
    host.cut(direction)  # type: ignore[arg-type]


_FAULTS: dict[str, Callable[..., object]] = {
    "crash": Host.crash,
    "powercut": lambda host: host.crash(silent=True),
    "boot": Host.boot,
    "cut": _cut,
    "heal": Host.heal,
    "delay": lambda host, delay_ms: host.delay(float(delay_ms)),
    "load": lambda host, load: host.set_load(float(load)),
    "killsshd": Host.kill_sshd,
    "startsshd": Host.start_sshd,
    "freeze": Host.freeze,
    "thaw": Host.thaw,
    "memlimit": lambda host, limit_bytes: host.limit_memory(int(limit_bytes)),
}


def _up(count: int) -> None:
    if (STATE / str(STANDING) / "bed.json").exists():
        hosts = Hosts.standing()
        if len(hosts) == count and all(host.is_up and host.sshd for host in hosts):
            print(f"{count} hosts are standing already")
            return
        hosts.down()
    hosts = Hosts(count, standing=True).up()
    print(f"{count} hosts are up: {hosts[0].name} ({hosts[0].address}) to {hosts[-1].name} ({hosts[-1].address})")
    print(f"a folder that all of them share: {hosts.shared}")
    print("a shell that knows them by name, with the key in its agent: make testbed-shell")
    print("to take them down: make testbed-down")


def _down() -> None:
    hosts = Hosts.standing_or_not()
    hosts.down()


def _shell(hosts: Hosts) -> None:
    path = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '')}"
    argv = hosts.here(os.environ.get("SHELL", "/bin/sh"))
    os.execvpe(argv[0], argv, {**os.environ, **hosts.environment, "PATH": path})


def _status(hosts: Hosts) -> None:
    for host in hosts:
        state = "down" if not host.is_up else "up" if host.sshd else "up, no sshd listens"
        print(f"{host.name:8} {host.address:14} {state}")
        for each in host.processes() if host.is_up else ():
            print(f"    {each}")


def main(words: list[str]) -> int:
    verb, rest = (words[0] if words else ""), words[1:]
    reason = missing()
    if reason is not None:
        raise TestbedError(reason)
    if verb == "watch" and len(rest) == 3:
        watch(int(rest[0]), Process(int(rest[1]), rest[2]))
    elif verb == "up" and len(rest) <= 1:
        _up(int(rest[0]) if rest else 3)
    elif verb == "down" and not rest:
        _down()
    elif verb == "status" and not rest:
        _status(Hosts.standing())
    elif verb == "shell" and not rest:
        _shell(Hosts.standing())
    elif verb == "env" and not rest:
        for name, value in Hosts.standing().environment.items():
            print(f"export {name}={shlex.quote(value)}")
    elif verb == "run" and len(rest) >= 2:
        with Hosts.standing().named(rest[0]).start(rest[1:], cwd=ROOT) as process:
            return process.wait()
    elif verb in _FAULTS and rest:
        _FAULTS[verb](Hosts.standing().named(rest[0]), *rest[1:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TestbedError as error:
        sys.exit(f"testbed: {error}")
