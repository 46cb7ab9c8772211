"""Who takes part: ourselves, no farm at all, and every peer, with what is needed to run it.

A table and nothing else; ``rounds`` decides who runs when, ``environments`` installs what ``environment`` names.
"""

from __future__ import annotations

from dataclasses import dataclass

#: the kinds
OURS, BARE, POOL, DISTRIBUTED, QUEUE, PROGRAM = "ours", "bare", "pool", "distributed", "queue", "program"


@dataclass(frozen=True)
class Contestant:
    """``key``: its variant in benchmarks/peers/``module``.py; ``noop``: how many no-op tasks of a full run take some
    seconds (0: not asked); ``slow``: gets a tenth of the timed tasks; ``takes``: the works that it can do;
    ``environment``: a file of requirements/, "" where the standard library is enough; ``program``: of the system."""

    key: str
    label: str
    kind: str
    module: str = ""
    noop: int = 0
    takes: tuple[str, ...] = ("noop", "sleep", "burn", "tail")
    slow: bool = False
    start: bool = False
    environment: str = ""
    program: str = ""

    @property
    def ours(self) -> bool:
        return self.kind == OURS


NOOP = ("noop",)
PLAIN = ("noop", "sleep")
TIMED = ("noop", "sleep", "burn")
M = 1_000_000

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant("ours", "coordinator", OURS, noop=M, start=True),
    Contestant("ours-function", "coordinator, a plain function", OURS, noop=M, takes=NOOP),
    Contestant("loop", "no farm: a bare loop in each process", BARE, "bare", takes=("sleep", "burn")),
    Contestant("order", "no farm: the ideal schedule", BARE, "bare", takes=("tail",)),
    Contestant("pool-1", "multiprocessing.Pool, chunksize 1", POOL, "pools", 200_000, start=True),
    Contestant("pool-100", "multiprocessing.Pool, chunksize 100", POOL, "pools", M, NOOP),
    Contestant("pool-auto", "multiprocessing.Pool.map, chunksize auto", POOL, "pools", M),
    Contestant("executor-1", "ProcessPoolExecutor.map, chunksize 1", POOL, "pools", 30_000, start=True),
    Contestant("executor-submit", "ProcessPoolExecutor.submit", POOL, "pools", 30_000, NOOP),
    Contestant("executor-100", "ProcessPoolExecutor.map, chunksize 100", POOL, "pools", M, NOOP),
    Contestant("joblib-auto", "joblib, batch_size auto", POOL, "loky", M, environment="quick"),
    Contestant("joblib-1", "joblib, batch_size 1", POOL, "loky", 20_000, NOOP, environment="quick"),
    Contestant("joblib-generator", "joblib, generator_unordered", POOL, "loky", M, NOOP, start=True,
               environment="quick"),
    Contestant("dask-futures", "dask.distributed, futures, worker-saturation inf", DISTRIBUTED, "dask", 10_000,
               slow=True, start=True, environment="quick"),
    Contestant("dask-default", "dask.distributed, futures", DISTRIBUTED, "dask", 3_000, NOOP, environment="quick"),
    Contestant("dask-batches", "dask.distributed, map(batch_size=1000)", DISTRIBUTED, "dask", 3_000, NOOP,
               environment="quick"),
    Contestant("dask-bag", "dask.bag, 100 partitions", DISTRIBUTED, "dask", 100_000, NOOP, environment="quick"),
    Contestant("ray-tasks", "Ray, remote tasks", DISTRIBUTED, "ray", 10_000, slow=True, start=True, environment="ray"),
    Contestant("ray-pool-100", "Ray Pool, chunksize 100", DISTRIBUTED, "ray", 500_000, NOOP, environment="ray"),
    Contestant("ray-pool-auto", "Ray Pool.map, chunksize auto", DISTRIBUTED, "ray", M, NOOP, environment="ray"),
    Contestant("ipyparallel-1", "ipyparallel, chunksize 1", DISTRIBUTED, "ipyparallel", 2_000, TIMED, True, True,
               "ipyparallel"),
    Contestant("ipyparallel-100", "ipyparallel, chunksize 100", DISTRIBUTED, "ipyparallel", 100_000, NOOP,
               environment="ipyparallel"),
    Contestant("ipyparallel-1000", "ipyparallel, chunksize 1,000", DISTRIBUTED, "ipyparallel", M, NOOP,
               environment="ipyparallel"),
    Contestant("parsl", "Parsl, HighThroughputExecutor", DISTRIBUTED, "parsl", 5_000, TIMED, True, True, "parsl"),
    Contestant("hyperqueue", "HyperQueue, a program a task", DISTRIBUTED, "hyperqueue", 2_000, PLAIN, True, True,
               "hyperqueue"),
    Contestant("hyperqueue-python", "HyperQueue, a Python function a task", DISTRIBUTED, "hyperqueue", 60, NOOP,
               environment="hyperqueue"),
    Contestant("mpi-1", "mpi4py.futures, chunksize 1", DISTRIBUTED, "mpi", 10_000, TIMED, True, True, "mpi"),
    Contestant("mpi-100", "mpi4py.futures, chunksize 100", DISTRIBUTED, "mpi", M, NOOP, environment="mpi"),
    Contestant("executorlib", "executorlib, block allocation", DISTRIBUTED, "executorlib", 10_000, TIMED, True, True,
               "executorlib"),
    Contestant("executorlib-process", "executorlib, a process a task", DISTRIBUTED, "executorlib", 30, NOOP,
               environment="executorlib"),
    Contestant("celery", "Celery, Redis", QUEUE, "queues", 3_000, TIMED, True, True, "queues", "redis-server"),
    Contestant("dramatiq", "Dramatiq, Redis", QUEUE, "queues", 3_000, TIMED, True, True, "queues", "redis-server"),
    Contestant("huey", "Huey, SQLite", QUEUE, "queues", 5_000, TIMED, True, True, "queues"),
    Contestant("rq", "RQ, SimpleWorker, Redis", QUEUE, "queues", 2_000, TIMED, True, True, "queues", "redis-server"),
    Contestant("rq-fork", "RQ, a fork a task, Redis", QUEUE, "queues", 300, NOOP, True, False, "queues",
               "redis-server"),
    Contestant("xargs", "xargs -P, a program a task", PROGRAM, "programs", 5_000, PLAIN, True, True, "", "xargs"),
    Contestant("make", "make -j, a program a task", PROGRAM, "programs", 5_000, PLAIN, True, True, "", "make"),
    Contestant("parallel", "GNU parallel, a program a task", PROGRAM, "programs", 1_000, PLAIN, True, True, "",
               "parallel"),
    Contestant("parallel-joblog", "GNU parallel, --joblog", PROGRAM, "programs", 1_000, NOOP, environment="",
               program="parallel"),
)  # fmt: skip

BY_KEY = {contestant.key: contestant for contestant in CONTESTANTS}
#: with whom a quick run compares
QUICK = ("ours", "ours-function", "loop", "order", "pool-1", "pool-100", "pool-auto", "joblib-auto", "joblib-generator",
         "dask-futures", "dask-bag")  # fmt: skip
