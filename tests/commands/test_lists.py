import pytest

from korformer.commands import registry
from korformer.commands.lists import spread

SEVERAL = {"--corpus", "--valid"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--corpus a b --valid c d -o run", "--corpus a --corpus b --valid c --valid d -o run"),
        ("--corpus=a b", "--corpus=a --corpus b"),
        ("--corpus - b -q", "--corpus - --corpus b -q"),
        ("--corpus a --corpus b", "--corpus a --corpus b"),
        ("-o run a --corpus b", "-o run a --corpus b"),
        ("--corpus a -- b --corpus c d", "--corpus a -- b --corpus c d"),
        ("--corpus", "--corpus"),
        ("--corpus --valid", "--corpus --valid"),
        ("", ""),
    ],
)
def test_every_word_stands_behind_its_option(line: str, expected: str) -> None:
    assert spread(line.split(), SEVERAL) == expected.split()


@pytest.mark.parametrize(
    ("command", "option"),
    [("pretrain", "--corpus"), ("pretrain", "--valid")],
)
def test_options_for_files_take_what_a_shell_makes_of_a_star(command: str, option: str) -> None:
    context = registry.load(command).make_context(command, [option, "a.txt", "b.txt", "-q"])
    assert context.params[option.removeprefix("--")] == ["a.txt", "b.txt"]
    assert context.params["quiet"] is True
