"""The user's client function: which of the two kinds it is, and what can be known of it before anything runs.

``start_client_or_server`` checks it, a Processor runs it. Nothing here calls it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from coordinator.errors import NotAGenerator


def is_generator_client(client: Callable[..., Any]) -> bool:
    """Is it a client generator ``f(server, ...)``, or else a plain function ``f(task_id, ...)``?"""
    if inspect.isgeneratorfunction(client):
        return True
    parameters = list(inspect.signature(client).parameters)
    return bool(parameters) and parameters[0] == "server"


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def check_client(client: Callable[..., Any]) -> None:
    """Raises NotAGenerator for what can be known before anything runs."""
    if (
        is_generator_client(client)
        and not inspect.isgeneratorfunction(client)
        and inspect.isfunction(client)
        and not _returns(client)
    ):
        first = next(iter(inspect.signature(client).parameters))
        raise NotAGenerator(
            f"{client.__name__}({first}, ...) has no `yield`: a client function that takes the server must be a "
            f"generator, with `yield task_id` after the work on each ID. (A plain function of one ID works too: name "
            f"its first parameter something else than `server`.)"
        )


def _returns(function: Callable[..., Any]) -> bool:
    """Could a function that is no generator return one? Only if it returns something."""
    import dis

    steps = list(dis.get_instructions(function))
    return any(step.opname == "RETURN_VALUE" and before.opname != "LOAD_CONST" for before, step in pairwise(steps))
