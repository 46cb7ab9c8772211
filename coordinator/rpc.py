"""Any object of yours as an XML-RPC server: XMLRPCServerBase, with the clients of :mod:`coordinator.proxy` beside it.

For users; the farm's own servers stand on :mod:`coordinator.wire.server` without threads. What is served are the
methods that an object lists in ``xmlrpc_methods``, and no other attribute is ever reached. They run in a few threads,
so an object that keeps state must expect calls at the same time. What a method raises reaches the client as a fault,
never as False or ''.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from coordinator import errors
from coordinator.proxy import XMLRPCClient, XMLRPCClientObject, get_connection
from coordinator.wire import listing
from coordinator.wire.server import Call, TurnServer, token_check

if TYPE_CHECKING:
    import ssl

__all__ = ["XMLRPCClient", "XMLRPCClientObject", "XMLRPCServerBase", "get_connection", "get_hostname"]

log = logging.getLogger(__name__)

THREADS = 8
WAITING_CALLS = 1000


def get_hostname(host: str | None = None) -> str:
    """The full name of ``host``, of this machine without one; ``host`` itself if nobody knows its name."""
    if host is None:
        from coordinator import paths

        return paths.full_hostname()
    try:
        return socket.gethostbyaddr(host)[0]
    except (OSError, UnicodeError):
        return host


class XMLRPCServerBase:
    """A server of objects by name: ``server['name'] = obj``, whose ``xmlrpc_methods`` has a key for each method that
    clients may call; its value, if it is a string, is the name that the method has in the object.

    host: the name to listen on; '' (or None) for every interface. port 0 takes a free one; ``host`` and ``port`` say
    which. token: what clients must know, ``http://user:TOKEN@host:port``; without one anybody may call.
    tls: an ``ssl.SSLContext``, for instance of ``coordinator.tls.server_context()``: other machines use https then.
    server: a ``SimpleXMLRPCServer`` of your own that serves in our place; its limits are then its own.
    Raises PortTaken, BadInput (host).
    """

    xmlrpc_methods: Mapping[str, Any] = {"methodCall": 0, "objectList": 0, "objectInfo": 0}
    #: URL of the resource database that register() tells without being given one.
    index_url: str | None = None

    def __init__(
        self,
        name: str,
        host: str | None = "",
        port: int = 5000,
        logRequests: bool = False,
        server: Any = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.logRequests = logRequests
        self.registrationData: Any = {}
        self._objects: dict[str, Any] = {}
        self._given = server
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None
        self._closed = False
        self._waiting = 0
        authorise = token_check(token) if token is not None else None
        self._turns = TurnServer(self._turn, authorise, host or "", port, tls=tls)
        if server is None:
            self.port = self._turns.listen()[1]
        else:
            server.register_instance(self)
            self.port = int(server.server_address[1]) if hasattr(server, "server_address") else port
        self.host = host or get_hostname()

    # --- objects --------------------------------------------------------------------------------------------

    def __setitem__(self, name: str, obj: Any) -> None:
        if not isinstance(name, str):
            raise errors.BadInput(f"The name of a served object is a string, not {name!r}.")
        if not isinstance(getattr(obj, "xmlrpc_methods", None), Mapping):
            raise errors.BadInput(f"The object {name!r} has no dictionary xmlrpc_methods of the methods to serve.")
        self._objects[name] = obj

    def __getitem__(self, name: str) -> Any:
        return self._objects[name]

    def __delitem__(self, name: str) -> None:
        del self._objects[name]

    def objectList(self) -> dict[str, dict[str, Any]]:
        """The served objects: {name: {method name: alias or 0}}."""
        return {name: _served(obj) for name, obj in list(self._objects.items())}

    def objectInfo(self, objname: str) -> dict[str, Any]:
        """The methods of one served object: {method name: alias or 0}."""
        return _served(self._object(objname))

    def methodCall(self, objname: str, methodname: str, args: list[Any]) -> Any:
        """Call a method of a served object with the list ``args`` and return its result."""
        if not isinstance(args, (list, tuple)):
            raise errors.BadParameters("The third parameter of methodCall is the list of the method's parameters.")
        return listing.invoke(_methods(self._object(objname)), methodname, tuple(args))

    def _object(self, name: str) -> Any:
        found = self._objects.get(name) if isinstance(name, str) else None
        if found is None:
            raise errors.UnknownMethod(f"The server {self.name} has no object named {str(name)[:80]!r}.")
        return found

    def register(self, url: str | None = None, name: str = "index", server: Any = None) -> Any:
        """Send ``registrationData`` to a resource database: its object ``name`` at ``url``, or the object ``server``
        (here or a proxy), or what ``index_url`` names. Calls its ``registerServer('host:port', registrationData)``."""
        url = url or (self.index_url if server is None else None)
        if url is not None:
            server = get_connection(url, name)
        if server is None:
            raise errors.BadInput(
                "There is no resource database to register with: give register() a url or a server, "
                "or set XMLRPCServerBase.index_url."
            )
        return server.registerServer(f"{self.host}:{self.port}", self.registrationData)

    # --- serving --------------------------------------------------------------------------------------------

    def serve_forever(self, daemonize: bool = False, demonize: bool | None = None) -> int | None:
        """Serve in the foreground until close() or Ctrl-C. With ``daemonize`` in a process of its own, which writes
        to NAME.log in the current directory; its pid is returned. (``demonize`` is an old spelling.)"""
        if demonize if demonize is not None else daemonize:
            return self._fork()
        if self._given is not None:
            self._given.serve_forever()
            return None
        self._begin()
        try:
            asyncio.run(self._serve(threading.Event()))
        except KeyboardInterrupt:
            log.info("interrupted server=%s", self.name)
        return None

    def serve_in_thread(self) -> threading.Thread:
        """Serve in a thread, which is returned; it is accepting calls when this returns, and ends with the program."""
        if self._given is not None:
            thread = threading.Thread(target=self._given.serve_forever, name=f"serve {self.name}", daemon=True)
            thread.start()
            return thread
        self._begin()
        ready = threading.Event()
        serving = partial(asyncio.run, self._serve(ready))
        self._thread = threading.Thread(target=serving, name=f"serve {self.name}", daemon=True)
        self._thread.start()
        ready.wait()
        return self._thread

    def close(self) -> None:
        """Stop serving and free the port; calls that are running are not waited for. May be called twice, and by any
        thread but those of the served methods."""
        self._closed = True
        if self._given is not None:
            self._given.server_close()
        elif self._pool is None:
            self._turns.stop()
        else:
            if self._loop is not None and self._stopped is not None:
                with suppress(RuntimeError):  # the loop has ended by itself
                    self._loop.call_soon_threadsafe(self._stopped.set)
            if self._thread is not None:
                self._thread.join()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        if self._closed or self._pool is not None:
            raise errors.StateError(f"The server {self.name} is already serving, or closed; make a new one.")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"serve {self.name}")

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._turns.start(self._loop)
        ready.set()
        try:
            if not self._closed:
                await self._stopped.wait()
        finally:
            self._turns.stop()
            await asyncio.sleep(0)  # the transports that stop() closed end in the loop's next turn

    def _fork(self) -> int:
        from coordinator import paths, procs

        if threading.active_count() > 1:
            raise errors.StateError(
                "A program with several threads cannot be forked: serve first, start threads later."
            )
        log_fd = paths.open_private(f"{paths.check_name(self.name)}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def child() -> int:
            os.setsid()
            null_fd = os.open(os.devnull, os.O_RDONLY)
            for here, there in ((null_fd, 0), (log_fd, 1), (log_fd, 2)):
                os.dup2(here, there)
            self.serve_forever()
            return 0

        try:
            pid = procs.fork(child)
        finally:
            os.close(log_fd)
        if self._given is None:
            self.close()  # the child's copy of the listening socket serves
        return pid

    # --- calls ----------------------------------------------------------------------------------------------

    def _dispatch(self, method: str, params: tuple[Any, ...]) -> Any:
        """What a SimpleXMLRPCServer given as ``server`` calls."""
        import xmlrpc.client

        try:
            return listing.invoke(_methods(self), method, params)
        except errors.CoordinatorError as wrong:
            raise xmlrpc.client.Fault(wrong.code, wrong.message) from None

    def _turn(self, calls: list[Call]) -> None:
        assert self._pool is not None
        for call in calls:
            if self.logRequests:
                log.info("call method=%s peer=%s", call.method, call.peer)
            if self._waiting >= WAITING_CALLS:
                call.fault(errors.Overloaded(f"{self._waiting} calls are waiting for this server; try again later."))
                continue
            self._waiting += 1
            self._pool.submit(self._work, call)

    def _work(self, call: Call) -> None:
        """In a thread of the pool: call, and let the loop answer."""
        try:
            value = listing.invoke(_methods(self), call.method, call.params)
            answer = partial(call.answer, value)
        except errors.CoordinatorError as wrong:
            answer = partial(call.fault, wrong)
        except BaseException:  # the boundary to users' code: its SystemExit ends neither this thread nor the call
            log.exception("a method failed method=%s", call.method)
            answer = partial(call.fault, errors.InternalError())
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._answered, answer)
        except RuntimeError:  # the server was closed meanwhile
            log.info("an answer came after the server was closed method=%s", call.method)

    def _answered(self, answer: partial[None]) -> None:
        self._waiting -= 1
        answer()


def _served(obj: Any) -> dict[str, Any]:
    """{method name: alias or 0} of what may be called: what the object lists and has, under plain names; nothing of
    Python's own, and no attribute of an attribute."""
    return {name: alias for name, (alias, _) in _listed(obj).items()}


def _methods(obj: Any) -> dict[str, Any]:
    return {name: method for name, (_, method) in _listed(obj).items()}


def _listed(obj: Any) -> dict[str, tuple[Any, Any]]:
    found = {}
    for name, value in dict(obj.xmlrpc_methods).items():
        inside = value if isinstance(value, str) and value else name
        if isinstance(name, str) and _is_plain(name) and _is_plain(inside):
            method = getattr(obj, inside, None)
            if callable(method):
                found[name] = (value if inside is value else 0, method)
    return found


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not name.startswith("__")
