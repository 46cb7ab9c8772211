"""What is said to the other end of an SSH session: the shell's script, a marker that comes back, the orders, an answer.

:mod:`coordinator.executors.ssh` calls it with an open channel. Orders, with the token in them, leave only after the
marker came back, so that no start-up file of a login shell can take them; what else is printed on the way is shown if
things go wrong. It knows no keys and no addresses.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from coordinator.errors import LaunchFailed
from coordinator.executors.attempt import LAUNCH_S, Attempt, failed
from coordinator.executors.shell import COMMAND, script
from coordinator.executors.sshconfig import Target
from coordinator.logfiles import BEAT_S, SILENT_S

#: bytes that a login shell may print before it is taken for broken, and characters of them that are shown
NOISE_BYTES, SHOWN = 1 << 20, 300


def addressed(urls: Iterable[str], address: str | None) -> list[str]:
    """``urls``, the host ``*`` of one replaced by this machine's address; left out where that would mean the host."""
    usable = address is not None and not address.startswith("127.") and address != "::1"
    star = f"//[{address}]:" if address is not None and ":" in address else f"//{address}:"
    return [url.replace("//*:", star) for url in urls if usable or "//*:" not in url]


def order(
    attempt: Attempt,
    target: Target,
    channel: Any,
    orders: dict[str, Any],
    here: Mapping[str, Any],
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Become the keeper's starter on ``channel``; its first word. Raises LaunchFailed, or what the channel raises.

    With ``tell``, all that follows goes there until it ends; then this returns."""
    marker = (secrets.token_hex(8), secrets.token_hex(8))
    text = script(marker, target.python, here["path"], target.env, here.get("umask"))
    heard = _Heard(attempt, channel)
    try:
        attempt.step = f"waiting for the login shell of {target.user}"
        channel.settimeout(attempt.left_s())
        channel.exec_command(COMMAND)
        _send(channel, text.encode("utf-8", "surrogateescape"))
        heard.up_to("".join(marker).encode() + b"\n")
        attempt.step = f"waiting for {target.python}"
        sent_at = time.time()
        attempt.committed = True
        _send(channel, json.dumps(orders).encode() + b"\n")
        said = None
        while said is None:
            said = _answer(heard.up_to(b"\n"))
    except EOFError:
        if attempt.over:
            raise attempt.too_slow() from None
        raise _not_begun(attempt, target, channel, heard.kept) from None
    except TimeoutError as error:
        if "login shell" not in attempt.step:
            raise
        words = f"the login shell of {target.user} on {target.place} did not begin within {LAUNCH_S:g} s"
        cure = "its start-up files must not ask or wait for anything"
        raise failed("shell", f"{words}: {cure}{_shown(heard.kept)}") from error
    if "error" in said:
        raise _refused(target, said)
    if tell is not None:
        tell(said)
        _relay(attempt, target, channel, heard, tell)
    return {**said, "sent_at": sent_at, "heard_at": time.time()}


def _relay(
    attempt: Attempt, target: Target, channel: Any, heard: _Heard, tell: Callable[[dict[str, Any]], None]
) -> None:
    """Pass on what is said, a JSON object a line, until its ``end``; each side hears the other now and then."""
    attempt.unlimited()
    attempt.step = f"listening to {target.place}"
    heard_at = sent_at = time.monotonic()
    finished = False
    while True:
        if attempt.enough.is_set() and not finished:
            finished = True
            channel.shutdown_write()
        try:
            line = heard.line(BEAT_S / 10)
        except TimeoutError:
            line = b""
        except EOFError:
            if attempt.over:
                raise attempt.too_slow() from None
            raise failed("reach", f"the connection to {target.place} broke") from None
        now = time.monotonic()
        if line:
            heard_at = now
            said = _object(line)
            if "error" in said:
                raise _refused(target, said)
            if "end" in said:
                return
            if "log" in said:
                tell(said)
        elif now - heard_at > SILENT_S:
            words = f"nothing has been heard of {target.place} for {SILENT_S:g} s: it hangs, or the way to it is cut"
            raise failed("reach", words)
        if now - sent_at > BEAT_S and not finished:
            sent_at = now
            channel.settimeout(BEAT_S)
            _send(channel, b"\n")


def _send(channel: Any, words: bytes) -> None:
    """What ended already does not hear it; why it ended is heard next."""
    try:
        channel.sendall(words)
    except TimeoutError:
        raise
    except OSError:
        return


class _Heard:
    """What comes from the channel. ``kept``: what was not asked for, for a message."""

    def __init__(self, attempt: Attempt, channel: Any) -> None:
        self._attempt, self._channel = attempt, channel
        self._waiting = b""
        self.kept = b""

    def up_to(self, mark: bytes) -> bytes:
        """What comes before ``mark``. Raises EOFError at the end, and when there is no end of it."""
        while mark not in self._waiting:
            self._channel.settimeout(self._attempt.left_s())
            came = self._channel.recv(65536)
            if not came or len(self._waiting) > NOISE_BYTES:
                self.kept += self._waiting
                raise EOFError
            self._waiting += came
        return self._taken(mark)

    def line(self, limit_s: float) -> bytes:
        """The next line. Raises TimeoutError if none comes, EOFError at the end."""
        while b"\n" not in self._waiting:
            self._channel.settimeout(min(limit_s, self._attempt.left_s()))
            came = self._channel.recv(65536)
            if not came or len(self._waiting) > NOISE_BYTES:
                raise EOFError
            self._waiting += came
        found, _, self._waiting = self._waiting.partition(b"\n")
        return found

    def _taken(self, mark: bytes) -> bytes:
        found, _, self._waiting = self._waiting.partition(mark)
        self.kept = (self.kept + found + b"\n")[-NOISE_BYTES - 1 :]
        return found


def _answer(line: bytes) -> dict[str, Any] | None:
    """A line of the keeper's; None for what else is printed on the way."""
    said = _object(line)
    return said if said.keys() & {"ready", "error", "time"} else None


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one for anything else."""
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return {}


def _shown(heard: bytes) -> str:
    lines = [line.strip() for line in heard.decode("utf-8", "replace").splitlines()]
    text = "".join(one if one.isprintable() else " " for one in " / ".join(line for line in lines if line))
    return f"; it said: {text[-SHOWN:]}" if text.strip() else ""


def _not_begun(attempt: Attempt, target: Target, channel: Any, heard: bytes) -> LaunchFailed:
    status = channel.recv_exit_status() if channel.status_event.wait(1.0) else -1
    if len(heard) > NOISE_BYTES:
        words = f"the login shell of {target.user} on {target.place} prints without end: mend its start-up files"
        return failed("shell", words + _shown(heard))
    if status in (126, 127):
        what = "is not there" if status == 127 else "cannot be run"
        cure = "name its Python 3.11 or later with python= in NAME.hosts"
        return failed("python", f"{target.python} {what} on {target.place}: {cure}")
    if status < 0:
        return failed("shell", f"the connection to {target.place} broke while {attempt.step}{_shown(heard)}")
    words = f"what was started on {target.place} as {target.user} ended at once with exit status {status}"
    return failed("shell", words + _shown(heard))


def _refused(target: Target, said: dict[str, Any]) -> LaunchFailed:
    step, words = str(said.get("step", "")), str(said["error"])
    if step == "python":
        words = f"{target.python} cannot be used on {target.place}: {words}; name another with python= in NAME.hosts"
    elif step == "package":
        cure = "install it there, or name a Python that has it with python= in NAME.hosts"
        words = f"{target.python} on {target.place} cannot import coordinator ({words}): {cure}"
    return failed(step or "keeper", words)
