"""The rules of the code base: short functions, shallow nesting, unique class names, few top files.

The direction of the imports is tested in test_layers.py.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "asr"
MAX_LINES, MAX_NESTING, MAX_TOP_FILES = 80, 4, 6
COMMAND_LINES_OF_RECIPES = ("pipeline/prepare_cli.py", "pipeline/corpus_cli.py")
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def nesting(node: ast.AST, depth: int = 0) -> int:
    """The deepest nesting of blocks in a function, without blocks of inner functions."""
    deepest = depth
    for name, field in ast.iter_fields(node):
        for child in field if isinstance(field, list) else [field]:
            if not isinstance(child, ast.AST) or isinstance(child, SCOPES):
                continue
            is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If)
            inner = depth + (isinstance(child, BLOCKS) and not (is_elif and len(field) == 1))
            deepest = max(deepest, nesting(child, inner))
    return deepest


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def long_functions(tree: ast.AST) -> list[str]:
    lengths = [(node.name, node.end_lineno - node.lineno + 1) for node in functions(tree)]
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > MAX_LINES]


def deep_functions(tree: ast.AST) -> list[str]:
    depths = [(node.name, nesting(node)) for node in functions(tree)]
    return [f"{name}: {depth} levels" for name, depth in depths if depth > MAX_NESTING]


def trees() -> dict[str, ast.Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    return {str(f.relative_to(PACKAGE)): ast.parse(f.read_text("utf-8")) for f in files}


def offenders(rule) -> list[str]:
    return [f"asr/{name}: {found}" for name, tree in trees().items() for found in rule(tree)]


def test_functions_fit_a_screen():
    found = offenders(long_functions)
    assert not found, f"functions of more than {MAX_LINES} lines; split them: {found}"


def test_blocks_nest_at_most_four_deep():
    found = offenders(deep_functions)
    assert not found, f"blocks nested deeper than {MAX_NESTING}; extract a function: {found}"


def test_class_names_are_unique():
    files = defaultdict(list)
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(f"asr/{name}")
    repeated = {name: paths for name, paths in files.items() if len(paths) > 1}
    assert not repeated, f"class names that are used twice; rename one: {repeated}"


def flags(tree: ast.AST) -> list[str]:
    """Command-line flags in the messages of a module: in its strings, except for docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
    }
    strings = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [
        f"line {node.lineno}: {match[0]}"
        for node in strings
        if id(node) not in docstrings
        for match in re.finditer(r"(?<![\w-])--[a-z][a-z-]+", node.value)
    ]


def test_the_library_names_no_command_line_flag():
    found = [
        f"asr/{name}, {flag}"
        for name, tree in trees().items()
        if not name.startswith("cli/") and name not in COMMAND_LINES_OF_RECIPES
        for flag in flags(tree)
    ]
    assert not found, f"messages must name the setting, not a flag of the command line: {found}"


def test_few_files_lie_at_the_top():
    found = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(found) <= MAX_TOP_FILES, f"move files into a folder of asr/: {found}"


# ---- the rules themselves ------------------------------------------------------------------------


def test_a_long_function_is_found():
    body = "    x = 1\n" * MAX_LINES
    assert long_functions(ast.parse(f"def f():\n{body}")) == [f"f: {MAX_LINES + 1} lines"]
    assert not long_functions(ast.parse(f"def f():\n{body}"[: -len("    x = 1\n")]))


def test_a_flag_is_found_in_a_message_but_not_in_a_docstring():
    source = '"""asr x --by y"""\ndef f(n):\n    "--by"\n    raise E(f"--by {n}: no, give --to")\n'
    assert flags(ast.parse(source)) == ["line 4: --by", "line 4: --to"]
    assert not flags(ast.parse('x = "a -- b, a--b"'))


@pytest.mark.parametrize(
    ("source", "depth"),
    [
        ("def f():\n x", 0),
        ("def f():\n if a:\n  for b in c:\n   x", 2),
        ("def f():\n try:\n  x\n except E:\n  if a:\n   x", 2),
        ("def f():\n if a:\n  x\n elif b:\n  x\n elif c:\n  while d:\n   x", 2),
        ("def f():\n if a:\n  x\n else:\n  if b:\n   x\n  y", 2),
        ("def f():\n with a:\n  def g():\n   if b:\n    x", 1),
        ("def f():\n match a:\n  case 1:\n   if b:\n    x", 2),
    ],
)
def test_nesting_counts_blocks_but_not_elif_or_inner_functions(source, depth):
    assert nesting(ast.parse(source).body[0]) == depth
