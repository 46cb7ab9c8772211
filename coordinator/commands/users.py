"""`coordinator users add|list|remove`: who may use a ResourceController beside its owner.

coordinator.commands imports this file for `users`. The ResourceController keeps the table and lets its owner alone
change it; a token is printed here once, and kept nowhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from coordinator.commands import CONTEXT, document, json_option, print_json, print_tables, rc_url_option

if TYPE_CHECKING:
    from coordinator.remote import Remote


@click.group(context_settings=CONTEXT)
def users() -> None:
    """Who may use a ResourceController beside its owner."""


@users.command(context_settings=CONTEXT)
@click.argument("name", metavar="NAME")
@json_option
@rc_url_option
def add(name: str, as_json: bool, rc_url: str | None) -> int:
    """Admit NAME, and print the token, once, with the line for the token file of NAME."""
    from coordinator import paths
    from coordinator.tables import cell
    from coordinator.wire.client import split_url

    remote = _remote(rc_url)
    farm = remote.call("get_farm")
    token = remote.call("add_user", name)
    host, port, _, _ = split_url(str(farm["url"]))
    login = paths.Login(token, remote.fingerprint)
    entry = {f"{host}:{port}": paths.login_entry(login)}
    if as_json:
        content = {"controller": farm["name"], "url": farm["url"], "user": name, "entry": entry}
        print_json(document("user", **content, token=token, fingerprint=remote.fingerprint))
        return 0
    line = json.dumps(entry)[1:-1]
    print(f"{cell(name)} may use {cell(farm['name'])} at {cell(farm['url'])}. The token is shown this once:\n")
    print(f"  {line}\n")
    print(
        f"Give {cell(name)} this line by a way that nobody else reads. It belongs into the file\n"
        f"~/.local/state/coordinator/tokens.json, mode 0600, in a directory of mode 0700: between {{ and }},\n"
        f"with a comma after the line before it, if there is one. Then --rc_url={cell(farm['url'])} does."
    )
    return 0


@users.command("list", context_settings=CONTEXT)
@json_option
@rc_url_option
def list_(as_json: bool, rc_url: str | None) -> int:
    """The users, since when, their jobs in the queue, and how many rules of their own they have."""
    from coordinator.tables import Column, Table, clock_time, columns

    remote = _remote(rc_url)
    admitted: list[dict[str, Any]] = remote.call("get_users")
    if as_json:
        print_json(document("users", url=remote.url, users=admitted))
        return 0
    rows = [[one["name"], one["since"], " ".join(one["jobs"]) or "-", len(one["rules"])] for one in admitted]
    heads = columns("user", Column("since", clock_time), "jobs", "rules")
    print_tables([Table(heads, rows, empty="(no users: coordinator users add NAME)")])
    return 0


@users.command(context_settings=CONTEXT)
@click.argument("name", metavar="NAME")
@json_option
@rc_url_option
def remove(name: str, as_json: bool, rc_url: str | None) -> int:
    """The token of NAME opens nothing any more; what runs of NAME goes on with the processors that it has."""
    from coordinator.tables import cell

    remote = _remote(rc_url)
    gone: list[str] = remote.call("remove_user", name)
    if as_json:
        print_json(document("user_removed", url=remote.url, user=name, jobs=gone))
        return 0
    left = f" Out of the queue, with the processors that they have: {' '.join(map(cell, gone))}." if gone else ""
    print(f"{cell(name)} is no user of {cell(remote.url)} any more.{left}")
    return 0


def _remote(rc_url: str | None) -> Remote:
    from coordinator.remote import controller

    return controller(rc_url)
