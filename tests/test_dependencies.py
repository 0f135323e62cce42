"""Every package that the code imports is declared in setup.cfg, with a range of versions."""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def declared() -> dict[str, list[Requirement]]:
    """{"" or the name of an extra: what it requires}."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lists = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {name: [*map(Requirement, text.split("\n")[1:])] for name, text in lists.items()}


def imports(node: ast.AST, top: bool = True) -> Iterator[tuple[str, bool]]:
    """(package, whether the module needs it to be imported itself) of each absolute import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield child.module.partition(".")[0], top
        else:
            later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from imports(child, top and not later and not for_types)


def third_party(*patterns: str) -> Iterator[tuple[Path, set[str], bool]]:
    """(file, names of distributions that offer an imported package, whether at its top)."""
    installed = packages_distributions()
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for package, top in imports(ast.parse(path.read_text(encoding="utf-8"))):
            beside = (path.parent / f"{package}.py").exists() or (path.parent / package).is_dir()
            if package not in sys.stdlib_module_names and package != "asr" and not beside:
                names = installed.get(package, [package])
                yield path, {canonicalize_name(name) for name in names}, top


def test_the_package_imports_only_what_it_declares():
    extras = declared()
    base = {canonicalize_name(r.name) for r in extras.pop("")}
    optional = {canonicalize_name(r.name) for rs in extras.values() for r in rs}
    found = list(third_party("asr/**/*.py"))
    assert {"torch", "numba", "psutil"} <= {name for _, names, _ in found for name in names}
    for path, names, _ in found:
        assert names & (base | optional), f"{path} imports {names}: add it to setup.cfg"


USED_ALONE = ("audio", "config", "decoder", "lm", "recognition", "runtime", "scoring", "text")


def test_no_module_but_those_of_training_and_the_server_needs_an_extra_to_be_imported():
    extras = declared()
    base, train, serve = (
        {canonicalize_name(requirement.name) for requirement in extras[name]}
        for name in ("", "train", "serve")
    )
    for path, names, top in third_party("asr/**/*.py"):
        if top:
            folder = path.relative_to(ROOT / "asr").parts[0]
            allowed = base if folder in USED_ALONE else base | train
            allowed |= serve if folder == "server" else set()
            assert names & allowed, f"{path} imports {names} when it is imported"


def test_each_requirement_of_the_package_has_a_range():
    extras = declared()
    for name, requirements in extras.items():
        for requirement in requirements:
            assert re.search(r">=\d", str(requirement.specifier)), (name, requirement)
            if name in (
                "",
                "train",
                "plots",
                "vad",
                "ray",
                "wandb",
                "digits",
                "synth",
                "kokoro",
                "serve",
            ):
                assert "<" in str(requirement.specifier), (name, requirement)
