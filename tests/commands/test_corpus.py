"""`korformer corpus`, as a person or a script calls it."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.commands.app import main

TEXT = "봄이 왔다.\n꽃이 핀다.\n\n여름이 왔다.\n\n봄이 왔다.\n꽃이 핀다.\n"
DOCUMENTS = ["봄이 왔다.\n꽃이 핀다.", "여름이 왔다.", "봄이 왔다.\n꽃이 핀다."]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call `korformer corpus` in a folder with `a.txt`: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["corpus", *arguments])
        written = capfd.readouterr()
        code = exit_.value.code
        assert isinstance(code, int | None)
        assert "Traceback" not in written.err
        return code or 0, written.out, written.err

    return call


def texts(path: str) -> list[str]:
    return [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_documents_are_written_and_counted(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("a.txt", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    assert texts("out.jsonl") == DOCUMENTS
    assert err.splitlines()[-1] == (
        f"3 documents, {sum(map(len, DOCUMENTS))} characters, 5 lines, 0 duplicates, 0 empty, 0 undecodable"
    )
    assert "a.txt: read as plain text" in err
    assert "reading: " in err


def test_quiet_is_quiet(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("a.txt", "-o", "out.jsonl", "--quiet") == (0, "", "")
    assert run("a.txt", "-o", "-", "-q")[2] == ""


def test_standard_output_carries_documents_alone(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("a.txt", "-o", "-")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == DOCUMENTS
    assert run("a.txt", "-o", "-", "--format", "blocks")[1] == "\n\n".join(DOCUMENTS) + "\n\n"


def test_duplicates_are_dropped_on_request(run: Callable[..., tuple[int, str, str]]) -> None:
    _, _, err = run("a.txt", "-o", "out.jsonl", "--dedup")
    assert texts("out.jsonl") == DOCUMENTS[:2]
    assert "1 duplicates" in err


def test_the_layout_follows_the_name(run: Callable[..., tuple[int, str, str]]) -> None:
    run("a.txt", "-o", "out.txt")
    assert Path("out.txt").read_text(encoding="utf-8") == "\n\n".join(DOCUMENTS) + "\n\n"
    run("a.txt", "-o", "out.txt", "--format", "jsonl")
    assert texts("out.txt") == DOCUMENTS
    run("a.txt", "-o", "out.txt.jsonl")
    assert texts("out.txt.jsonl") == DOCUMENTS


def test_the_output_is_compressed_as_its_name_says(run: Callable[..., tuple[int, str, str]]) -> None:
    run("a.txt", "-o", "out.txt.gz")
    assert gzip.decompress(Path("out.txt.gz").read_bytes()).decode() == "\n\n".join(DOCUMENTS) + "\n\n"
    run("out.txt.gz", "-o", "out.jsonl.xz")
    assert lzma.decompress(Path("out.jsonl.xz").read_bytes()).decode().count("\n") == 3
    run("out.jsonl.xz", "-o", "back.jsonl")
    assert texts("back.jsonl") == DOCUMENTS


def test_a_whole_file_goes_round_with_its_blank_lines(run: Callable[..., tuple[int, str, str]]) -> None:
    run("a.txt", "-o", "out.jsonl", "--document", "file")
    assert texts("out.jsonl") == [TEXT.removesuffix("\n")]
    run("out.jsonl", "-o", "again.jsonl")
    assert Path("again.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    _, _, err = run("out.jsonl", "-o", "out.txt")
    assert "1 documents had blank lines" in err
    assert "--format jsonl" in err


def test_the_kind_can_be_named(run: Callable[..., tuple[int, str, str]]) -> None:
    Path("b.json").write_text('{"version": 1}\n', encoding="utf-8")
    code, _, err = run("b.json", "-o", "out.jsonl")
    assert code == 3
    assert "--from" in err
    assert run("b.json", "-o", "out.jsonl", "--from", "text")[0] == 0
    code, _, err = run("a.txt", "-o", "out.jsonl", "--from", "wikitxt")
    assert code == 2
    assert "did you mean wikitext?" in err
    assert "nikl" in err


@pytest.mark.parametrize(
    ("data", "arguments", "code", "message"),
    [
        (None, [], 1, "no such file or directory"),
        (b"", [], 3, "no text in it"),
        ("한국어 문장이다.\n".encode("cp949") * 9, [], 3, "not UTF-8 at byte 0 (0xc7); it looks like cp949"),
        ("한국어 문장이다.\n".encode("cp949") * 9, ["--errors", "skip"], 3, "no text in it"),
        (gzip.compress("글".encode() * 99)[:-5], [], 3, "truncated"),
        (b'{"text": "x"}\n{"text"\n', [], 3, "line 2: malformed JSON"),
        (b"text", ["--errors", "ignore"], 2, "'ignore'"),
        (b"text", ["--format", "csv"], 2, "'csv'"),
        (b"text", ["--documents", "file"], 2, "--document"),
    ],
)
def test_bad_input_gives_one_message_and_nothing_half_written(
    run: Callable[..., tuple[int, str, str]], data: bytes | None, arguments: list[str], code: int, message: str
) -> None:
    if data is not None:
        Path("bad").write_bytes(data)
    Path("out.jsonl").write_text("what was there before", encoding="utf-8")
    before = sorted(os.listdir())
    actual, out, err = run("bad", "-o", "out.jsonl", *arguments)
    assert (actual, out) == (code, "")
    assert message in err
    assert sorted(os.listdir()) == before
    assert Path("out.jsonl").read_text(encoding="utf-8") == "what was there before"


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        (".", 1, "is a directory"),
        ("none/out.jsonl", 1, "mkdir -p none"),
        ("a.txt/out.jsonl", 1, "does not exist"),
        ("a.txt", 2, "is a source too"),
        ("./sub/../a.txt", 2, "is a source too"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_reading(
    run: Callable[..., tuple[int, str, str]], output: str, code: int, message: str
) -> None:
    Path("sub").mkdir()
    actual, out, err = run("a.txt", "-o", output)
    assert (actual, out) == (code, "")
    assert message in err
    assert "read as" not in err
    assert Path("a.txt").read_text(encoding="utf-8") == TEXT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused_before_reading(
    run: Callable[..., tuple[int, str, str]], folder: Path
) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    code, _, err = run("a.txt", "-o", str(locked / "out.jsonl"))
    assert code == 1
    assert "read as" not in err


def test_escapes_in_names_come_out_inert(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = run("no\x1b[31m[bold]such\nfile", "-o", "out.jsonl")
    assert code == 1
    assert "\x1b" not in err
    Path("\x1b[31m.txt").write_text(TEXT, encoding="utf-8")
    code, _, err = run("\x1b[31m.txt", "-o", "out.jsonl")
    assert code == 0
    assert "\x1b" not in err


def program(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    code = "from korformer.commands.app import main; main()"
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code, "corpus", *arguments],
        stdin=options.get("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_it_stands_in_a_pipe(folder: Path) -> None:
    with program("-", "-o", "-", stdin=subprocess.PIPE) as process:
        out, err = process.communicate(lzma.compress(TEXT.encode()))
    assert process.returncode == 0
    assert [json.loads(line)["text"] for line in io.BytesIO(out)] == DOCUMENTS
    assert b"<stdin>: read as plain text" in err


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path) -> None:
    Path("long.txt").write_text("긴 글이다.\n\n" * 200_000, encoding="utf-8")
    with program("long.txt", "-o", "-") as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b'{"text"')
        process.stdout.close()
        process.wait(30)
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_leaves_nothing_behind(folder: Path) -> None:
    os.mkfifo("pipe")
    with program("pipe", "-o", "out.jsonl") as process:
        with Path("pipe").open("wb") as pipe:
            pipe.write("긴 글이다.\n\n".encode() * 100_000)
            deadline = time.monotonic() + 30
            while len(os.listdir()) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)  # until the temporary file is there
            process.send_signal(signal.SIGINT)
            process.wait(30)
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert sorted(os.listdir()) == ["a.txt", "pipe"]
