from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import ModelDirectoryError, PathError
from korformer.storage import MANIFEST_NAME, verify_manifest, write_manifest

FILES = {"config.json": b'{"dim": 8}', "weights.bin": bytes(range(20)), "steps/7/state.json": b"{}", "empty": b""}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    write_manifest(tmp_path)
    return tmp_path


def test_format_and_agreement(model: Path) -> None:
    manifest = json.loads((model / MANIFEST_NAME).read_text(encoding="utf-8"))
    assert manifest["version"] == 1
    assert set(manifest["files"]) == set(FILES)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert manifest["files"]["empty"] == {"sha256": empty, "bytes": 0}
    verify_manifest(model, required=FILES)


def test_one_flipped_bit_in_any_file_is_found(model: Path) -> None:
    for name in (*FILES, MANIFEST_NAME):
        data = bytearray((model / name).read_bytes())
        for bit in range(0, len(data) * 8, 1 if name != MANIFEST_NAME else 5):  # 5: each place in a byte comes up
            data[bit // 8] ^= 1 << bit % 8
            (model / name).write_bytes(data)
            with pytest.raises(ModelDirectoryError):
                verify_manifest(model, required=FILES)
            data[bit // 8] ^= 1 << bit % 8
        (model / name).write_bytes(data)
    verify_manifest(model, required=FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_faulty_file_is_named(model: Path, name: str) -> None:
    data = (model / name).read_bytes()
    (model / name).write_bytes(data + b"x")
    with pytest.raises(ModelDirectoryError, match=rf"{name}: is damaged: {len(data) + 1} bytes instead of {len(data)}"):
        verify_manifest(model)
    (model / name).unlink()
    with pytest.raises(ModelDirectoryError, match=f"has no {name}"):
        verify_manifest(model)


def test_a_file_that_is_read_must_be_listed_and_others_may_lie_about(model: Path) -> None:
    (model / "notes.txt~").write_text("an editor's", encoding="utf-8")
    verify_manifest(model)
    with pytest.raises(ModelDirectoryError, match="does not list notes.txt~"):
        verify_manifest(model, required=["notes.txt~"])


def test_a_given_list_is_what_is_listed(model: Path) -> None:
    write_manifest(model, ["weights.bin"])
    (model / "config.json").write_bytes(b"changed")
    verify_manifest(model)
    with pytest.raises(ModelDirectoryError, match="has no gone"):
        write_manifest(model, ["gone"])


def test_missing_folder_missing_manifest_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="no such folder"):
        verify_manifest(tmp_path / "none")
    with pytest.raises(ModelDirectoryError, match=r"has no manifest\.json"):
        verify_manifest(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelDirectoryError, match="is a file"):
        verify_manifest(tmp_path / "file")


GOOD = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {},
        {"version": 2, "files": {}},
        {"version": 1},
        {"version": 1, "files": []},
        {"version": 1, "files": {"a": "0" * 64}},
        {"version": 1, "files": {"a": {"sha256": "0" * 63, "bytes": 1}}},
        {"version": 1, "files": {"a": {"sha256": "0" * 64, "bytes": "1"}}},
        {"version": 1, "files": {"a": {"sha256": "0" * 64, "bytes": True}}},
        {"version": 1, "files": {"a": {"sha256": "0" * 64}}},
        {"version": 1, "files": {"../a": GOOD}},
        {"version": 1, "files": {"/etc/passwd": GOOD}},
    ],
)
def test_malformed(tmp_path: Path, manifest: Any) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ModelDirectoryError):
        verify_manifest(tmp_path)


def test_a_listed_link_is_refused_whatever_it_points_to(model: Path) -> None:
    os.rename(model / "weights.bin", model / "elsewhere")
    (model / "weights.bin").symlink_to("elsewhere")
    with pytest.raises(ModelDirectoryError, match="link"):
        verify_manifest(model)
