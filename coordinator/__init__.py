"""Give a generator of task IDs and a function that works on one: every core you can reach is busy until all are done.

What lies where: ``script`` (start_client_or_server), ``taskserver`` (Coordinator), ``processor`` (Processor),
``keeper`` and ``zygote`` (on a host), ``feeder`` (the user's generator), ``resource`` (ResourceController), ``monitor``
(RCMonitor), ``journal`` and ``history`` (what was done, and how to read it), ``rpc`` (XML-RPC for anybody), ``core``
(decisions, pure), ``wire`` (HTTP and XML-RPC), ``executors`` (where processors are started), ``commands`` (the command
line), ``testing`` (fakes). Names below are imported when first used, since people wait for a Processor's start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coordinator.loading import loading

if TYPE_CHECKING:
    from coordinator.history import results
    from coordinator.monitor import CoordinatorMonitor, RCMonitor
    from coordinator.processor import Processor
    from coordinator.proxy import XMLRPCClient, get_connection
    from coordinator.resource import ResourceController
    from coordinator.rpc import XMLRPCServerBase
    from coordinator.script import start_client_or_server
    from coordinator.taskserver import Coordinator

__version__ = "0.1.0"

__all__ = [
    "Coordinator",
    "CoordinatorMonitor",
    "Processor",
    "RCMonitor",
    "ResourceController",
    "XMLRPCClient",
    "XMLRPCServerBase",
    "get_connection",
    "results",
    "start_client_or_server",
]

_ROOMS = {
    "Coordinator": "taskserver",
    "CoordinatorMonitor": "monitor",
    "Processor": "processor",
    "RCMonitor": "monitor",
    "ResourceController": "resource",
    "XMLRPCClient": "proxy",
    "XMLRPCServerBase": "rpc",
    "get_connection": "proxy",
    "results": "history",
    "start_client_or_server": "script",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'coordinator' has no attribute {name!r}")
    with loading():
        return getattr(import_module(f"coordinator.{_ROOMS[name]}"), name)
