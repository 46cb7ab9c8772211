"""Shares: the manual's promises as examples, the rest as properties."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.balance import Claim, Plan, assign, divide, room
from coordinator.core.hosts import HostInfo


def table(*maxloads: float) -> dict[str, HostInfo]:
    return {f"h{number}": HostInfo(f"h{number}", maxload) for number, maxload in enumerate(maxloads)}


def shares(plan: Plan) -> dict[str, int]:
    return {key: sum(slots.values()) for key, slots in plan.slots.items()}


def share(*jobs: Claim, hosts: dict[str, HostInfo] | None = None, throttle: float = 1.0) -> dict[str, int]:
    return shares(assign(table(4, 4) if hosts is None else hosts, {}, {}, jobs, throttle))


# --- the manual's promises ---


def test_a_job_alone_has_every_slot() -> None:
    assert share(Claim("A", 1)) == {"A": 8}


def test_jobs_queue_in_order() -> None:
    plan = assign(table(4, 4), {}, {}, [Claim("B", 2, priority=2.0), Claim("A", 1, name="first")])
    assert shares(plan) == {"A": 8, "B": 0}
    assert plan.reasons == {"B": "queued behind 'first'; --immediate would share with it at once"}


def test_an_immediate_job_shares_by_priority_and_no_slot_is_lost_to_rounding() -> None:
    assert share(Claim("A", 1), Claim("B", 2), Claim("C", 3, priority=2.0, immediate=True)) == {"A": 3, "B": 0, "C": 5}


def test_priority_two_has_twice_the_processors_of_one() -> None:
    assert share(Claim("A", 1), Claim("B", 2, priority=2.0, immediate=True), hosts=table(6)) == {"A": 2, "B": 4}


def test_a_demand_is_exact_and_comes_first() -> None:
    assert share(Claim("A", 1), Claim("D", 2, demand_ncpu=3)) == {"A": 5, "D": 3}


def test_a_demand_never_gets_more_than_exist_and_says_so() -> None:
    plan = assign(
        table(4, 4), {}, {}, [Claim("A", 1), Claim("D", 2, demand_ncpu=3), Claim("E", 3, name="greedy", demand_ncpu=20)]
    )
    assert shares(plan) == {"A": 0, "D": 3, "E": 5}
    assert plan.reasons["E"].startswith("5 of the 20 processors that it demands")
    assert plan.reasons["A"] == "all slots are demanded by 'D', 'greedy'"


def test_ncpu_limit_and_wants_bound_a_share_and_the_next_in_line_has_the_rest() -> None:
    assert share(Claim("A", 1, ncpu_limit=3), Claim("B", 2, wants=2), Claim("C", 3)) == {"A": 3, "B": 2, "C": 3}


def test_throttle_scales_what_is_shared_but_no_demand() -> None:
    assert share(Claim("A", 1), throttle=0.5) == {"A": 4}
    assert share(Claim("A", 1, demand_ncpu=6), throttle=0.5) == {"A": 6}
    plan = assign(table(4), {}, {}, [Claim("A", 1)], throttle=0.0)
    assert plan.reasons == {"A": "throttle is 0: nothing is started; raise it with setthrottle"}


def test_load_of_other_people_takes_slots_and_the_margin_forgives_a_little() -> None:
    assert room(2.0, 0.0, 0.6) == 2
    assert room(2.0, 0.6, 0.6) == 2
    assert room(2.0, 0.7, 0.6) == 1
    assert room(2.0, 2.7, 0.6) == 0
    assert room(0.0, 0.0, 5.0) == 0


def test_our_own_processors_are_no_load_of_others() -> None:
    assert shares(assign(table(4), {"h0": 4.2}, {"h0": 4}, [Claim("A", 1, processors={"h0": 4})])) == {"A": 4}


def test_processors_spread_over_hosts() -> None:
    plan = assign(table(4, 4, 4, 4), {}, {}, [Claim("A", 1, wants=4)])
    assert plan.slots["A"] == {"h0": 1, "h1": 1, "h2": 1, "h3": 1}


def test_what_runs_stays_where_it_is() -> None:
    plan = assign(table(4, 4), {}, {}, [Claim("A", 1, wants=3, processors={"h1": 3})])
    assert plan.slots["A"] == {"h1": 3}


def test_what_was_planned_and_is_just_starting_is_not_planned_elsewhere() -> None:
    first = assign(table(4, 4, 4), {}, {}, [Claim("A", 1, wants=3)])
    again = assign(table(4, 4, 4), {}, {}, [Claim("A", 1, wants=3, processors={"h2": 1}, placed=first.slots["A"])])
    assert again.slots == first.slots


def test_a_job_shrinks_where_it_has_most() -> None:
    plan = assign(table(4, 4), {}, {}, [Claim("A", 1, wants=4, processors={"h0": 4, "h1": 2})])
    assert plan.slots["A"] == {"h0": 2, "h1": 2}


def test_a_host_that_a_job_cannot_use_goes_to_the_other_one() -> None:
    cut_off = Claim("A", 1, avoid={"h0": "connection refused"})
    plan = assign(table(4, 4), {}, {}, [cut_off, Claim("B", 2, immediate=True)])
    assert plan.slots == {"A": {"h1": 4}, "B": {"h0": 4}}


def test_slots_that_a_cut_off_job_cannot_use_are_not_left_idle() -> None:
    cut_off = Claim("A", 1, avoid={"h0": "x", "h1": "x"}, ncpu_limit=4)
    other = Claim("B", 2, immediate=True, processors={"h2": 2})
    third = Claim("C", 3, immediate=True, processors={"h2": 2})
    plan = assign(table(1, 1, 4), {}, {}, [cut_off, other, third])
    assert sum(shares(plan).values()) == 6


@pytest.mark.parametrize(
    ("job", "hosts", "loads", "says"),
    [
        (Claim("A", 1), {}, {}, "there are no hosts"),
        (Claim("A", 1), table(0), {}, "every host has maxload 0"),
        (Claim("A", 1), table(1), {"h0": 9.0}, "every host is busy with other work"),
        (Claim("A", 1, avoid={"h0": "no route to host"}), table(1), {}, "no host can be used (h0: no route to host)"),
        (Claim("A", 1, priority=0.0), table(1), {}, "its priority is 0"),
        (Claim("A", 1, ncpu_limit=0), table(1), {}, "its ncpu_limit is 0"),
        (Claim("A", 1, wants=0), table(1), {}, "it has no task to hand out just now"),
        (Claim("A", 1), table(0.5), {}, "maxload leaves no whole slot"),
    ],
)
def test_a_job_without_slots_is_told_why(
    job: Claim, hosts: dict[str, HostInfo], loads: dict[str, float], says: str
) -> None:
    assert assign(hosts, loads, {}, [job]).reasons["A"].startswith(says)


def test_a_small_share_beside_large_ones_says_so() -> None:
    plan = assign(table(1), {}, {}, [Claim("A", 1, priority=9.0), Claim("B", 2, immediate=True)])
    assert plan.reasons == {"B": "its share beside the other jobs is less than one slot"}


# --- properties ---

COUNTS = st.integers(0, 12)
HOSTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0, 7.3]), max_size=6).map(lambda loads: table(*loads))
PLACES = st.dictionaries(st.sampled_from([f"h{number}" for number in range(7)]), st.integers(1, 5), max_size=4)
CLAIMS = st.lists(
    st.builds(
        Claim,
        key=st.just(""),
        order=st.just(0),
        priority=st.sampled_from([0.0, 0.1, 1.0, 1.0, 2.0, 3.7]),
        immediate=st.booleans(),
        demand_ncpu=st.sampled_from([0, 0, 0, 1, 3, 20]),
        ncpu_limit=st.none() | COUNTS,
        wants=st.none() | COUNTS,
        processors=PLACES,
        placed=PLACES,
        avoid=st.dictionaries(st.sampled_from(["h0", "h1", "h2"]), st.just("x"), max_size=2),
    ),
    max_size=5,
).map(lambda claims: [replace(claim, key=f"j{number}", order=number) for number, claim in enumerate(claims)])
LOADS = st.dictionaries(st.sampled_from([f"h{number}" for number in range(7)]), st.floats(0, 9), max_size=6)


@given(HOSTS, LOADS, CLAIMS, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.6, 1.0]))
def test_every_plan_keeps_the_bounds(
    hosts: dict[str, HostInfo], loads: dict[str, float], claims: list[Claim], throttle: float, margin: float
) -> None:
    plan = assign(hosts, loads, {}, claims, throttle, margin)
    got = shares(plan)
    for name, host in hosts.items():
        used = sum(slots.get(name, 0) for slots in plan.slots.values())
        assert used <= plan.room[name] <= host.maxload + margin
        assert used == 0 or used + loads.get(name, 0.0) <= host.maxload + margin + 1e-6
    shared = sum(got[claim.key] for claim in claims if not claim.demand_ncpu)
    assert shared <= sum(host.maxload for host in hosts.values()) * throttle + 1e-6
    for claim in claims:
        assert got[claim.key] <= min(n for n in (claim.wants, claim.ncpu_limit, 10**9) if n is not None)
        assert not set(claim.avoid) & set(plan.slots[claim.key])
        assert not claim.demand_ncpu or got[claim.key] <= claim.demand_ncpu
        assert got[claim.key] or plan.reasons[claim.key]
    assert set(plan.slots) == {claim.key for claim in claims}


@given(HOSTS, CLAIMS, st.sampled_from([0.5, 1.0, 2.0]))
def test_no_slot_is_idle_while_a_job_could_use_it(
    hosts: dict[str, HostInfo], claims: list[Claim], throttle: float
) -> None:
    claims = [replace(claim, avoid={}) for claim in claims]
    plan = assign(hosts, {}, {}, claims, throttle)
    got = shares(plan)
    demanded = sum(got[claim.key] for claim in claims if claim.demand_ncpu)
    free = min(
        sum(plan.room.values()) - sum(got.values()),
        math.floor(sum(host.maxload for host in hosts.values()) * throttle)
        - max(demanded, 0)
        - (sum(got.values()) - demanded),
    )
    for claim in claims:
        if claim.priority > 0 and not claim.demand_ncpu:
            most = min(n for n in (claim.wants, claim.ncpu_limit, 10**9) if n is not None)
            assert free <= 0 or got[claim.key] == most


@given(HOSTS, CLAIMS, st.data())
def test_raising_a_priority_never_lowers_that_jobs_share(
    hosts: dict[str, HostInfo], claims: list[Claim], data: st.DataObject
) -> None:
    claims = [replace(claim, avoid={}) for claim in claims]
    if not claims:
        return
    chosen = data.draw(st.sampled_from(claims))
    more = replace(chosen, priority=chosen.priority + data.draw(st.sampled_from([0.01, 0.5, 3.0])))
    before = shares(assign(hosts, {}, {}, claims))
    after = shares(assign(hosts, {}, {}, [more if claim is chosen else claim for claim in claims]))
    assert after[chosen.key] >= before[chosen.key]


def carried_out(plan: Plan, claims: list[Claim]) -> list[Claim]:
    return [replace(claim, placed=plan.slots[claim.key], processors=plan.slots[claim.key]) for claim in claims]


@given(HOSTS, LOADS, CLAIMS)
def test_a_plan_that_is_carried_out_is_the_next_plan(
    hosts: dict[str, HostInfo], loads: dict[str, float], claims: list[Claim]
) -> None:
    claims = [replace(claim, avoid={}) for claim in claims]
    first = assign(hosts, loads, {}, claims)
    second = assign(hosts, loads, {}, carried_out(first, claims))
    assert second.slots == first.slots


@given(HOSTS, LOADS, CLAIMS)
def test_plans_come_to_rest_where_jobs_cannot_use_every_host(
    hosts: dict[str, HostInfo], loads: dict[str, float], claims: list[Claim]
) -> None:
    # A host that only one job can use may move to it a plan later; nobody is moved without end.
    plan = assign(hosts, loads, {}, claims)
    for _ in range(len(claims) + 2):
        before, plan = plan, assign(hosts, loads, {}, carried_out(plan, claims))
        if shares(plan) == shares(before):
            return
    raise AssertionError("the plan never came to rest")


@given(
    st.integers(0, 50),
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 2.0, 3.3]), st.integers(0, 20)), max_size=8),
)
def test_division_loses_nothing_and_keeps_each_cap(pool: int, parts: list[tuple[float, int]]) -> None:
    weights, caps = [Fraction(weight) for weight, _ in parts], [cap for _, cap in parts]
    divided = divide(pool, weights, caps)
    assert all(0 <= part <= cap for part, cap in zip(divided, caps, strict=True))
    usable = sum(cap for weight, cap in parts if weight > 0)
    assert sum(divided) == min(pool, usable)


def test_a_large_farm_is_balanced_quickly() -> None:
    hosts = table(*([16.0] * 5000))
    jobs = [Claim(f"j{number}", number, priority=1 + number % 3, immediate=True) for number in range(50)]
    begun = time.process_time()
    plan = assign(hosts, {}, {}, jobs)
    placed = [replace(job, placed=plan.slots[job.key], processors=plan.slots[job.key]) for job in jobs]
    assert assign(hosts, {}, {}, placed).slots == plan.slots
    assert sum(shares(plan).values()) == 80_000
    assert time.process_time() - begun < 30  # a hang, not a speed: the benchmark tells that
