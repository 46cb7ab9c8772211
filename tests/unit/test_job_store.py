"""Stores that are URLs of other databases: what is said of one that cannot be opened here."""

from __future__ import annotations

import sys

import pytest

from coordinator.errors import BadOption
from coordinator.jobs.store import Store

SECRET = "hunter2"


def test_a_driver_that_is_not_installed_is_named_and_the_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BadOption, match="pip install psycopg") as raised:
        Store(f"postgresql+psycopg://me:{SECRET}@host/jobs")
    assert "postgresql+psycopg://me:***@host/jobs" in raised.value.message
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("drivername", ["nosuch", "postgresql+nosuch"])
def test_a_database_that_nobody_knows_is_said(drivername: str) -> None:
    with pytest.raises(BadOption, match="there is no database") as raised:
        Store(f"{drivername}://me:{SECRET}@host/jobs")
    assert repr(drivername) in raised.value.message
    assert SECRET not in raised.value.message


@pytest.mark.parametrize("url", [f"my sql://me:{SECRET}@host", f"postgresql://me:{SECRET}@host:port/jobs", "://"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(BadOption, match="cannot be read: it is as in postgresql") as raised:
        Store(url)
    assert SECRET not in raised.value.message


def test_a_url_that_its_database_does_not_take_is_told_without_its_password() -> None:
    with pytest.raises(BadOption, match="Invalid SQLite URL") as raised:
        Store(f"sqlite://me:{SECRET}@/jobs.db")
    assert "sqlite://me:***@/jobs.db" in raised.value.message
    assert SECRET not in raised.value.message
