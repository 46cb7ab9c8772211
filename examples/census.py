"""Which functions of Python's standard library are the most complex?

    python examples/census.py CENSUS --local            one Processor per core, in the foreground
    python examples/census.py CENSUS --local=2 --limit=40
    python examples/census.py MINE --local --folder=$HOME/src

A task is the path of a module; its result is what `measure` says about that file. `serve_modules` runs once and says
what is to be done; `measure_file` runs in the Processors, once for each path. Neither knows of processes or sockets.

Complexity is the cyclomatic number of T. J. McCabe, "A Complexity Measure", IEEE Transactions on Software
Engineering SE-2 (4), 308-320, 1976: the number of linearly independent paths through a function, which is 1 + its
decisions. As in that paper, each condition of an `and` or `or` is a decision by itself.
"""

import ast
import fnmatch
import heapq
import io
import itertools
import os
import sys
import sysconfig
import tokenize

import coordinator

LIBRARY = sysconfig.get_path("stdlib")
NOT_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
# The library's tests of its own parsers bring files that no parser takes. They are left out, so what fails is news.
WRONG_ON_PURPOSE = ("test/bad*", "test/tokenizedata/*", "*lib2to3*/data/*")
TOP = 10

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DECISIONS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)


def serve_modules(folder: str = LIBRARY, limit: int = 0):
    """Serve the paths of all modules below a folder.

    folder: where to look; the standard library unless said otherwise.  limit: at most so many; 0 is all.
    """
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"--folder={folder}: there is no such directory")
    paths = modules(os.path.abspath(folder))  # absolute, since a Processor may work in another directory
    yield from itertools.islice(paths, limit) if limit else paths


def measure_file(path):
    """Do one task: what is returned is its result; a file that is not Python raises, and only that task fails."""
    with tokenize.open(path) as file:  # reads the encoding that the file itself declares
        return measure(file.read())


def modules(folder):
    """Paths of the *.py files below `folder`, the same order every time, so that a job that was stopped can go on."""
    for directory, inside, names in os.walk(folder):
        inside[:] = sorted(set(inside) - NOT_LIBRARY)
        for path in (os.path.join(directory, name) for name in sorted(names) if name.endswith(".py")):
            if not any(fnmatch.fnmatch(os.path.relpath(path, folder), wrong) for wrong in WRONG_ON_PURPOSE):
                yield path


def measure(source):
    """Measure the text of one module.

    Returns {lines, functions (how many), longest: function | None, complex: the ten most complex functions, the
    first the most}, a function being {name, line (where it begins), lines, complexity}.
    """
    functions = []
    todo = [(ast.parse(source), None, "")]  # a list, since generated code nests deeper than Python recurses
    while todo:
        node, function, scope = todo.pop()
        if isinstance(node, FUNCTIONS):
            lines = node.end_lineno - node.lineno + 1
            function = {"name": scope + node.name, "line": node.lineno, "lines": lines, "complexity": 1}
            functions.append(function)
        elif function:
            function["complexity"] += decisions(node)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            scope += node.name + "."
        todo.extend((child, function, scope) for child in ast.iter_child_nodes(node))
    return {
        "lines": sum(1 for _ in io.StringIO(source)),
        "functions": len(functions),
        "longest": max(functions, key=lambda f: (f["lines"], -f["line"]), default=None),
        "complex": heapq.nsmallest(TOP, functions, key=lambda f: (-f["complexity"], f["line"])),
    }


def decisions(node):
    """How many ways this one node adds to the paths through its function; what stands inside it is counted apart."""
    if isinstance(node, DECISIONS):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):  # a loop, and its conditions
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):  # `case _` and `case name` take whatever is left: no decision
        takes_all = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None
        return (not takes_all) + (node.guard is not None)
    return 0


def print_table(results):
    """Print the ten most complex functions of all modules. results: (path, what `measure` returned) of each."""
    from rich.console import Console  # only here: a Processor prints no tables and need not load what does
    from rich.table import Table

    count = lines = functions = 0
    top = []
    for path, module in results:
        count, lines, functions = count + 1, lines + module["lines"], functions + module["functions"]
        found = ((f["complexity"], f["name"], f["lines"], f"{shown(path)}:{f['line']}") for f in module["complex"])
        top = heapq.nsmallest(TOP, itertools.chain(top, found), key=lambda row: (-row[0], row[3]))

    table = Table(title=f"The {len(top)} most complex of {functions:,} functions, {count:,} modules, {lines:,} lines")
    for heading, side in ("complexity", "right"), ("function", "left"), ("lines", "right"), ("where", "left"):
        table.add_column(heading, justify=side, overflow="fold")
    for row in top:
        table.add_row(*map(str, row))
    Console(markup=False, emoji=False).print(table)  # names are data, never markup


def shown(path):
    """The path as people know it: inside the library, without the library's own place."""
    return os.path.relpath(path, LIBRARY) if path.startswith(LIBRARY + os.sep) else path


if __name__ == "__main__":
    run = coordinator.start_client_or_server(measure_file, serve_modules, [], __file__, exit=False)
    if run:  # only the one who typed --local: a Processor, or the start of a job in the background, gets None
        print_table(coordinator.results(run.name))
        sys.exit(run.exit_status)
