"""What stands on PATH under the name of each command of a fake scheduler: it asks the server and prints the answer.

    python -IS command.py DIRECTORY PROGRAM WORDS...

server.py writes these commands. Nothing is decided here, but what to say where nobody answers: in ``words.json`` of the
directory, as ``{program: {"away": [text, exit status, does it hang then?], "lost": ...}}``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

HANG_S = 60.0


def main(place: str, program: str, words: list[str]) -> int:
    try:
        with open(f"{place}/port") as file:
            connection = socket.create_connection(("127.0.0.1", int(file.read())), HANG_S)
    except OSError:
        return speechless(place, program, "away")
    with connection:
        asked = {"program": program, "words": words, "directory": os.getcwd(), "environment": dict(os.environ)}
        connection.sendall(json.dumps(asked).encode() + b"\n")
        with connection.makefile("rb") as stream:
            told = stream.read()
    if not told:
        return speechless(place, program, "lost")
    answer = json.loads(told)
    sys.stdout.write(answer["out"])
    sys.stdout.flush()
    sys.stderr.write(answer["err"])
    return int(answer["code"])


def speechless(place: str, program: str, why: str) -> int:
    with open(f"{place}/words.json") as file:
        text, code, hangs = json.load(file)[program][why]
    sys.stderr.write(text)
    sys.stderr.flush()
    if hangs:
        signal.sigtimedwait([], HANG_S)  # until somebody ends it
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
