"""The hosts file: each kind of good line, each kind of bad one, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core import hosts
from coordinator.core.hosts import HostInfo
from coordinator.errors import BadInput, HostsFileError


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("node1", HostInfo("node1", 1.0)),
        ("node1 2.0", HostInfo("node1", 2.0)),
        ("node1\t2", HostInfo("node1", 2.0)),
        ("node1 0", HostInfo("node1", 0.0)),
        ("  node1   2.0  # in the cellar", HostInfo("node1", 2.0)),
        ("node1 maxload=2.0", HostInfo("node1", 2.0)),
        ("node1 maxload = 2.0", HostInfo("node1", 2.0)),
        ("node1 maxload=2.0,sshopts=-p 2222", HostInfo("node1", 2.0, {"sshopts": "-p 2222"})),
        ("node1 2.0, sshopts=-x", HostInfo("node1", 2.0, {"sshopts": "-x"})),
        ("node1 sshopts=-o BatchMode=yes -o X=1", HostInfo("node1", 1.0, {"sshopts": "-o BatchMode=yes -o X=1"})),
        ("node1 sshopts=-o Ciphers a,b,maxload=3", HostInfo("node1", 3.0, {"sshopts": "-o Ciphers a,b"})),
        ("node1 user=bob,env.X=/a:/b,env.Y=", HostInfo("node1", 1.0, {"user": "bob", "env.X": "/a:/b", "env.Y": ""})),
        ("10.0.0.1 4\r", HostInfo("10.0.0.1", 4.0)),
        ("\ufefffe80::1 4", HostInfo("fe80::1", 4.0)),
    ],
)  # fmt: skip
def test_a_good_line_is_a_host(line: str, host: HostInfo) -> None:
    assert hosts.parse(line) == {host.name: host}


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   \n\t# here\n"])
def test_comments_and_blank_lines_are_no_hosts(text: str) -> None:
    assert hosts.parse(text) == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("node1 two", "maxload must be a number, not 'two'"),
        ("node1 maxload=two", "maxload must be a number"),
        ("node1 -1", "between 0 and"),
        ("node1 nan", "between 0 and"),
        ("node1 inf", "between 0 and"),
        ("node1 1e9", "between 0 and"),
        ("node1 2.0 3.0", "maxload must be a number, not '2.0 3.0'"),
        ("node1 2.0 maxload=3", "maxload must be a number"),
        ("node1 2.0,maxload=3", "maxload is given twice"),
        ("node1 user=a,user=b", "user is given twice"),
        ("node1 speed=fast", "unknown attribute 'speed'; known are maxload, sshopts"),
        ("node1 sshopts=", "sshopts has no value"),
        ("node1 env.=x", "unknown attribute"),
        ("-oProxyCommand=x 2.0", "is not a host name"),
        ("a;b 2.0", "is not a host name"),
        ("nöde 2.0", "is not a host name"),
        ("x" * 254, "is not a host name"),
        ("node1 2.0\x00", "control character"),
        ("node0", "'node0' is already on line 6"),
        ("NODE0", "already on line 6"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(line: str, says: str) -> None:
    text = "# 1\n\n# 3\n\n# 5\nnode0 1\n" + line + "\n"
    with pytest.raises(HostsFileError) as caught:
        hosts.parse(text, "bigcheese.hosts")
    assert caught.value.message.startswith("bigcheese.hosts:7: ")
    assert says in caught.value.message


NAMES = st.from_regex(r"[A-Za-z0-9._:][A-Za-z0-9._:-]{0,30}", fullmatch=True)
VALUES = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=30)
OPTIONS = st.dictionaries(st.sampled_from(["sshopts", "user", "python", "env.PATH"]), VALUES, max_size=4)
MAXLOADS = st.floats(0, 1000, allow_nan=False)


@given(st.lists(st.builds(HostInfo, NAMES, MAXLOADS, OPTIONS), max_size=5, unique_by=lambda host: host.name.lower()))
def test_what_can_be_written_is_read_again_as_the_same_hosts(listed: list[HostInfo]) -> None:
    table = {host.name: host for host in listed}
    try:
        text = hosts.format(table)
    except BadInput:
        # A value that no line can hold is refused, not torn.
        assert any(hosts_of_own_line(host) != host for host in listed)
        return
    assert hosts.parse(text) == table
    assert list(hosts.parse(text)) == list(table)


def hosts_of_own_line(host: HostInfo) -> HostInfo | None:
    words = [f"maxload={host.maxload!r}", *(f"{name}={value}" for name, value in host.options.items())]
    try:
        return hosts.parse(f"{host.name} {','.join(words)}").get(host.name)
    except HostsFileError:
        return None


@given(st.text(max_size=200))
def test_any_text_is_hosts_or_an_error_that_names_a_line(text: str) -> None:
    said, table = "", {}
    try:
        table = hosts.parse(text, "some.hosts")
    except HostsFileError as error:
        said = error.message
    assert not said or said.startswith("some.hosts:")
    assert all(0 <= host.maxload <= hosts.MOST_MAXLOAD for host in table.values())


def test_the_example_file_is_read() -> None:
    text = (Path(__file__).parents[2] / "hosts.example").read_text(encoding="utf-8")
    table = hosts.parse(text, "hosts.example")
    assert table["localhost"].maxload == 4.0
    assert table["node2"].options == {"sshopts": "-p 2222"}
    assert table["node4"].maxload == 0.0


def test_a_change_of_line_number_is_no_change_of_the_host() -> None:
    assert hosts.parse("node1 2.0") == hosts.parse("\n\nnode1 2.0")
