"""What `coordinator why` says while hosts are being reached: sentences that one machine alone does not bring about."""

from __future__ import annotations

import pytest

from tests.end_to_end.daemons import Daemons, until
from tests.testbed.hosts import Hosts
from tests.testbed.machine import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def test_a_job_whose_processors_have_not_begun_yet_says_so(farm: Daemons, hosts: Hosts) -> None:
    hosts[1].freeze()
    url = farm.controller("node2 1.0\n")
    farm.job("one", url)
    words = "The job has been given 1 slot and no processor has begun yet."
    until(
        lambda: words in [one["what"] for one in farm.document("why", "one", f"--rc_url={url}")["reasons"]],
        "it is said while the host is being reached",
    )
    hosts[1].thaw()
    until(lambda: farm.document("status", "one")["job"]["processors"], "it works after all")
