"""Which files sources stand for, and their bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.errors import InputError, PathError, UsageError
from korformer.text.files import InputFile, expand, open_input


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ["b.txt", "a.txt", ".hidden", "sub/d.txt", "sub/c.txt", ".git/e.txt", "sub/.f", "한글.txt"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


def names(*sources: str) -> list[str]:
    return [file.name for file in expand(sources)]


def contents(*sources: str) -> list[bytes]:
    return [open_input(file).readall() for file in expand(sources)]


def test_a_directory_stands_for_its_files_sorted_and_visible(folder: Path) -> None:
    assert names(".") == ["a.txt", "b.txt", "한글.txt", "sub/c.txt", "sub/d.txt"]
    assert names("sub/") == ["sub/c.txt", "sub/d.txt"]


def test_the_order_given_is_kept_and_a_file_may_be_given_twice(folder: Path) -> None:
    assert names("b.txt", "a.txt", "b.txt", ".hidden") == ["b.txt", "a.txt", "b.txt", ".hidden"]


def test_globs(folder: Path) -> None:
    assert names("*.txt") == ["a.txt", "b.txt", "한글.txt"]
    assert names("**/*.txt") == ["a.txt", "b.txt", "sub/c.txt", "sub/d.txt", "한글.txt"]
    assert names("s*") == ["sub/c.txt", "sub/d.txt"]
    assert names(f"{folder}/[ab].txt") == [f"{folder}/a.txt", f"{folder}/b.txt"]


def test_a_name_with_signs_of_a_glob_is_a_file_first(folder: Path) -> None:
    Path("[1].txt").write_text("x", encoding="utf-8")
    assert names("[1].txt") == ["[1].txt"]


def test_sizes_are_known_for_files_alone(folder: Path) -> None:
    os.mkfifo("pipe")
    found = expand(["a.txt", "-", "pipe"])
    assert [file.size_bytes for file in found] == [5, None, None]
    assert [file.path for file in found] == [Path("a.txt"), None, Path("pipe")]
    assert names(".")[:2] == ["a.txt", "b.txt"]
    assert "pipe" not in names(".")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("none.txt", "no such file"),
        ("a.tx", r"Did you mean a.txt\?"),
        ("*.json", "no file matches"),
        ("a.txt/b", "no such file"),
    ],
)
def test_what_is_missing_is_told(folder: Path, source: str, what: str) -> None:
    with pytest.raises(PathError, match=what) as failure:
        expand([source])
    assert failure.value.exit_code == 1
    assert str(failure.value).startswith(source)


def test_a_link_to_nothing_is_told(folder: Path) -> None:
    Path("link").symlink_to("nothing")
    with pytest.raises(PathError, match="link: no such file"):
        expand(["link"])


def test_a_name_that_cannot_be_is_told() -> None:
    with pytest.raises(PathError):
        expand(["a\0b"])


def test_a_directory_without_files_is_told(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="a directory without files") as failure:
        expand([str(tmp_path)])
    assert failure.value.exit_code == 3


def test_standard_input_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        expand(["-", "-"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(folder: Path) -> None:
    Path("a.txt").chmod(0)
    with pytest.raises(PathError, match="Permission denied"):
        expand(["a.txt"])


def test_a_file_that_is_gone_is_told(folder: Path) -> None:
    (file,) = expand(["a.txt"])
    Path("a.txt").unlink()
    with pytest.raises(PathError, match="a.txt: cannot be read"):
        open_input(file)


def test_a_file_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    with open_input(expand([str(path)])[0]) as stream:
        size = len(stream.read_chunk())
        path.unlink()
        while chunk := stream.read_chunk():
            size += len(chunk)
    assert size == 3 << 20


def test_a_file_that_becomes_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    with open_input(expand([str(path)])[0]) as stream:
        stream.read_chunk()
        os.truncate(path, 1 << 20)
        with pytest.raises(InputError, match="became shorter while it was read"):
            while stream.read_chunk():
                pass


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_compressed_or_not_the_bytes_are_the_same(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a"
    path.write_bytes(pack("글\n".encode() * 500_000))
    (file,) = expand([str(path)])
    assert open_input(file).readall() == "글\n".encode() * 500_000
    with open_input(file) as stream:
        assert stream.read(5) == "글\n".encode() + "글".encode()[:1]
        rest = stream.read_chunk() + stream.readall()
        assert stream.consumed_bytes == path.stat().st_size
    assert len(rest) == 4 * 500_000 - 5


def test_closing_early_ends_what_was_begun(tmp_path: Path) -> None:
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(bytes(32 << 20)))
    before = threading.active_count()
    with open_input(expand([str(path)])[0]) as stream:
        assert stream.read_chunk()
    assert threading.active_count() == before


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    data = gzip.compress(os.urandom(1000))
    path.write_bytes(data[:-4])
    with pytest.raises(InputError) as failure:
        contents(str(path))
    assert f"truncated: the gzip data end without their end mark, at byte {len(data) - 4:,} of the file" in str(
        failure.value
    )
    path.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(InputError, match=r"damaged gzip data .*`gzip -t .*a.gz` tests it"):
        contents(str(path))


def test_pipes_are_read_however_little_they_hand_out(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = gzip.compress(b"text" * 1000)

    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for start in range(len(data)):
                stream.write(data[start : start + 1])

    writer = threading.Thread(target=write)
    writer.start()
    assert contents(str(pipe)) == [b"text" * 1000]
    writer.join()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        closed = False
        buffer = io.BytesIO(lzma.compress(b"text"))

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert contents("-") == [b"text"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PathError, match="standard input is closed"):
        contents("-")


def test_archives_of_files_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "말뭉치.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "글")
    with pytest.raises(InputError, match="a zip archive, not text.*unzip -d DIRECTORY") as failure:
        contents(str(path))
    assert failure.value.exit_code == 3
    tar = tmp_path / "a.tar.gz"
    tar.write_bytes(gzip.compress(bytes(257) + b"ustar\x0000" + bytes(300)))
    with pytest.raises(InputError, match="a tar archive"):
        contents(str(tar))


def test_an_input_file_can_be_made_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"text")
    assert open_input(InputFile(name="a", path=path, size_bytes=None)).readall() == b"text"
