"""Rest and back-off, without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.health import FAST_FAILURES, FAST_S, HostHealth, retry_delay_s


def test_delays_double_up_to_the_cap() -> None:
    assert [retry_delay_s(attempt, 1.0, 10.0) for attempt in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@given(st.integers(-5, 10**9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_delay_is_never_negative_over_the_cap_or_shorter_than_the_one_before(n: int, base: float, cap: float) -> None:
    assert 0 <= retry_delay_s(n, base, cap) <= retry_delay_s(n + 1, base, cap) <= cap


def test_a_host_rests_after_fast_failures_in_a_row_and_is_tried_again() -> None:
    health = HostHealth(base_s=10, cap_s=600)
    for _ in range(FAST_FAILURES - 1):
        assert health.failed("h", 0.0, 0.01, "no such script") is None
    rest = health.failed("h", 0.0, 0.01, "no such script")
    assert rest is not None
    assert rest.reason == "no such script"
    assert health.resting("h", 9.9) == rest
    assert health.next_change(5.0) == 10.0
    assert health.resting("h", 10.0) is None
    assert health.next_change(10.0) is None


def test_a_host_that_fails_right_after_its_rest_rests_longer() -> None:
    health = HostHealth(base_s=10, cap_s=600)
    for _ in range(FAST_FAILURES):
        health.failed("h", 0.0, 0.0, "x")
    rest = health.failed("h", 10.0, 0.0, "x")
    assert rest is not None
    assert rest.until == 30.0
    assert rest.times == 2


def test_failures_of_one_wave_count_as_one_rest() -> None:
    health = HostHealth(base_s=10, cap_s=600)
    for _ in range(20):
        health.failed("h", 0.0, 0.0, "x")
    rest = health.resting("h", 0.0)
    assert rest is not None
    assert rest.until == 10.0


def test_a_success_forgives() -> None:
    health = HostHealth()
    for _ in range(10):
        health.failed("h", 0.0, 0.0, "x")
        health.succeeded("h")
    assert health.all_resting(0.0) == {}


def test_a_processor_that_lived_long_says_nothing_about_its_host() -> None:
    health = HostHealth()
    for _ in range(10):
        assert health.failed("h", 0.0, FAST_S, "killed") is None


def test_an_unreachable_host_rests_at_once_and_people_can_end_its_rest() -> None:
    health = HostHealth(base_s=10)
    health.unreachable("h", 0.0, "connection refused")
    assert set(health.all_resting(0.0)) == {"h"}
    rest = health.unreachable("h", 1.0, "no route")
    assert (rest.until, rest.reason, rest.times) == (10.0, "no route", 1), "the newest word for the same rest"
    assert health.resting("h", 1.0) == rest
    health.clear("h")
    assert health.resting("h", 0.0) is None
    assert health.unreachable("h", 0.0, "connection refused").times == 1
