"""The walls of the house, and the proof that they stand: a planted fault in each is found."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "korformer"
LINKS = ("commands", "tui", "checkpoints")
SCREENS = {"typer", "click", "rich", "textual", "plotext"}


def contracts() -> dict[str, Any]:
    configuration = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in configuration["tool"]["importlinter"]["contracts"]}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter over the package `korformer` in `folder`, by the contracts of the repository."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--config", str(REPOSITORY / "pyproject.toml")]
    # Wide enough that no line of its report is broken in two.
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "400", "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package to do harm to."""
    shutil.copytree(PACKAGE, tmp_path / "korformer", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return tmp_path


def plant(folder: Path, module: str, line: str) -> None:
    place = folder.joinpath("korformer", *module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")


def test_the_walls_hold() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


PLANTED = [
    ("storage.atomic", "import korformer.text.files", "korformer.storage is not allowed to import korformer.text"),
    ("model", "import korformer.training", "korformer.model is not allowed to import korformer.training"),
    ("data", "import korformer.commands.app", "korformer.data is not allowed to import korformer.commands"),
    ("tui", "import korformer.commands.console", "korformer.tui is not allowed to import korformer.commands"),
    ("text.files", "import typer", "korformer.text is not allowed to import typer"),
    ("events", "def hidden():\n    from rich.text import Text", "korformer.events is not allowed to import rich"),
    ("training", "from textual.app import App", "korformer.training is not allowed to import textual"),
    ("commands.console", "import textual", "korformer.commands is not allowed to import textual"),
    ("evaluation", "import pickle", "korformer is not allowed to import pickle"),
    ("generation", "import urllib.request", "korformer is not allowed to import urllib"),
]


def test_planted_imports_are_found(copy: Path) -> None:
    for module, line, _ in PLANTED:
        plant(copy, module, line)
    done = lint(copy)
    assert done.returncode == 1
    assert [told for _, _, told in PLANTED if told not in done.stdout] == []


def test_a_copy_without_harm_passes(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


def test_a_room_that_nobody_placed_is_found(copy: Path) -> None:
    (copy / "korformer" / "attic.py").write_text("", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1
    assert "attic" in done.stdout


def test_the_library_is_every_room_under_commands_and_tui() -> None:
    layers = contracts()["layers"]["layers"]
    assert layers[:2] == ["commands", "tui"]
    assert contracts()["headless"]["source_modules"] == [f"korformer.{room}" for room in layers[2:]]


def test_importing_the_whole_library_brings_in_no_screen() -> None:
    code = f"""
import importlib, pkgutil, sys
import korformer

rooms = [room for room in pkgutil.iter_modules(korformer.__path__, "korformer.")]
rooms = [room for room in rooms if room.name not in ("korformer.commands", "korformer.tui")]
names = [room.name for room in rooms]
for room in rooms:
    if room.ispkg:
        path = importlib.import_module(room.name).__path__
        names += [module.name for module in pkgutil.walk_packages(path, room.name + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), sorted({SCREENS} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, screens = done.stdout.split(maxsplit=1)
    assert int(count) > 40
    assert screens == "[]\n"


@pytest.mark.parametrize("name", LINKS)
def test_one_import_path_by_relative_links(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"


def sources() -> Iterator[tuple[Path, ast.AST]]:
    """Every module of the package, parsed."""
    files = [*PACKAGE.rglob("*.py"), *(file for name in LINKS for file in (REPOSITORY / name).rglob("*.py"))]
    assert len(files) > 40
    for file in files:
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def faults(tree: ast.AST) -> list[str]:
    """Calls that may run code from a file, and imports that go round the one import path."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in LINKS]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found += [node.module] * (node.module.split(".")[0] in LINKS)
        elif isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            constants = {
                keyword.arg: keyword.value.value for keyword in node.keywords if isinstance(keyword.value, ast.Constant)
            }
            unsafe_load = call == "torch.load" and constants.get("weights_only") is not True
            unsafe_array = call.endswith((".load", ".save")) and constants.get("allow_pickle") is True
            if unsafe_load or unsafe_array or call in {"torch.save", "eval", "exec"}:
                found.append(call)
    return found


def test_nothing_reads_or_writes_a_pickle_and_imports_have_one_path() -> None:
    assert {str(file): found for file, tree in sources() if (found := faults(tree))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.save(state, path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "from commands import app",
        "import tui.app",
    ],
)
def test_that_scan_finds_a_planted_fault(line: str) -> None:
    assert faults(ast.parse(line))
    assert not faults(ast.parse("torch.load(path, weights_only=True); model.eval(); import korformer.commands"))
