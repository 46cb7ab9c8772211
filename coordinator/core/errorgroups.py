"""ErrorCount: tasks that failed for good, counted by what failed, in bounded memory.

A job of a million tasks fails in a few ways; people want to see these, with one traceback each.
"""

from __future__ import annotations

from typing import Any

#: groups of errors that are counted apart; what comes after is counted together
MAX_GROUPS = 200
_GROUP_TEXT = 4000
_FIRST_POSITIONS = 3


class ErrorCount:
    """Tasks that failed for good in the same way. ``first``: positions of the first few."""

    def __init__(
        self, kind: str, where: str, message: str, traceback: str, count: int = 0, first: list[int] | None = None
    ) -> None:
        self.kind, self.where, self.message, self.traceback = kind, where, message, traceback
        self.count = count
        self.first = first or []


def count_error(errors: dict[tuple[str, str], ErrorCount], header: dict[str, Any]) -> None:
    """Count the failure that a FAILED record tells of."""
    key = error_key(header["kind"], header.get("where") or "", header["message"])
    group = errors.get(key)
    if group is None:
        if len(errors) >= MAX_GROUPS:
            key = ("", "")
        group = errors.setdefault(
            key,
            ErrorCount(
                header["kind"] if key[0] else "other errors",
                header.get("where") or "",
                header["message"][:_GROUP_TEXT],
                (header.get("traceback") or "")[-_GROUP_TEXT:],
            ),
        )
    group.count += 1
    if len(group.first) < _FIRST_POSITIONS:
        group.first.append(header["pos"])


def error_key(kind: str, where: str, message: str) -> tuple[str, str]:
    """What makes two failures the same: exception and line of code; without a line, the message but for its digits."""
    if where:
        return kind, where
    return kind, "".join(["#" if letter.isdigit() else letter for letter in message[:200]])
