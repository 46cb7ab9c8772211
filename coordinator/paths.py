"""Where things lie on disk, who may read them, and what this machine is called.

Every room above asks here for the user's state directory (tokens, where each job runs), the directory of processor
logs, the files of a job (``NAME.journal``, ``NAME.run``, ...) and private files; all are made with mode 0600 or 0700
and refused if they belong to somebody else. Processors import this file, so it imports nothing slow (``socket`` and
``json`` come in when they are used). It never opens a connection, starts a process or reads a journal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from coordinator import errors

if TYPE_CHECKING:
    from pathlib import Path

#: A file name holds 255 bytes; the longest suffix that is added to a name, and a temporary one, need the rest.
MAX_NAME_BYTES = 200

#: Names that mean this machine wherever they are typed.
LOCAL_NAMES = frozenset(
    {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "::1", "0.0.0.0", "::"}  # noqa: S104 - compared only
)


# --- directories of the user's own -----------------------------------------------------------------


def state_directory() -> Path:
    """``$XDG_STATE_HOME/coordinator`` or ``~/.local/state/coordinator``, made with mode 0700 if it is not there."""
    from pathlib import Path

    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG rule: a relative path is to be ignored
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return _own_directory(Path(base) / "coordinator", "set XDG_STATE_HOME to a directory of your own")


def log_directory() -> Path:
    """The directory of processor logs on this host, ``coordinator-UID`` in the temporary directory, mode 0700."""
    return _own_directory(_temporary_directory() / f"coordinator-{os.geteuid()}", "set TMPDIR to a directory of yours")


def _temporary_directory() -> Path:
    """As tempfile.gettempdir(), whose import would cost each Processor 10 ms."""
    from pathlib import Path

    candidates = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    for candidate in [*candidates, "/tmp", "/var/tmp", "/usr/tmp"]:  # noqa: S108 - only the parent of a checked directory
        if candidate and os.path.isdir(candidate) and os.access(candidate, os.W_OK | os.X_OK):
            return Path(os.path.abspath(candidate))
    return Path.cwd()


def _own_directory(path: Path, cure: str) -> Path:
    """Make ``path`` or check it: a real directory of this user that nobody else can enter."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise errors.StateError(f"The directory {path} cannot be made: {error.strerror}; {cure}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise errors.StateError(f"{path} must be a directory and is something else; remove it, or {cure}.")
    if found.st_uid != os.geteuid():
        raise errors.StateError(f"{path} belongs to another user (uid {found.st_uid}); {cure}.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(path, 0o700)
    return path


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file that only this user may read: mode 0600, no symbolic link followed, not inherited by children.

    ``flags`` as for os.open. An existing file must be a regular one of this user, and becomes 0600.
    Returns the descriptor. Raises StateError for somebody else's file, OSError for what the system refuses.
    """
    try:
        # O_NONBLOCK: a FIFO that somebody left under this name must not block us; files do not know it.
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise errors.StateError(f"{path} is a symbolic link, which is not followed; remove it.") from error
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise errors.StateError(f"{path} must be a regular file and is something else; remove it.")
        if found.st_uid != os.geteuid():
            raise errors.StateError(f"{path} belongs to another user (uid {found.st_uid}); remove or rename it.")
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(fd, 0o600)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def replace_private(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole private file so that a reader, or a crash, sees the old content or the new one and nothing else."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


# --- the files of a job ----------------------------------------------------------------------------


def check_name(name: str) -> str:
    """Return ``name`` if files can be called so; BadName says what is wrong with it."""
    if not isinstance(name, str) or not name:
        raise errors.BadName(f"A name is a text of at least one character, not {name!r}.")
    if "/" in name:
        raise errors.BadName(f"{name!r} is a path; give a name, and start the job in the directory you mean.")
    if not name.isprintable():
        raise errors.BadName(f"{name!r} holds a character that cannot be printed; choose a name without it.")
    if name != name.strip():
        raise errors.BadName(f"{name!r} begins or ends with a space; choose a name without it.")
    if name[0] in ".-":
        raise errors.BadName(f"{name!r} begins with {name[0]!r}; choose a name that begins with a letter or digit.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise errors.BadName(f"The name {name[:20]!r}... is longer than {MAX_NAME_BYTES} bytes; choose a shorter one.")
    return name


class JobFiles:
    """The files of the job ``name`` in ``directory``; making the value checks the name and touches no file."""

    def __init__(self, directory: str | os.PathLike[str], name: str) -> None:
        self.name = check_name(name)
        self.directory = os.path.abspath(directory)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobFiles) and other.base == self.base

    def __hash__(self) -> int:
        return hash(self.base)

    @property
    def base(self) -> str:
        """``directory/NAME``, to which suffixes are added."""
        return os.path.join(self.directory, self.name)

    @property
    def journal(self) -> str:
        return f"{self.base}.journal"

    @property
    def run(self) -> str:
        return f"{self.base}.run"

    @property
    def log(self) -> str:
        return f"{self.base}.log"

    @property
    def success(self) -> str:
        return f"{self.base}.success"

    @property
    def error(self) -> str:
        return f"{self.base}.error"

    @property
    def results(self) -> str:
        return f"{self.base}.results"

    @property
    def logs(self) -> str:
        """Of the processors and keepers of a job that has no ResourceController."""
        return f"{self.base}.logs"


def note_run(name: str, directory: str | os.PathLike[str]) -> None:
    """Remember where the job ``name`` was last started, for commands that are typed in another directory."""
    import json

    files = JobFiles(directory, name)
    value = {"name": name, "directory": files.directory, "host": os.uname().nodename}
    replace_private(_runs() / f"{name}.json", json.dumps(value).encode())


def find_run(name: str) -> JobFiles | None:
    """The files of the job ``name`` where it was last started, if its run file or its journal is still there."""
    import json

    path = _runs() / f"{check_name(name)}.json"
    try:
        files = JobFiles(json.loads(path.read_bytes())["directory"], name)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise errors.StateError(f"{path} cannot be read as JSON; remove it.") from error
    return files if os.path.exists(files.run) or os.path.exists(files.journal) else None


def _runs() -> Path:
    return _own_directory(state_directory() / "runs", "remove what lies there")


# --- tokens ----------------------------------------------------------------------------------------


def new_token() -> str:
    """256 random bits as 64 characters that a URL can carry."""
    return os.urandom(32).hex()


class Login(NamedTuple):
    """What a client needs for a server: its token and, if it speaks TLS, the fingerprint of its certificate."""

    token: str
    fingerprint: str | None = None
    #: the name that is shown with the token; it matters where the token is a ticket
    user: str = "coordinator"


def token_file() -> Path:
    """The user's file of tokens: JSON, mode 0600. ``{"host:port": token}`` for a server that speaks plain HTTP,
    ``{"host:port": {"token": token, "fingerprint": fingerprint}}`` for one that speaks TLS to other machines."""
    return state_directory() / "tokens.json"


def find_token(host: str, port: int) -> str | None:
    """The token kept for the server at ``host:port``, by whatever name of this machine it was kept."""
    login = find_login(host, port)
    return None if login is None else login.token


def find_login(host: str, port: int) -> Login | None:
    """The token and the fingerprint kept for the server at ``host:port``."""
    known = _tokens()
    found = known.get(_address(host, port))
    if found is None and is_this_machine(host):
        found = known.get(_address(os.uname().nodename, port))
    return found


def keep_token(host: str, port: int, token: str, fingerprint: str | None = None) -> None:
    """Keep ``token`` for ``host:port``; for this machine under all its names that other hosts may use."""
    import json

    names = {host}
    if is_this_machine(host):
        # Never under "localhost": a home directory may be shared, and another host's localhost is another server.
        names = {host, os.uname().nodename, full_hostname()} - LOCAL_NAMES - {"127.0.0.1", ""} or {os.uname().nodename}
    with locked(state_directory() / "tokens.lock"):
        known = _tokens()
        known.update({_address(name, port): Login(token, fingerprint) for name in names})
        entries = {address: login_entry(login) for address, login in known.items()}
        replace_private(token_file(), json.dumps(entries, indent=0, sort_keys=True).encode())


def login_entry(login: Login) -> str | dict[str, str]:
    """The value of a server in the token file."""
    if login.fingerprint is None:
        return login.token
    return {"token": login.token, "fingerprint": login.fingerprint}


def _login(entry: object) -> Login | None:
    if isinstance(entry, str):
        return Login(entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    fingerprint = entry.get("fingerprint")
    return Login(entry["token"], fingerprint if isinstance(fingerprint, str) and fingerprint else None)


def _tokens() -> dict[str, Login]:
    import json

    path = token_file()
    try:
        fd = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return {}
    with os.fdopen(fd, "rb") as file:
        try:
            known = json.load(file)
        except ValueError as error:
            raise errors.StateError(f"{path} cannot be read as JSON; remove it and restart your servers.") from error
    logins = {str(key): _login(entry) for key, entry in known.items()} if isinstance(known, dict) else {}
    return {address: login for address, login in logins.items() if login is not None}


def _address(host: str, port: int) -> str:
    return f"{host.lower().rstrip('.')}:{int(port)}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock dies with its holder."""
    fd = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


# --- what this machine is called -------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Does what is sent to this name or address never leave the machine? Decided by the text alone."""
    name = host.lower().rstrip(".").strip("[]")
    if name in LOCAL_NAMES:
        return name not in ("0.0.0.0", "::")  # noqa: S104 - compared only
    parts = name.removeprefix("::ffff:").split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdigit() and int(part) < 256 for part in parts[1:])


@lru_cache(maxsize=1)
def full_hostname() -> str:
    """The name under which other hosts reach this machine; asked of the resolver once in the life of a process.

    The full name if it resolves to an address of this machine, else the short one if that does, else 127.0.0.1.
    """
    import socket

    short = socket.gethostname()
    for name in (socket.getfqdn(), short):
        if name.lower().rstrip(".") not in LOCAL_NAMES and _resolves_here(name):
            return name
    return "127.0.0.1"


@lru_cache(maxsize=4096)
def is_this_machine(host: str) -> bool:
    """Does ``host`` (a name or an address) mean the machine we run on? May ask the resolver, once for each name.

    A name that does not resolve is not this machine, unless it is our own hostname.
    """
    name = host.lower().rstrip(".").strip("[]")
    own = os.uname().nodename.lower()
    if name in LOCAL_NAMES or name in {own, own.partition(".")[0]}:
        return True
    return bool(name) and _resolves_here(name)


def _resolves_here(name: str) -> bool:
    """Is one of the addresses of ``name`` bound to an interface of this machine? Only those can be bound."""
    import socket

    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label that IDNA refuses
        return False
    for family, kind, protocol, _, address in found:
        with suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
            return True
    return False
