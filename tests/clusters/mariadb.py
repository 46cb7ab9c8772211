"""A throwaway MariaDB of this machine: slurmdbd's, and the one of the tests that keep their jobs in it."""

from __future__ import annotations

from pathlib import Path

from tests.clusters.daemons import ClusterError, Daemons

PROGRAMS = {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server", "mariadb": "mariadb-client"}


def start(daemons: Daemons, place: Path, setup: str, *options: str) -> Path:
    """Make a database in ``place``, start its server with these options and run the SQL of ``setup``; its socket.

    The server's user is the one whose temporary directory this is: nobody else may look into it. Temporary files are in
    ``place`` as well, since a server that starts removes those of other servers. Raises ClusterError.
    """
    ours = ("--no-defaults", "--user=root", f"--datadir={place}/data", f"--tmpdir={place}")
    made = daemons.run("mariadb-install-db", *ours, "--auth-root-authentication-method=socket", "--skip-test-db")
    if made.returncode:
        raise ClusterError(f"mariadb-install-db: {made.stdout}{made.stderr}")
    socket = place / "socket"
    daemons.start(
        "mariadbd", "mariadbd", *ours, f"--socket={socket}", f"--pid-file={place}/pid", "--innodb-buffer-pool-size=32M",
        *options,
    )  # fmt: skip
    client = ("mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "-e")
    daemons.wait("MariaDB does not answer", lambda: daemons.run(*client, "select 1").returncode == 0)
    done = daemons.run(*client, setup)
    if done.returncode:
        raise ClusterError(f"{setup}: {done.stderr}")
    return socket
