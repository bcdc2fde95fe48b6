"""`korformer tui` as a command: what it says where there is no terminal, and what it must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from korformer.commands.app import main


@pytest.mark.parametrize("arguments", [[], ["-"], ["some.txt"]])
def test_without_a_terminal_it_says_what_to_use_instead(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["tui", *arguments])
    assert left.value.code == 2
    assert "needs a terminal for its input and output. Without one, use korformer generate." in capfd.readouterr().err


def test_help_names_the_keys_to_begin_with(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["tui", "--help"])
    assert left.value.code == 0
    out = capfd.readouterr().out
    assert "F5 writes on, Esc stops" in out


def test_the_screen_is_there_before_torch_is_imported(tmp_path: Path) -> None:
    code = "import sys, korformer.tui.launch; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["False", "False"]
