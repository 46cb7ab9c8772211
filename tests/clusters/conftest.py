"""The clusters of these tests: real ones, started once in a test session, on free ports of this machine's loopback."""

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
    reason = slurm.missing()
    if reason is not None:
        pytest.skip(f"a Slurm of the tests {reason}")
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def own_slurm(slurm_cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Its commands are on PATH, and find it."""
    return found(slurm_cluster, monkeypatch)


@pytest.fixture(scope="session")
def sge_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    reason = gridengine.missing()
    if reason is not None:
        pytest.skip(f"a Grid Engine of the tests {reason}")
    with GridEngine(tmp_path_factory.mktemp("sge")) as cell:
        yield cell


@pytest.fixture
def own_sge(sge_cell: GridEngine, monkeypatch: pytest.MonkeyPatch) -> GridEngine:
    return found(sge_cell, monkeypatch)


@pytest.fixture
def mortal_sge(
    own_sge: GridEngine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GridEngine]:
    with GridEngine(tmp_path_factory.mktemp("mortal")) as cell:
        yield found(cell, monkeypatch)


def found(cluster: C, monkeypatch: pytest.MonkeyPatch) -> C:
    """Commands of this test speak to that one."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster
