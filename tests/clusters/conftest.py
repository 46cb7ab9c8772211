"""The clusters of these tests: real ones, on free ports of this machine's loopback.

One of each kind is started once in a test session; a test that kills daemons has one of its own. Where several
processes share the tests, one of them has all that need a cluster (``tests/conftest.py``): two would share a machine
that each believes to be its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.clusters import gridengine, slurm
from tests.clusters.gridengine import GridEngine
from tests.clusters.slurm import Slurm

C = TypeVar("C", Slurm, GridEngine)


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with made(Slurm, slurm.missing(), tmp_path_factory) as cluster:
        yield cluster


@pytest.fixture
def own_slurm(slurm_cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Its commands are on PATH, and find it."""
    return found(slurm_cluster, monkeypatch)


@pytest.fixture
def mortal_slurm(
    own_slurm: Slurm, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Slurm]:
    """One that this test may damage; ``own_slurm`` comes first, so that the commands find this one."""
    with made(Slurm, None, tmp_path_factory) as cluster:
        yield found(cluster, monkeypatch)


@pytest.fixture(scope="session")
def sge_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    with made(GridEngine, gridengine.missing(), tmp_path_factory) as cell:
        yield cell


@pytest.fixture
def own_sge(sge_cell: GridEngine, monkeypatch: pytest.MonkeyPatch) -> GridEngine:
    return found(sge_cell, monkeypatch)


@pytest.fixture
def mortal_sge(
    own_sge: GridEngine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GridEngine]:
    with made(GridEngine, None, tmp_path_factory) as cell:
        yield found(cell, monkeypatch)


def made(kind: type[C], lacks: str | None, places: pytest.TempPathFactory) -> C:
    """In a directory of its own, and not up yet. ``lacks``: why this machine cannot have one."""
    if lacks is not None:
        pytest.skip(f"a {kind.__name__} of the tests {lacks}")
    return kind(places.mktemp(kind.__name__))


def found(cluster: C, monkeypatch: pytest.MonkeyPatch) -> C:
    """Commands of this test speak to that one."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster
