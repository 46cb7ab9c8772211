"""Templates of job scripts: what is a field, what is left as it is, and that no value adds a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.batch.template import AWK, fields, filled
from coordinator.errors import BadInput, BadTemplate, from_fault

JOB: dict[str, Any] = {
    "BatchID": 20210101000000,
    "JobIndex": 7,
    "priority": 1.5,
    "name": ["human", "genome_map"],
    "script": "my script.sh",
    "data": None,
    "vars": {"x": "a b", "1": "one"},
    "resources": {"mem": "1gb", "nested": [1, {"deep": "down"}]},
    "flag": True,
    "files": ["a", "b c"],
    "path": Path("/tmp/x"),
    "quote": "it's",
}


@pytest.mark.parametrize(
    ("template", "script"),
    [
        ("{JobIndex}", "7"),
        ("{JobIndex:04d}|{priority:.2f}|{script:>14}|{script:*<14}|{BatchID:,}",
         "0007|1.50|  my script.sh|my script.sh**|20,210,101,000,000"),
        ("{name} {name[0]} {name[-1]}", "human/genome_map human genome_map"),
        ("{resources[mem]} {vars[x]} {vars[1]}", "1gb a b one"),
        ("{resources[nested][1][deep]}", "down"),
        ("{resources[nested]}", '[1, {"deep": "down"}]'),
        ("{files} {vars}", '["a", "b c"] {"x": "a b", "1": "one"}'),
        ("[{data}]", "[]"),
        ("{flag} {path} {priority}", "True /tmp/x 1.5"),
        ("run {script!q} {vars[x]!q} {data!q} {JobIndex!q:04d} {quote!q}",
         "run 'my script.sh' 'a b' '' 0007 'it'\"'\"'s'"),
        ("{script!q:>14}", "'  my script.sh'"),
        ("{BatchID}/logs/{name}_{JobIndex:04d}.out", "20210101000000/logs/human/genome_map_0007.out"),
        # braces around a field
        ("{{JobIndex}}", "{JobIndex}"),
        ("{{unknown}} {{vars[y]:04d}} {{print}}", "{unknown} {vars[y]:04d} {print}"),
        ("{{{JobIndex}}}", "{7}"),
        ("{{{{JobIndex}}}}", "{{JobIndex}}"),
        ("{{JobIndex},x}", "{7,x}"),
        ("awk '{print $1 * {JobIndex}}'", "awk '{print $1 * 7}'"),
        ("${VAR:-{JobIndex}}", "${VAR:-7}"),
        ("{JobIndex}{JobIndex}", "77"),
    ],
)  # fmt: skip
def test_fields_are_what_the_job_says(template, script):
    assert filled(template, JOB) == script


SHELL = [
    "${VAR}", "${A[@]}", "${VAR:-x}", "${JobIndex}", "$ {a b}", "{a,b}", "{1..5}", "{a..e}", "{}",
    "find . -exec rm {} \\;", "awk '{print $1}' f", "awk '{ sum += $1 } END { print sum }'", "{ echo a; echo b; }",
    "{print}", "{next}", "{exit}", "{getline}", "{nextfile}", "awk '{{print $1}}'", '{"a": 1}', "{a: 1}", "f() { x; }",
    "{name!r}", "{name!s}", "{name.upper}", "{name[0].x}", "{name['x']}", "{1}", "{-x}", "{JobIndex:999999d}", "{{",
    "}}", "{", "}", "${#A[@]}", "{JobIndex", "JobIndex}", "{ JobIndex }", "{a b}", "{é}", "{x\ny}", "cp f.{txt,bak}",
    "{{a,b},{c,d}}", "while read l; do { :; } done", "\\{a\\}",
]  # fmt: skip


@pytest.mark.parametrize("text", SHELL)
def test_what_shells_and_awk_write_is_left_as_it_is(text):
    assert filled(text, JOB) == text
    assert fields(text) == set()


@given(st.lists(st.sampled_from(SHELL) | st.text(alphabet="{}$[]:!,.; \n\t0189\"'\\é日", max_size=8)))
@settings(max_examples=500)
def test_text_without_fields_passes_byte_for_byte(pieces):
    text = " ".join(pieces)
    assert filled(text, JOB) == text
    assert filled(text, {}) == text


@given(st.text(alphabet=st.characters(exclude_characters="{")))
def test_so_does_every_text_without_braces(text):
    assert filled(text, {}) == text


def test_awks_statements_are_fields_only_if_the_job_has_them():
    assert filled("{next} {print}", {"next": "job 2"}) == "job 2 {print}"
    assert sorted(AWK) == ["exit", "getline", "next", "nextfile", "print"]
    with pytest.raises(BadTemplate, match="the job has no field 'print'"):
        filled("{print:04d}", {})


def test_the_fields_of_a_template_can_be_asked():
    assert fields("{a} {b[c]:04d} {d!q} {{e}} {{{f}}} {print} ${g} {h,i}") == {"a", "b", "d", "f"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("#!/bin/sh\n\nrun {nme}", r"line 3: {nme}: the job has no field 'nme'; did you mean 'name'\? "
         r"If it is not meant as a field, write {{nme}}$"),
        ("{zzz}", r"line 1: {zzz}: the job has no field 'zzz'; there are BatchID, JobIndex, data, .*, write {{zzz}}$"),
        ("{vars[y]}", r"line 1: {vars\[y\]}: vars has no item 'y'; .*, write {{vars\[y\]}}$"),
        ("{vars[x][0]}", r"vars\[x\] has no items: it is 'a b'"),
        ("{script[0]}", "script has no items: it is 'my script.sh'"),
        ("{data[x]}", "data has no items: it is None"),
        ("{name[2]}", "name is a list of 2, of which 2 is none"),
        ("{name[-3]}", "name is a list of 2, of which -3 is none"),
        ("{name[x]}", "name is a list of 2, of which x is none"),
        ("{script:04d}", "'my script.sh' cannot be written as :04d"),
        ("{data:04d}", "'' cannot be written as :04d"),
        ("{JobIndex:c}", r"its value '\\x07' has a line end or another control character"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_filled_is_an_error_that_says_where_and_what_to_write(template, words):
    with pytest.raises(BadTemplate, match=words) as caught:
        filled(template, JOB)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", [object()], {"a": float("nan")}, ["a", {1}]])
def test_a_value_that_is_no_text_is_refused(value):
    with pytest.raises(BadTemplate, match=r"^line 1: {x}: "):
        filled("{x}", {"x": value})


def test_a_list_that_holds_itself_is_refused():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadTemplate, match="JSON"):
        filled("{x}", {"x": value})


@pytest.mark.parametrize("form", ["{x}", "{x!q}", "{x:>9}", "{y[0]}", "{name}", "{z[a]!q}"])
@pytest.mark.parametrize(
    "bad", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\0", "\x1b", "\x7f", "\t", "\ud800"]
)
def test_nothing_in_a_value_can_add_a_line(form, bad):
    text = f"a{bad}b"
    with pytest.raises(BadTemplate, match="nothing in a value can add a line"):
        filled(form, {"x": text, "y": [text], "name": ["n", text], "z": {"a": text}})


def test_in_json_a_line_end_is_two_signs():
    assert filled("{x}", {"x": ["a\nb"]}) == '["a\\nb"]'
    with pytest.raises(BadTemplate):
        filled("{x}", {"x": ["a\u2028b"]})


def test_a_value_is_never_read_as_a_template():
    assert filled("{a} {b}", {"a": "{b}", "b": "{{a}}"}) == "{b} {{a}}"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
templates = st.lists(
    st.sampled_from(
        ["{a}", "{b}", "{name}", "{a!q}", "{b!q}", "{name!q}", "{a[x]}", "{b[0]}", "{a:>5}", "{b:04d}", "{name[0]!q}",
         "{{a}}", "{{{b}}}", "{a:c}", "\n", "\r\n", "echo ", "'", '"', "#", "\\", "${X}", "{x,y}"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(template=templates, a=values | st.dictionaries(st.just("x"), values), b=values, name=values)
@settings(max_examples=10_000)
@pytest.mark.timeout(300)
def test_no_value_ever_adds_a_line(template, a, b, name):
    try:
        script = filled(template, {"a": a, "b": b, "name": name})
    except BadTemplate as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  which of the two happens is not known here
        return
    assert script.count("\n") == template.count("\n")
    assert script.count("\r") == template.count("\r")
    assert len(script.splitlines()) <= len(template.splitlines())
    script.encode()


@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" '\"$`\\*{}!;&|<>()#~")))
)
@settings(max_examples=40)
@pytest.mark.timeout(300)
def test_a_quoted_value_is_one_word_for_a_real_shell(words):
    job = {f"w{number}": word for number, word in enumerate(words)}
    line = " ".join(f"{{{name}!q}}" for name in job)
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    script = filled("{python!q} -I -c {show!q} " + line, {**job, "python": sys.executable, "show": show})
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert json.loads(said.stdout) == words


def test_a_long_template_of_braces_takes_no_long_time():
    for text in ("{" * 300_000, "{a" * 150_000, "{a[b]" * 60_000, "{a:" * 100_000, "{}" * 150_000):
        assert filled(text, {"a": 1}) == text
    assert filled("{" * 100_000 + "a}", {"a": 1}) == "{" * 99_999 + "1"


def test_the_error_is_one_of_input_and_travels():
    assert issubclass(BadTemplate, BadInput)
    assert isinstance(from_fault(111, "x"), BadTemplate)


def test_the_doubled_braces_that_templates_of_old_had_to_write_for_the_shell_are_single() -> None:
    assert filled("${{A[@]}} ${{JobIndex}} {JobIndex}", {"JobIndex": 3}) == "${A[@]} ${JobIndex} 3"
    assert filled("{name}", {"name": "${{A}}"}) == "${{A}}"
