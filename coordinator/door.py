"""The door of a Coordinator: the port that it is served on, whose tokens open it, and the URLs to it.

The task server opens it once. Whoever knows the run's token may do everything; the farm's token counts as that of the
user; a ticket of the ResourceController lets its owner look. It never reads what a call says.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator import paths
from coordinator.addresses import Address, url_of
from coordinator.errors import NotAuthorised, PortTaken
from coordinator.wire.client import split_url
from coordinator.wire.server import Call, TurnServer, token_check

if TYPE_CHECKING:
    import asyncio
    import ssl

#: who shows a ticket of the ResourceController, and what a call must be for them
VISITOR, LOOKING = "visitor ", frozenset({"get_job", "get_status", "wait_job"})
#: said loudly where no token is asked for
INSECURE = (
    "--insecure: whoever can reach port {} may do everything here, without a token and without TLS;"
    " do this only on a network that you trust"
)
#: first port that is tried, and how many after it
FIRST_PORT, PORTS = 8888, 200


class Door:
    """``host``: the address to bind, None for every one (for this machine's own if ``local``). ``port``: None for a
    free one. ``rc``: the ResourceController, whose token opens this door too. ``insecure``: it stands open."""

    def __init__(
        self,
        host: str | None,
        port: int | None,
        *,
        local: bool,
        no_tls: bool = False,
        insecure: bool = False,
        rc: Address | None = None,
    ) -> None:
        self._insecure = insecure
        self._chosen = host is not None
        self._address = host if host is not None else ("127.0.0.1" if local else "")
        self._port, self._local, self._rc = port, local, rc
        self._context: ssl.SSLContext | None = None
        #: of the certificate that other machines are shown; None where only plain HTTP is spoken
        self.fingerprint: str | None = None
        if not (no_tls or insecure or paths.is_loopback(self._address)):
            from coordinator import tls

            self.fingerprint, self._context = tls.own_fingerprint(), tls.server_context()
        #: checks the tickets of those whom the ResourceController lets look
        self._visitors: str | None = None
        self._server: TurnServer | None = None

    def open(self, turn: Callable[[list[Call]], None], token: str, before: int | None) -> None:
        """Bind: the port that was given, or ``before``, which this run had, or a free one. Raises PortTaken."""
        # Any port (0) will do only for a run that has none: its processors look for it where it was.
        wanted = [before] if before is not None and not self._port else []
        if self._port is not None:
            wanted.append(self._port)
        else:
            wanted += [0] if self._local else range(FIRST_PORT, FIRST_PORT + PORTS)
        authorise = None if self._insecure else self._authoriser(token)
        for index, port in enumerate(wanted):
            server = TurnServer(turn, authorise, self._address, port, tls=self._context)
            try:
                server.listen()
            except PortTaken:
                if index == len(wanted) - 1:
                    raise
                continue
            break
        self._server = server
        self.port: int = server.address[1]
        public = self._address or paths.full_hostname()
        self.url = url_of(public, self.port, self._context is not None and not paths.is_loopback(public))
        if self._rc is not None and self._rc.token:
            paths.keep_token(public, self.port, self._rc.token, self.fingerprint)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take calls from now on."""
        assert self._server is not None
        self._server.start(loop)

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()

    def _authoriser(self, token: str) -> Callable[[str, str], str | None]:
        ours = token_check(token, "run")
        farm = token_check(self._rc.token, "user") if self._rc is not None and self._rc.token else None

        def authorise(user: str, password: str) -> str | None:
            known = ours(user, password) or (farm(user, password) if farm is not None else None)
            if known is not None or self._visitors is None:
                return known
            from coordinator.users import is_ticket

            return VISITOR + user if is_ticket(password, self._visitors, user) else None

        return authorise

    def admit(self, visitors: str | None) -> None:
        """The ResourceController's word on whose tickets are good; calls under way are checked again."""
        if visitors != self._visitors:
            self._visitors = visitors
            assert self._server is not None
            self._server.recheck()

    def local_url(self) -> str:
        """Where keepers of this machine find it."""
        return self.url if self._local or self._chosen else f"http://127.0.0.1:{self.port}"

    def public_urls(self) -> list[str]:
        """What other machines may try: the announced name, then the address (*) at which they see this one."""
        named = [] if paths.is_loopback(split_url(self.url)[0]) else [self.url]
        return [*named, *([] if self._chosen else [url_of("*", self.port, self.fingerprint is not None)])]


def check_caller(call: Call) -> None:
    """Raises NotAuthorised where a visitor wants more than to look."""
    if call.caller.startswith(VISITOR) and not (call.method in LOOKING or call.method.startswith("system.")):
        raise NotAuthorised(f"this job is {getpass.getuser()}'s: others may look at it, and {call.method} is more")
