"""`korformer pretrain --dry-run`, as a person or a script calls it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.commands.app import main
from korformer.storage import staged_directory
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training import memory

LINES = [
    f"{who} {what}"
    for who in ("바람이", "강물이", "햇살이", "새들이")
    for what in ("분다.", "흐른다.", "든다.", "난다.")
]
SMALL = [
    "--set", "model.dim=16", "--set", "model.depth=1", "--set", "model.heads=2", "--set", "model.max_seq_len=64",
    "--set", "model.bucket_size=8", "--set", "training.batch_size=2", "--set", "training.warmup_steps=1",
    "--set", "training.threads=1", "--set", "training.sample_tokens=4", "--steps", "50",
]  # fmt: skip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("train.txt").write_text("\n\n".join("\n".join(LINES[i : i + 3]) for i in range(14)), encoding="utf-8")
    with staged_directory(tmp_path / "vocab") as staged:
        train_vocabulary(LINES, VocabularySettings(size=600)).save_files(staged)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["pretrain", "--dry-run", "--vocab", "vocab", "-o", "run", *SMALL, *arguments])
        written = capfd.readouterr()
        return int(left.value.code or 0), written.out, written.err

    return call


def files() -> set[Path]:
    return {path for path in Path().rglob("*") if path.is_file()}


def test_a_table_and_nothing_else(run: Run) -> None:
    before = files()
    code, out, err = run("--corpus", "train.txt", "--valid", "train.txt")
    assert code == 0, err
    assert files() == before
    assert max(map(len, out.splitlines())) <= 80
    for word in ("parameters", "embedding", "memory, peak", "optimizer", "epochs", "disk", "speed", "time in all"):
        assert word in out
    assert "validation" in out


def test_json(run: Run) -> None:
    code, out, err = run("--corpus", "train.txt", "--json", "--quiet")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["parameters"] == sum(facts["parameters_by_part"].values())
    assert facts["step_tokens"] == 128
    assert facts["seconds"] == pytest.approx(sum(facts["seconds_by_work"].values()))
    assert facts["fits"] is True
    assert facts["corpus_exact"] is True


def test_what_will_not_fit_is_exit_code_6_after_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6)
    code, out, err = run("--corpus", "train.txt", "--json")
    assert code == 6
    assert json.loads(out)["fits"] is False
    assert json.loads(out)["seconds"] is None
    assert "no step was tried" in err
    assert "data.pack_tokens" in err


def test_a_disk_that_is_too_small_is_exit_code_6(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.training.plan.free_bytes", lambda path: 1000)
    code, out, err = run("--corpus", "train.txt")
    assert code == 6
    assert "speed" in out
    assert "run: needs" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--corpus", "none.txt"], 1, "none.txt"),
        (["--corpus", "-"], 2, "standard input"),
        (["--corpus", "pipe"], 2, "cannot read a pipe"),
        (["--corpus", "train.txt", "--valid", "train.txt", "--valid-split", "0.1"], 2, "Give one of them"),
        (["--corpus", "train.txt", "--strict"], 2, "--strict: is not for --dry-run"),
        (["--corpus", "empty.txt"], 3, "no text"),
        (["--corpus", "train.txt", "--set", "training.device=cuda"], 2, "no CUDA device"),
        (["--corpus", "train.txt", "--set", "training.micro_batch=0"], 2, "training.micro_batch"),
    ],
)
def test_bad_input_is_one_message_and_its_exit_code(run: Run, arguments: list[str], code: int, message: str) -> None:
    Path("empty.txt").touch()
    os.mkfifo("pipe")
    before = files()
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert files() == before
