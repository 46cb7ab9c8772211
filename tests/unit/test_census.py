"""The measuring part of examples/census.py, against numbers counted by hand; as a job: end_to_end/test_examples.py."""

import ast
import importlib.util
import pathlib
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

CENSUS = pathlib.Path(__file__).parents[2] / "examples" / "census.py"
spec = importlib.util.spec_from_file_location("census", CENSUS)
census = importlib.util.module_from_spec(spec)
spec.loader.exec_module(census)


def complexity(body: str) -> int:
    """Of a function with this body."""
    measured = census.measure("def f(a, b, c):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    "))
    return measured["complex"][0]["complexity"]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ("pass", 1),
        ("if a: b()", 2),
        ("if a: b()\nelse: c()", 2),
        ("if a: b()\nelif b: c()\nelse: pass", 3),
        ("if a and b or c: pass", 4),  # each condition is a decision: a, b, c
        ("return a if b else c", 2),
        ("for a in b: pass\nelse: c()", 2),
        ("while a: b()", 2),
        ("try: a()\nexcept OSError: b()\nexcept ValueError: c()\nfinally: pass", 3),
        ("with a: b()", 1),
        ("assert a, b", 2),
        ("return [x for x in a if x if b]", 4),
        ("return {x: y for x in a for y in b}", 3),
        ("return lambda x: x or a", 2),
        ("match a:\n  case 1: b()\n  case [x] if x: c()\n  case _: pass", 4),
        ("match a:\n  case 1: b()\n  case other if other: c()", 3),
        ("match a:\n  case int() as number: b()\n  case rest: c()", 2),
    ],
)
def test_complexity_is_one_more_than_the_decisions(body, paths):
    assert complexity(body) == paths


STATEMENTS = st.sampled_from(
    ["pass", "if a:\n    b()", "while a and b:\n    c()", "a = [x for x in b if x]", "assert a"]
)


@given(st.lists(STATEMENTS, min_size=1), st.lists(STATEMENTS, min_size=1))
def test_one_body_after_another_adds_their_decisions(first, second):
    one, other = "\n".join(first), "\n".join(second)
    assert complexity(one + "\n" + other) == complexity(one) + complexity(other) - 1


def test_a_function_inside_another_is_measured_by_itself():
    source = (
        "class C:\n    def outer(self):\n        def inner():\n            if 1 or 2: pass\n        for x in y: pass\n"
    )
    found = {f["name"]: f["complexity"] for f in census.measure(source)["complex"]}
    assert found == {"C.outer.inner": 3, "C.outer": 2}


def test_a_module_is_measured_whole():
    source = "import os\n\n\nasync def short(): pass\n\n@cache\ndef long():\n    '''two\n    lines'''\n    return 1"
    assert census.measure(source) == {
        "lines": 10,
        "functions": 2,
        "longest": {"name": "long", "line": 7, "lines": 4, "complexity": 1},
        "complex": [
            {"name": "short", "line": 4, "lines": 1, "complexity": 1},
            {"name": "long", "line": 7, "lines": 4, "complexity": 1},
        ],
    }


def test_an_empty_module_has_nothing():
    assert census.measure("") == {"lines": 0, "functions": 0, "longest": None, "complex": []}


def test_a_form_feed_ends_no_line():
    assert census.measure("a = 1\n\x0cb = 2\n")["lines"] == 2


def test_only_the_ten_most_complex_travel():
    source = "".join(f"def f{n}():\n" + "    if a: pass\n" * n + "    pass\n" for n in range(25))
    measured = census.measure(source)
    assert measured["functions"] == 25
    assert [f["complexity"] for f in measured["complex"]] == list(range(25, 15, -1))


def test_an_expression_deeper_than_python_recurses_is_measured():
    tree = ast.parse("def f(): return a")
    deep = tree.body[0].body[0]
    for _ in range(5000):
        deep.value = ast.UnaryOp(ast.Not(), deep.value)
    source_of = census.ast.parse
    try:
        census.ast.parse = lambda _: tree
        assert census.measure("")["complex"][0]["complexity"] == 1
    finally:
        census.ast.parse = source_of


def test_the_declared_encoding_is_read(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes("# -*- coding: latin-1 -*-\ndef é(): pass\n".encode("latin-1"))
    assert census.measure_file(str(path))["complex"][0]["name"] == "é"


def test_a_file_that_is_not_python_raises(tmp_path):
    (tmp_path / "broken.py").write_text("def (:\n")
    with pytest.raises(SyntaxError):
        census.measure_file(str(tmp_path / "broken.py"))


def test_modules_are_served_in_one_order_without_what_is_no_library(tmp_path):
    wanted = ["b.py", "a/z.py", "a/data/kept.py", "c/a.py"]
    refused = [
        "site-packages/x.py",
        "a/__pycache__/x.py",
        "notes.txt",
        "test/bad_coding.py",
        "lib2to3/tests/data/x.py",
        "test/test_lib2to3/data/x.py",
    ]
    for name in wanted + refused:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    served = [pathlib.Path(path).relative_to(tmp_path).as_posix() for path in census.serve_modules(str(tmp_path))]
    assert served == ["b.py", "a/z.py", "a/data/kept.py", "c/a.py"]
    assert [pathlib.Path(path).name for path in census.serve_modules(str(tmp_path), limit=2)] == ["b.py", "z.py"]


def test_a_relative_folder_is_served_as_absolute_paths(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.py").touch()
    monkeypatch.chdir(tmp_path)
    assert list(census.serve_modules("mine")) == [str(tmp_path / "mine" / "a.py")]


def test_a_folder_that_is_not_there_is_an_error_and_no_empty_census(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"--folder=.*nowhere: there is no such directory"):
        list(census.serve_modules(str(tmp_path / "nowhere")))


def test_the_standard_library_is_found_and_known_to_hold_hundreds_of_modules():
    served = list(census.serve_modules())
    assert len(served) > 500
    assert len(set(served)) == len(served)
    assert ast.__file__ in served


def test_the_table_takes_the_ten_most_complex_of_all_modules(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    module = "".join(f"def [red]f{n}():\n" + "    if a: pass\n" * n + "    pass\n" for n in range(8)).replace(
        "[red]", ""
    )
    measured = census.measure(module)
    measured["complex"][0]["name"] = "[red]f7"
    census.print_table([("/one.py", measured), ("/other.py", census.measure(module))])
    printed = capsys.readouterr().out
    assert "The 10 most complex of 16 functions, 2 modules" in printed
    assert "[red]f7" in printed  # a name is data, never markup
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("│")] == list("8877665544")
