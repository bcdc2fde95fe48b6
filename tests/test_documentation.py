"""What the documents promise exists: files, commands, options; and both READMEs promise the same."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from korformer.commands import models, registry

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix() for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
)
READMES = ("README.md", "README.ko.md")


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def shell_lines(name: str) -> list[str]:
    """Every line of the shell blocks of a document."""
    blocks = re.findall(r"```sh\n(.*?)```", read(name), flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def calls(name: str) -> list[list[str]]:
    """The words of each call of korformer in a document, by blocks and by inline code."""
    inline = re.findall(r"`(korformer [^`]*)`", read(name).replace("\n", " "))
    parts = [part.strip() for line in [*shell_lines(name), *inline] for part in line.split(" | ")]
    return [shlex.split(part)[1:] for part in parts if part.startswith("korformer ")]


@functools.cache
def help_of(*command: str) -> str:
    line = [sys.executable, "-m", "korformer.commands.app", *command, "--help"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", READMES)
def test_every_call_uses_commands_and_options_that_exist(name: str) -> None:
    assert len(calls(name)) >= 10
    for words in calls(name):
        command = words[:1] if words[0] in registry.COMMANDS else []
        assert command or words[0].startswith("-"), words
        if command == ["models"] and len(words) > 1:
            assert words[1] in models.COMMANDS, words
            command = words[:2]
        options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        unknown = {option for option in options if not re.search(rf"(?<!\S){option}\b", help_of(*command))}
        assert not unknown, (words, unknown)


def test_both_readmes_show_the_same_commands() -> None:
    assert shell_lines("README.md") == shell_lines("README.ko.md")
    assert calls("README.md") == calls("README.ko.md")


@pytest.mark.parametrize("name", READMES)
def test_it_begins_with_the_model_that_ships_and_goes_on_with_the_makefile(name: str) -> None:
    install, generate, page, *more = shell_lines(name)
    assert install == "pipx install ."
    assert generate.startswith("korformer generate ")
    assert page == "korformer tui"
    assert "-m" not in generate.split()
    assert (REPOSITORY / "checkpoints" / "ko-mini" / "config.json").is_file()
    assert more[:2] == ["make demo", "make test"]
    assert "exec make test" in read(".ci/run")
    assert {"demo:", "test:"} <= {line.split(" ")[0] for line in read("Makefile").splitlines()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", read(name))
    for target in targets:
        if not target.startswith("https://"):
            assert (REPOSITORY / name).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_folders_that_are_named_exist(name: str) -> None:
    text = read(name)
    named = re.findall(r"(?<![\w/])((?:korformer|commands|tui|tests|docs|benchmarks)/[\w./-]*\w(?:\.\w+|/))", text)
    if name == "docs/architecture.md":
        rooms = "text|data|model|generation|training|storage"
        named += [f"korformer/{path}" for path in re.findall(rf"(?<![\w/])((?:{rooms})/[\w/]+(?:\.py|/))", text)]
        assert len(named) > 20
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_every_room_is_on_the_screen_of_the_house() -> None:
    picture = read("docs/architecture.md").split("## ")[0]
    rooms = [path for path in (REPOSITORY / "korformer").iterdir() if not path.name.startswith(("_", "."))]
    names = {
        path.stem for path in rooms if path.suffix == ".py" or (path / "__init__.py").exists() or path.is_symlink()
    }
    assert [name for name in sorted(names) if not re.search(rf"^    .*\b{name}\b", picture, flags=re.MULTILINE)] == []
