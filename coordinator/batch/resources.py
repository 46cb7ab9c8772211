"""The ``resources`` of a job, as batches have always written them, and what an executor is told of them.

Whoever submits a batch calls :func:`read`, and wraps what it runs by :func:`limited`. A scheduler that knows a limit by
itself is asked for it and enforces it; for any other the job's own shell sets it. Nothing is rounded down. The words of
each executor, with examples, are in docs/batch-resources.rst::

    written   means                                pbs      torque   sge         local, slurm, lsf, others
    mem       memory on each node                  mem      mem      h_vmem      its word for memory
    pmem      of each process; without memory and  pmem     pmem     -           -
              mem it is asked for each core
    cput      CPU time of the whole job            cput     cput     h_cpu       ulimit -t, of each process
    vmem      address space of the whole job       ulimit   vmem     h_vmem      ulimit -v, of each process
    pvmem     address space of each process        pvmem    pvmem    h_vmem      ulimit -v

Of vmem and pvmem the smaller one is the ulimit. ``walltime`` is ``time``, ``smp`` is ``cores``, and every name of
:data:`coordinator.core.needs.READERS` may be said, too; ``memory`` wins over mem and pmem.

PBS (not Torque) refuses vmem beside the ``select`` by which its jobs say their cores, so that the shell keeps it. Grid
Engine has one word for memory, h_vmem, and it is a limit: if vmem is said (or pvmem, for each core), that is asked.
Its h_vmem and h_cpu are counted for each slot, so that what the whole job may have is divided by the cores.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coordinator.core.needs import MIB, READERS, TIMES, Needs, clock, memory_of, shown, time_of
from coordinator.errors import BadNeeds

#: the five of the manual
FIVE = {"cput": time_of, "mem": memory_of, "pmem": memory_of, "vmem": memory_of, "pvmem": memory_of}
#: {an older name: ours}
OLDER = {"walltime": "time", "smp": "cores"}
KNOWN = (*FIVE, *OLDER, *READERS)
#: which of the five an executor's own command takes
NATIVE = {"pbs": ("cput", "pmem", "pvmem"), "torque": ("cput", "pmem", "vmem", "pvmem"), "sge": tuple(FIVE)}

CPU_S, ADDRESS_SPACE = "cpu_s", "address_space"
#: so much CPU time after SIGXCPU, which a job may catch, it is killed
GRACE_S = 3
_KIB = 1024


@dataclass(frozen=True)
class Asked:
    """``needs``: for the executor; ``limits``: (``cpu_s``, seconds) and (``address_space``, bytes) of each process of
    the job, for :func:`limited`."""

    needs: Needs
    limits: tuple[tuple[str, int], ...] = ()


def read(resources: Mapping[str, Any], queue: str = "", *, executor: str) -> Asked:
    """``resources``: ``{"cput": "04:59:00", "mem": "1gb"}``, where None is as good as nothing; ``queue``: where they
    name none. Raises BadNeeds, which names the key."""
    five, plain = _sorted({name: value for name, value in resources.items() if value is not None})
    if queue:
        if (other := plain.get("queue", plain.get("partition", queue))) != queue:
            raise BadNeeds(f"queue: that is said twice, as {shown(queue)} and in the resources as {shown(other)}")
        plain.pop("partition", None)
        plain["queue"] = queue
    needs = Needs.of(plain)
    if needs.memory is None:
        needs = replace(needs, memory=_memory(five, needs))
    if executor == "sge":
        return Asked(_for_sge(five, needs))
    listed = [f"{name}={_word(name, five[name])}" for name in NATIVE.get(executor, ()) if name in five]
    if listed:
        needs = _with_words(needs, executor, ["-l", ",".join(listed)])
    return Asked(needs, _limits({name: value for name, value in five.items() if name not in NATIVE.get(executor, ())}))


def changed(resources: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """The same resources, as people wrote them, with other values for what ``told`` names (``memory``, ``time``,
    ``cores``, ...), where ``"x2"`` is twice what it was.

    A limit of the same kind may be what a job met, so that ``x2`` is twice all of them that are said (memory, mem,
    pmem, vmem, pvmem; time, walltime, cput), and none of them stays below a new value. Raises BadNeeds, which names
    the key.
    """
    found = {name: value for name, value in resources.items() if value is not None}
    for name, value in told.items():
        kin = [other for other in _KINDS.get(name, _same(name)) if other in found]
        factor = TIMES.fullmatch(value) if isinstance(value, str) else None
        if factor is not None:
            was = {other: _readers(other)(found[other]) for other in kin}
            if not was or not all(isinstance(number, int) for number in was.values()):
                raise BadNeeds(f"{name}: there is no number to multiply by {factor[1]}")
            found.update({other: _written(other, round(number * float(factor[1]))) for other, number in was.items()})
            continue
        try:
            number = _readers(name)(value)
        except BadNeeds as error:
            raise BadNeeds(f"{name}: {error.message}") from error
        to = next((other for other in _same(name) if other in found), name)
        found.update(
            {other: value for other in kin if isinstance(number, int) and _readers(other)(found[other]) < number}
        )
        found[to] = value
    return found


def limited(argv: Sequence[str], limits: Sequence[tuple[str, int]]) -> list[str]:
    """The command, so that its processes are held to the limits. It does not begin if one cannot be set, as where the
    site allows less."""
    words = [_ulimit(name, value) for name, value in limits]
    if not words:
        return list(argv)
    return ["/bin/sh", "-c", " && ".join([*words, 'exec "$@"']), "sh", *argv]


#: {what may be changed: limits of the same kind}
_KINDS = {"memory": ("memory", "mem", "pmem", "vmem", "pvmem"), "time": ("time", "walltime", "cput")}
#: {what may be changed: the names by which it may have been said, the one that counts first}
_NAMES = {"memory": ("memory", "mem"), "time": ("time", "walltime"), "cores": ("cores", "smp"),
          "queue": ("queue", "partition")}  # fmt: skip


def _same(name: str) -> tuple[str, ...]:
    return _NAMES.get(name, (name,))


def _readers(name: str) -> Any:
    if name in FIVE:
        return FIVE[name]
    plain = OLDER.get(name, name)
    if plain not in READERS:
        raise BadNeeds(f"{shown(name)} is nothing that a job can need: it needs {', '.join(sorted(KNOWN))}")
    return READERS[plain][1]


def _written(name: str, number: int) -> Any:
    """As people write it."""
    if name in _KINDS["memory"]:
        return f"{_up(number, MIB)}mb" if number >= MIB else number
    return clock(number) if name in _KINDS["time"] else number


def _ulimit(name: str, value: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadNeeds(f"{name}: {shown(value)} is no limit")
    if name == CPU_S:
        return f"ulimit -S -t {value} && ulimit -H -t {value + GRACE_S}"
    if name == ADDRESS_SPACE:
        return f"ulimit -v {_up(value, _KIB)}"
    raise BadNeeds(f"{shown(name)} is no limit that a shell sets: there are {CPU_S} and {ADDRESS_SPACE}")


def _sorted(said: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """The five, read, and what is ours, as it is written."""
    five: dict[str, int] = {}
    plain: dict[str, Any] = {}
    for name, value in said.items():
        if name not in KNOWN:
            near = difflib.get_close_matches(str(name), KNOWN, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise BadNeeds(f"{shown(name)} is nothing that a job can need: {meant}It needs {', '.join(sorted(KNOWN))}")
        if name in FIVE:
            try:
                five[name] = FIVE[name](value)
            except BadNeeds as error:
                raise BadNeeds(f"{name}: {error.message}") from error
        elif OLDER.get(name, name) in plain or (name in OLDER and OLDER[name] in said):
            raise BadNeeds(f"{name}: that is said twice, as {name} and as {OLDER.get(name, name)}")
        else:
            plain[OLDER.get(name, name)] = value
    return five, plain


def _memory(five: Mapping[str, int], needs: Needs) -> int | None:
    if "mem" in five or "pmem" not in five:
        return five.get("mem")
    return _checked("pmem", five["pmem"] * needs.cores)


def _for_sge(five: Mapping[str, int], needs: Needs) -> Needs:
    """Its memory is asked by the dialect as h_vmem, divided by the cores: so vmem takes its place."""
    if "vmem" in five:
        needs = replace(needs, memory=_up(five["vmem"], needs.nodes))
    elif "pvmem" in five:
        needs = replace(needs, memory=_checked("pvmem", five["pvmem"] * needs.cores))
    if "cput" in five:
        needs = _with_words(needs, "sge", ["-l", f"h_cpu={_up(five['cput'], needs.cores * needs.nodes)}"])
    return needs


def _limits(five: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    spaces = [five[name] for name in ("vmem", "pvmem") if name in five]
    limits = [(CPU_S, five["cput"])] if "cput" in five else []
    return (*limits, *([(ADDRESS_SPACE, min(spaces))] if spaces else []))


def _with_words(needs: Needs, executor: str, words: Sequence[str]) -> Needs:
    """A user's own words come last: they count."""
    return replace(needs, options={**needs.options, executor: (*words, *needs.options.get(executor, ()))})


def _word(name: str, value: int) -> str:
    return clock(value) if name == "cput" else f"{_up(value, MIB)}mb"


def _checked(name: str, memory: int) -> int:
    try:
        return memory_of(memory)
    except BadNeeds as error:
        raise BadNeeds(f"{name}, for all cores: {error.message}") from error


def _up(value: int, by: int) -> int:
    return -(-value // by)
