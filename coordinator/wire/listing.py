"""Methods by name: called, and listed for people and programs by the same mapping.

The server's :func:`coordinator.wire.server.each` and :mod:`coordinator.rpc` use it. A name is looked up in a mapping
and nowhere else: no attribute is ever reached by a name that came over the wire, and there is no system.multicall.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import itertools
import logging
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from coordinator import errors

log = logging.getLogger(__name__)

Methods = Mapping[str, Callable[..., Any]]
SIGNATURES = 16  # of one method: unions and optional parameters multiply


@functools.cache
def _wire_types() -> dict[Any, str]:
    import datetime  # for who asks for signatures: each start would load it

    return {
        int: "int",
        bool: "boolean",
        str: "string",
        float: "double",
        bytes: "base64",
        list: "array",
        tuple: "array",
        dict: "struct",
        datetime.datetime: "dateTime.iso8601",
        type(None): "nil",
        collections.abc.Mapping: "struct",
        collections.abc.Sequence: "array",
        collections.abc.Iterable: "array",
    }


def invoke(methods: Methods, name: str, params: tuple[Any, ...]) -> Any:
    """Call ``name``; what it raises is raised on if it is ours, else logged and raised as InternalError."""
    method = methods.get(name)
    try:
        if method is not None:
            return method(*params)
        if name in SYSTEM:
            return SYSTEM[name](methods, *params)
    except errors.CoordinatorError:
        raise
    except Exception as wrong:  # the boundary to the methods' own code
        called = method if method is not None else _bound(SYSTEM[name], methods)
        if isinstance(wrong, TypeError) and not _fits(called, params):
            raise errors.BadParameters(f"{name} takes other parameters: {name}{_shown(called)}.") from None
        log.exception("a method failed method=%s", name)
        raise errors.InternalError() from None
    raise errors.UnknownMethod(f"There is no method {name[:80]!r}; system.listMethods tells which there are.")


def list_methods(methods: Methods) -> list[str]:
    """The names of all methods of this server."""
    return sorted({*methods, *SYSTEM})


def signatures(methods: Methods, name: str) -> list[list[str]]:
    """The signatures of a method: for each, the type of the answer and then those of the parameters."""
    method = _found(methods, name)
    try:
        hints = typing.get_type_hints(method)
    except (NameError, TypeError, AttributeError):  # an annotation that cannot be read is none
        hints = {}
    answers = _types(hints.get("return", Any))
    shapes: list[list[list[str]]] = [[answers]]
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # a builtin that tells nothing
        parameters = []
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            longest = [*shapes[-1], _types(hints.get(parameter.name, Any))]
            shapes = [*shapes, longest] if parameter.default is not parameter.empty else [longest]
    every = itertools.chain.from_iterable(itertools.product(*shape) for shape in shapes)
    return [list(one) for one in itertools.islice(every, SIGNATURES)]


def method_help(methods: Methods, name: str) -> str:
    """What a method does, in words."""
    method = _found(methods, name)
    return f"{name}{_shown(method)}\n\n{inspect.getdoc(method) or ''}".strip()


SYSTEM: dict[str, Callable[..., Any]] = {
    "system.listMethods": list_methods,
    "system.methodSignature": signatures,
    "system.methodHelp": method_help,
}


def _bound(method: Callable[..., Any], methods: Methods) -> Callable[..., Any]:
    """A method of SYSTEM as its callers see it: without the mapping that it works on."""

    def called(*params: Any) -> Any:
        return method(methods, *params)

    signature = inspect.signature(method)
    called.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    called.__doc__ = method.__doc__
    called.__annotations__ = {k: v for k, v in typing.get_type_hints(method).items() if k != "methods"}
    return called


def _found(methods: Methods, name: str) -> Callable[..., Any]:
    if isinstance(name, str) and name in methods:
        return methods[name]
    if isinstance(name, str) and name in SYSTEM:
        return _bound(SYSTEM[name], methods)
    raise errors.UnknownMethod("There is no method of that name; system.listMethods tells which there are.")


def _fits(method: Callable[..., Any], params: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(method).bind(*params)
    except TypeError:
        return False
    except ValueError:  # a builtin that tells nothing
        return True
    return True


def _shown(method: Callable[..., Any]) -> str:
    """The parameters of a method, without types and defaults, which may show what is nobody's business."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return "(...)"
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = (
        f"[{one.name}]" if one.default is not one.empty else stars.get(one.kind, "") + one.name for one in parameters
    )
    return f"({', '.join(names)})"


def _types(hint: Any) -> list[str]:
    """The wire's words for an annotation: one, or more for a union; ``undef`` where there is none."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return sorted({word for part in typing.get_args(hint) for word in _types(part)})
    known = origin or hint
    try:
        return [_wire_types().get(known, "undef")]
    except TypeError:  # an annotation that is not hashable
        return ["undef"]
