"""`korformer pretrain`, as a person or a script calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.commands.app import main
from korformer.model.directory import load_model
from korformer.storage import staged_directory
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training.metrics import read_metrics

LINES = [f"{who} {where} {what}" for who in ("나무가", "구름이", "개울이", "언덕이", "다리가") for where in (
    "마을 앞에", "산 너머에", "들판에", "창밖에") for what in ("서 있다.", "멈춰 있다.", "길게 누웠다.")]  # fmt: skip
SMALL = [
    "--set", "model.dim=16", "--set", "model.depth=1", "--set", "model.heads=2", "--set", "model.max_seq_len=64",
    "--set", "model.bucket_size=8", "--set", "training.batch_size=2", "--set", "training.warmup_steps=1",
    "--set", "training.threads=1", "--set", "training.sample_tokens=4",
]  # fmt: skip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = "\n\n".join("\n".join(LINES[i : i + 4]) for i in range(0, len(LINES), 4))
    Path("train.txt").write_text(text, encoding="utf-8")
    Path("valid.txt").write_text("나무가 창밖에 서 있다.\n구름이 들판에 멈춰 있다.\n", encoding="utf-8")
    with staged_directory(tmp_path / "vocab") as staged:
        train_vocabulary(LINES, VocabularySettings(size=500)).save_files(staged)
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["pretrain", *arguments])
        written = capfd.readouterr()
        return int(left.value.code or 0), written.out, written.err

    return call


def test_text_to_model(run: Run) -> None:
    code, out, err = run(
        "--vocab", "vocab", "--corpus", "train.txt", "--valid", "valid.txt", "-o", "run", "--steps", "4",
        "--set", "training.eval_every=2", "--set", "training.sample_every=2", *SMALL,
    )  # fmt: skip
    assert code == 0, err
    assert out == "run\n"
    assert load_model(Path("run")).config_json["objective"] == "ar"
    events = [line["event"] for line in read_metrics(Path("run/metrics.jsonl"))]
    looks = ["step", "step", "validation", "sample"]
    assert events == ["start", *looks, *looks, "data"]
    assert tomllib.loads(Path("run/run.toml").read_text(encoding="utf-8"))["training"]["steps"] == 4
    assert "bits_per_character" in err
    assert "step 4/4" in err


def test_corpora_are_mixed_and_a_share_is_held_out(run: Run) -> None:
    lines = Path("train.txt").read_text(encoding="utf-8").split("\n\n")
    Path("one.txt").write_text("\n\n".join(lines[:9]), encoding="utf-8")
    Path("two.txt").write_text("\n\n".join(lines[9:]), encoding="utf-8")
    command = [
        "--vocab", "vocab", "--corpus", "one=one.txt", "two=two.txt", "--valid-split", "0.2", "-o", "run",
        "--steps", "4", "--set", "data.weights.one=3", "--set", "data.weights.two=1",
        "--set", "data.warmup_lengths=[16, 32]", "--set", "data.length_warmup=0.5", *SMALL,
    ]  # fmt: skip
    code, _, err = run(*command)
    assert code == 0, err
    assert "documents are held out to validate on" in err
    lines_ = read_metrics(Path("run/metrics.jsonl"))
    place = next(line for line in lines_ if line["event"] == "data")
    assert (place["one.turns"], place["two.turns"]) == (12, 4)  # 8 + 4 + 2 + 2 sequences
    written = tomllib.loads(Path("run/run.toml").read_text(encoding="utf-8"))["data"]
    assert written["weights"] == {"one": 3, "two": 1}
    assert written["valid_share"] == 0.2
    assert run(*command)[0] == 0
    code, _, err = run(*command[:4], "two.txt", *command[5:])
    assert code == 2
    assert "belongs to no corpus" in err
    code, _, err = run(*command, "--set", "data.weights.three=1", "--resume", "never", "-o", "other")
    assert code == 2
    assert "no corpus is called three" in err


def test_problems_of_the_data_are_told_and_strict_stops(run: Run) -> None:
    command = ["--vocab", "vocab", "--corpus", "train.txt", "--valid", "train.txt", "--steps", "1", *SMALL]
    code, _, err = run(*command, "-o", "run", "--quiet")
    assert code == 0
    assert "15 of the 15 held-out documents are in the training text" in err
    code, out, err = run(*command, "-o", "strict", "--strict")
    assert (code, out) == (3, "")
    assert "15 of the 15 held-out documents are in the training text" in err
    assert not Path("strict").exists()


def test_the_same_command_goes_on_and_never_refuses(run: Run) -> None:
    command = ["--vocab", "vocab", "--corpus", "train.txt", "-o", "run", *SMALL]
    assert run(*command, "--steps", "2")[0] == 0
    for more in ((), ("--dry-run",)):
        code, _, err = run(*command, "--steps", "3", "--resume", "never", *more)
        assert code == 2
        assert err.startswith("korformer: run: holds a run already")  # before the text is read
    code, _, err = run(*command, "--steps", "3")
    assert code == 0
    assert "going on after step 2 of 3" in err
    code, _, err = run(*command, "--steps", "4", "--seed", "9")
    assert code == 2
    assert "training.seed was 0, now 9" in err


def test_a_shell_glob_after_corpus_is_one_corpus(run: Run, folder: Path) -> None:
    (folder / "more.txt").write_text("다리가 산 너머에 서 있다.\n", encoding="utf-8")
    code, _, err = run("--vocab", "vocab", "--corpus", "train.txt", "more.txt", "-o", "run", "--steps", "1", *SMALL)
    assert code == 0, err
    assert "train.txt, more.txt" in Path("run/README.md").read_text(encoding="utf-8")


def test_a_shell_glob_after_valid_is_held_out(run: Run, folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"다리가 {name} 너머에 서 있다.\n", encoding="utf-8")
    line = ["--vocab", "vocab", "--corpus", "train.txt", "--valid", "a.txt", "b.txt", "-o", "run", "--steps", "1"]
    code, _, err = run(*line, *SMALL)
    assert code == 0, err
    card = Path("run/README.md").read_text(encoding="utf-8")
    assert "train.txt" in card
    assert "b.txt" not in card


def test_default_folder_and_presets(run: Run) -> None:
    assert run("--list-presets")[1].splitlines()[0].startswith("tiny ")
    code, out, _ = run("--preset", "gpt3-small", "--print-config", "--set", "training.batch_size=3", "--steps", "7")
    assert code == 0
    values = tomllib.loads(out)
    assert values["model"]["axial_position_shape"] == [80, 64]
    assert (values["training"]["batch_size"], values["training"]["steps"]) == (3, 7)
    code, out, err = run(
        "--preset", "tiny", "--vocab", "vocab", "--corpus", "train.txt", "--steps", "1",
        "--set", "model.depth=1", "--set", "training.batch_size=1",
    )  # fmt: skip
    assert code == 0, err
    assert out == "checkpoints/ar-tiny\n"


def test_a_file_of_settings(run: Run) -> None:
    Path("mine.toml").write_text('objective = "ar"\n[training]\nlearning_rate = 0.5\nsteps = 3\n', encoding="utf-8")
    code, out, _ = run("--preset", "tiny", "--config", "mine.toml", "--set", "training.steps=9", "--print-config")
    assert code == 0
    training = tomllib.loads(out)["training"]
    assert (training["learning_rate"], training["steps"], training["batch_size"]) == (0.5, 9, 8)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--vocab", "vocab", "--corpus", "train.txt", "--preset", "gpt3-smal"], 2, "Did you mean gpt3-small?"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--objective", "art"], 2, "Did you mean ar?"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--set", "model.dept=3"], 2, "did you mean model.depth?"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--set", "model.max_seq_len=5000"], 2, "4992 or 5120"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--set", "model.axial_position_shape=[79, 64]"], 2, "80x64"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--steps", "0"], 2, "greater than or equal to 1"),
        (["--vocab", "vocab", "--corpus", "none.txt"], 1, "none.txt"),
        (["--vocab", "none", "--corpus", "train.txt"], 1, "none"),
        (["--vocab", ".", "--corpus", "train.txt"], 4, "tokenizer.json"),
        (["--vocab", "vocab", "--corpus", "empty.txt"], 3, "empty.txt"),
        (["--vocab", "vocab", "--corpus", "cp949.txt"], 3, "cp949"),
        (["--vocab", "vocab", "--corpus", "nothing"], 3, "nothing"),
        (["--corpus", "train.txt"], 2, "--vocab missing"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--json"], 2, "--json: is for --dry-run only"),
        (["--vocab", "vocab"], 2, "--corpus missing"),
        (["--vocab", "vocab", "--corpus", "train.txt", "--config", "none.toml"], 1, "none.toml"),
        (["--vocab", "vocab", "--corpus", "train.txt", "-o", "train.txt"], 1, "train.txt"),
    ],
)
def test_bad_input_is_one_message_and_its_exit_code(run: Run, arguments: list[str], code: int, message: str) -> None:
    Path("empty.txt").touch()
    Path("cp949.txt").write_bytes("나무가 서 있다.\n".encode("cp949"))
    Path("nothing").mkdir()
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if "cache" not in path.parts}
    got, out, err = run(*arguments, *([] if "-o" in arguments else ["-o", "run"]))
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if "cache" not in path.parts}
    assert after.keys() == before.keys()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_goes_on(folder: Path, number: signal.Signals, code: int) -> None:
    program = [sys.executable, "-c", "from korformer.commands.app import main; main()"]
    options = ["--vocab", "vocab", "--corpus", "train.txt", "-o", "run", "--steps", "100000"]
    command = [*program, "pretrain", *options, *SMALL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
    metrics = folder / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not metrics.exists() or '"event": "step"' not in metrics.read_text()):
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopped after step" in err
    assert "saved" in err
    assert load_model(folder / "run").model.config.dim == 16
    stopped_at = read_metrics(metrics)[-1]["step"]
    command[command.index("100000")] = str(stopped_at + 1)
    again = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert again.returncode == 0, again.stderr
    assert f"going on after step {stopped_at}" in again.stderr
