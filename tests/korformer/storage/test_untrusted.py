from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from korformer.errors import ModelDirectoryError, PathError
from korformer.storage import open_inside, parse_json, read_inside, read_json


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x1b[2J",
    ],
)
def test_names_that_lead_outside_or_play_tricks(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelDirectoryError, match="names a file"):
        open_inside(tmp_path / "model", name)


def test_links_are_not_followed_below_the_folder_but_to_it(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"secret")
    model = tmp_path / "model"
    (model / "inner").mkdir(parents=True)
    (model / "inner" / "a").write_bytes(b"mine")
    (model / "file").symlink_to("../outside/a")
    (model / "absolute").symlink_to(tmp_path / "outside" / "a")
    (model / "folder").symlink_to("../outside")
    (model / "loop").symlink_to("loop")
    for name in ("file", "absolute", "folder/a", "loop", "loop/a"):
        with pytest.raises(ModelDirectoryError, match="link"):
            open_inside(model, name)
    (tmp_path / "shortcut").symlink_to("model")
    assert read_inside(tmp_path / "shortcut", "inner/a") == b"mine"


def test_only_regular_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it must not wait for a writer
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("pipe", "folder", "socket"):
            with pytest.raises(ModelDirectoryError, match="not a regular file"):
                open_inside(tmp_path, name)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="no such folder"):
        open_inside(tmp_path / "none", "a")
    with pytest.raises(ModelDirectoryError, match="has no a"):
        open_inside(tmp_path, "a")


def test_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_inside(tmp_path, "a", limit_bytes=5) == b"12345"
    with pytest.raises(ModelDirectoryError, match="larger than 4 bytes"):
        read_inside(tmp_path, "a", limit_bytes=4)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "JSON object"),
        (b"null", "JSON object"),
        (b'{"a": 1, "a": 2}', "key 'a' twice"),
        (b'{"o": {"b": 1, "a": 1, "b": 2}}', "key 'b' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b"[" * 200_000, "nested too deep"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
    ],
)
def test_json_of_strangers(tmp_path: Path, data: bytes, fault: str) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(ModelDirectoryError, match=fault) as caught:
        read_json(tmp_path, "config.json")
    assert "config.json" in str(caught.value)


def test_good_json() -> None:
    assert parse_json('{"이름": [1, 2.5, null]}'.encode(), where="x") == {"이름": [1, 2.5, None]}
