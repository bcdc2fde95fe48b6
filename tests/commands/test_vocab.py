"""`korformer vocab`, as a person calls it."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from korformer.commands.app import main
from korformer.storage import verify_manifest
from korformer.text.vocabulary import Vocabulary

LINES = [
    "우체통 앞에서 아이가 까치발을 들었다.",
    "편지는 사흘 만에 섬에 닿았다.",
    "섬에는 우체부가 한 사람뿐이었다.",
    "그는 바람이 자는 날에만 배를 띄웠다.",
]
FILES = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "manifest.json"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"{index}. {LINES[index % 4]}" for index in range(250)), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["vocab", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_a_vocabulary_and_a_report(
    scheme: str, capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    code, out, err = run(capsys, corpus, "-o", tmp_path / "v", "--size", 480, "--scheme", scheme)
    assert code == 0
    assert out == f"{tmp_path / 'v'}\n"
    for words in ("[UNK] rate", "characters per token", "tokens per 어절", "text it has not seen", "2 documents"):
        assert words in err
    assert {path.name for path in (tmp_path / "v").iterdir()} == FILES
    verify_manifest(tmp_path / "v")
    vocabulary = Vocabulary.load(tmp_path / "v")
    assert vocabulary.scheme == scheme
    split = " ".join(map(vocabulary.display, vocabulary.encode(f"99. {LINES[99 % 4]}")))
    assert split in " ".join(err.split())


def test_the_same_call_gives_the_same_files(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(capsys, corpus, "-o", tmp_path / name, "--size", 500)[0] == 0
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_is_held_out_is_not_learnt_from(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    text = corpus.read_text(encoding="utf-8").split("\n\n")
    text[99] = text[199] = "뷁뷁뷁뷁 " * 50
    corpus.write_text("\n\n".join(text), encoding="utf-8")
    assert run(capsys, corpus, "-o", tmp_path / "v", "--size", 600)[0] == 0
    assert len(Vocabulary.load(tmp_path / "v").encode("뷁")) == 3


def test_held_out_text_may_be_given(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("들불이 번지는 소리", encoding="utf-8")
    code, _, err = run(capsys, corpus, "-o", tmp_path / "v", "--size", 480, "--held-out", other)
    assert code == 0
    assert "1 documents of 10 characters" in err
    assert "들불이 번지는 소리" in err


def test_a_corpus_too_small_to_hold_any_out_is_measured_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "small.txt").write_text("\n\n".join(LINES), encoding="utf-8")
    code, _, err = run(capsys, tmp_path / "small.txt", "-o", tmp_path / "v", "--size", 480)
    assert code == 0
    assert "too few to hold any out" in err


def test_decomposed_and_compressed_corpora_give_the_same(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    decomposed = unicodedata.normalize("NFD", corpus.read_text(encoding="utf-8"))
    (tmp_path / "nfd.gz").write_bytes(gzip.compress(decomposed.encode("utf-8")))
    for name, source in (("one", corpus), ("two", tmp_path / "nfd.gz")):
        assert run(capsys, source, "-o", tmp_path / name, "--size", 480)[0] == 0
    assert Vocabulary.load(tmp_path / "one").fingerprint == Vocabulary.load(tmp_path / "two").fingerprint


def test_a_sample_is_told(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    code, _, err = run(capsys, corpus, "-o", tmp_path / "v", "--size", 450, "--sample-bytes", 5000)
    assert code == 0
    assert "learning from a sample" in err
    assert "of 248 documents" in err


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    code, out, err = run(capsys, corpus, "-o", tmp_path / "v", "--size", 450, "--quiet")
    assert (code, out, err) == (0, f"{tmp_path / 'v'}\n", "")


def test_standard_input_is_a_corpus(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, corpus: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(corpus.read_bytes()), encoding="utf-8"))
    assert run(capsys, "-", "-o", tmp_path / "v", "--size", 450)[0] == 0
    assert Vocabulary.load(tmp_path / "v").size == 450
    code, _, err = run(capsys, "-", "-o", tmp_path / "w", "--held-out", "-")
    assert code == 2
    assert "--held-out" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--size", "100"], 2, "427"),
        (["--size", "9999999"], 2, "262,144"),
        (["--scheme", "unigram"], 2, "scheme"),
        (["--limit-alphabet", "100"], 2, "bert only"),
        (["--scheme", "bert", "--size", "30"], 2, "need"),
        (["--sample-bytes", "0"], 2, "sample_bytes"),
        (["--sise", "450"], 2, "--size"),
        (["--from", "novel"], 2, "novel"),
        (["--held-out", "nowhere.txt"], 1, "nowhere.txt"),
        (["--held-out", "EMPTY"], 3, "empty.txt"),
        (["CP949"], 3, "byte 0"),
        (["nowhere-at-all.txt"], 1, "nowhere-at-all.txt"),
    ],
)
def test_what_cannot_be_done_is_said_once_and_leaves_nothing(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "cp949.txt").write_bytes("완성형 한글".encode("cp949"))
    files = {"EMPTY": str(tmp_path / "empty.txt"), "CP949": str(tmp_path / "cp949.txt")}
    names = [files.get(argument, argument) for argument in arguments]
    got, out, err = run(capsys, corpus, "-o", tmp_path / "deep" / "v", *names)
    messages = [line for line in err.splitlines() if line.startswith("korformer: ")]
    assert got == code
    assert out == ""
    assert len(messages) == 1
    assert words in messages[0]
    assert "Traceback" not in err
    assert not (tmp_path / "deep").exists()


def test_an_empty_corpus_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b" \n\n")
    code, _, err = run(capsys, tmp_path / "empty.txt", "-o", tmp_path / "v")
    assert code == 3
    assert "empty.txt" in err
    assert not (tmp_path / "v").exists()


def test_a_full_folder_stays_unless_it_may_be_replaced(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "v"
    output.mkdir()
    assert run(capsys, corpus, "-o", output, "--size", 450)[0] == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    code, out, err = run(capsys, corpus, "-o", output, "--size", 500)
    assert (code, out) == (1, "")
    assert "--force" in err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert run(capsys, corpus, "-o", output, "--size", 500, "--force")[0] == 0
    assert Vocabulary.load(output).size == 500


def test_a_folder_with_other_things_in_it_is_never_replaced(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "v"
    output.mkdir()
    (output / "novel.txt").write_text("하나뿐인 원고", encoding="utf-8")
    code, _, err = run(capsys, corpus, "-o", output, "--size", 450, "--force")
    assert code == 1
    assert "novel.txt" in err
    assert (output / "novel.txt").read_text(encoding="utf-8") == "하나뿐인 원고"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_no_folder(force: bool, capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("파일", encoding="utf-8")
    code, _, err = run(capsys, corpus, "-o", tmp_path / "v", "--size", 450, *(["--force"] if force else []))
    assert code == 1
    assert str(tmp_path / "v") in err
    assert (tmp_path / "v").read_text(encoding="utf-8") == "파일"


def test_control_characters_of_a_corpus_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "odd.txt").write_text("붉은 \x1b[31m 글씨와 [bold]굵은[/bold] 글씨 \u202e뒤집힌", encoding="utf-8")
    code, _, err = run(capsys, tmp_path / "odd.txt", "-o", tmp_path / "v", "--size", 460)
    assert code == 0
    assert "\x1b" not in err
    assert "\u202e" not in err
    assert "[bold]굵은[/bold]" in err


def test_an_interrupted_call_leaves_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "korformer.commands.app", "vocab", str(pipe), "-o", str(tmp_path / "v")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        with pipe.open("w", encoding="utf-8") as writer:  # opens when the program reads
            writer.write("\n\n".join(LINES * 100))
            writer.flush()
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"pipe"}
