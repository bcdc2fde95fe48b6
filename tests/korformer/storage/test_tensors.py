from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from korformer.errors import KorformerError, ModelDirectoryError
from korformer.storage import sweep_orphans
from korformer.storage.tensors import load_tensors, save_tensors

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint64,
    torch.uint32,
    torch.uint16,
    torch.uint8,
)


def many() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"층.{dtype}": torch.randint(0, 256, (3, 5 * 8), generator=generator, dtype=torch.uint8).view(dtype)
        for dtype in DTYPES
    }
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.empty(0, 7)
    tensors["turned"] = torch.arange(12.0).reshape(3, 4).T
    tensors["cut"] = torch.arange(12)[3:8:2]
    tensors["gradient"] = torch.nn.Parameter(torch.tensor([float("nan"), float("inf")]))
    return tensors


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return set(ours) == set(theirs) and all(
        ours[name].dtype == theirs[name].dtype
        and ours[name].shape == theirs[name].shape
        and bytes(raw(ours[name])) == bytes(raw(theirs[name]))
        for name in ours
    )


def raw(tensor: torch.Tensor) -> Any:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()


class TestRoundTrip:
    def test_every_dtype_and_layout(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "a", many(), {"나": "둘", "step": "7"})
        tensors, metadata = load_tensors(tmp_path / "a")
        assert same(tensors, many())
        assert metadata == {"나": "둘", "step": "7"}

    def test_the_library_reads_ours_and_we_read_the_librarys(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "a", many(), {"format": "pt"})
        assert same(safetensors.torch.load_file(tmp_path / "a"), many())
        contiguous = {name: tensor.contiguous() for name, tensor in many().items()}
        (tmp_path / "b").write_bytes(safetensors.torch.save(contiguous, {"format": "pt"}))
        tensors, metadata = load_tensors(tmp_path / "b")
        assert same(tensors, many())
        assert metadata == {"format": "pt"}

    def test_same_tensors_same_bytes(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "a", many(), {"x": "1", "y": "2"})
        save_tensors(tmp_path / "b", dict(reversed(many().items())), {"y": "2", "x": "1"})
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "a", {})
        assert load_tensors(tmp_path / "a") == ({}, {})

    def test_changing_what_was_loaded_changes_nothing_on_disk(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "a", {"w": torch.zeros(4)})
        load_tensors(tmp_path / "a")[0]["w"].fill_(1)
        assert torch.equal(load_tensors(tmp_path / "a")[0]["w"], torch.zeros(4))

    def test_misaligned_data_of_other_writers(self, tmp_path: Path) -> None:
        entries = {
            "byte": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "float": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        }
        data = b"\x07" + torch.tensor([1.5, -2.0]).numpy().tobytes()
        (tmp_path / "a").write_bytes(encode(entries, data))
        assert load_tensors(tmp_path / "a")[0]["float"].tolist() == [1.5, -2.0]

    def test_mode_follows_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            save_tensors(tmp_path / "a", {"w": torch.zeros(4)})
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640

    @pytest.mark.parametrize(
        "tensors",
        [
            {"__metadata__": torch.zeros(1)},
            {"c": torch.zeros(1, dtype=torch.complex64)},
            {"s": torch.eye(2).to_sparse()},
        ],
    )
    def test_what_the_format_cannot_hold(self, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
        with pytest.raises(ValueError, match="cannot hold"):
            save_tensors(tmp_path / "a", tensors)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_whatever_call_fails_the_previous_weights_load_bit_equal(
    tmp_path: Path, faults: Any, number: int, persistent: bool
) -> None:
    old, new = {"w": torch.arange(1000.0)}, {"w": torch.randn(1000, 300)}
    for nth in itertools.count(1):
        save_tensors(tmp_path / "a", old)
        raised = False
        with faults.failing(nth, number, persistent=persistent):
            try:
                save_tensors(tmp_path / "a", new)
            except KorformerError:
                raised = True
        loaded = load_tensors(tmp_path / "a")[0]
        assert same(loaded, new) or (raised and same(loaded, old))
        if faults.seen < nth:
            assert nth > 6
            break
    sweep_orphans(tmp_path)


def encode(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(encoded) if length is None else length).to_bytes(8, "little") + encoded + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


EIGHT = bytes(8)
MALFORMED = {
    "empty file": (b"", "not a safetensors file"),
    "length cut off": (b"\x02\0\0", "not a safetensors file"),
    "header longer than the file": (encode({}, length=3), "cut off"),
    "header length lies hugely": (encode({}, length=(1 << 64) - 1), "cut off"),
    "header too large for its file": (encode(b" " * (3 << 20)), "too many"),
    "header is not JSON": (encode(b"{'w': 1}"), "not valid JSON"),
    "header is not UTF-8": (encode(b'{"\xff": 1}'), "not UTF-8"),
    "header is a list": (encode([]), "JSON object"),
    "header nested deep": (encode(b'{"w":' * 20_000), "too deep"),
    "pickle": (b"\x80\x04\x95" + bytes(100), "cut off"),
    "a name twice": (encode(b'{"w": %s, "w": %s}' % ((json.dumps(entry()).encode(),) * 2), EIGHT), "twice"),
    "a key twice": (
        encode(b'{"w": {"dtype": "F32", "dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}', EIGHT),
        "twice",
    ),
    "metadata not an object": (encode({"__metadata__": []}), "metadata"),
    "metadata not strings": (encode({"__metadata__": {"step": 7}}), "metadata"),
    "entry not an object": (encode({"w": 1}), "not described"),
    "entry without shape": (encode({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT), "not described"),
    "entry with something more": (encode({"w": entry() | {"load": "os.system"}}, EIGHT), "not described"),
    "unknown dtype": (encode({"w": entry("F33")}, EIGHT), "unknown dtype"),
    "dtype not a string": (encode({"w": entry(["F32"])}, EIGHT), "unknown dtype"),
    "another dtype of another size": (encode({"w": entry("F64")}, EIGHT), "not what its shape takes"),
    "shape not a list": (encode({"w": entry(shape=2)}, EIGHT), "list of sizes"),
    "shape with a fraction": (encode({"w": entry(shape=[2.0])}, EIGHT), "list of sizes"),
    "shape with a truth value": (encode({"w": entry(shape=[2, True])}, EIGHT), "list of sizes"),
    "shape negative": (encode({"w": entry(shape=[-1, -2])}, EIGHT), "list of sizes"),
    "shape of too many dimensions": (encode({"w": entry(shape=[1] * 65 + [2])}, EIGHT), "list of sizes"),
    "shape huge": (encode({"w": entry(shape=[1 << 62, 1 << 62])}, EIGHT), "too large a shape"),
    "shape that wraps at 64 bits": (encode({"w": entry("U8", [1 << 32, 1 << 32], [0, 0])}), "too large a shape"),
    "shape beyond 63 bits": (encode({"w": entry(shape=[1 << 70])}, EIGHT), "list of sizes"),
    "empty but huge": (encode({"w": entry(shape=[0, 1 << 62, 1 << 62], offsets=[0, 0])}), "too large a shape"),
    "offsets backwards": (encode({"w": entry(offsets=[8, 0])}, EIGHT), "begin and an end"),
    "offsets negative": (encode({"w": entry(offsets=[-8, 0])}, EIGHT), "begin and an end"),
    "three offsets": (encode({"w": entry(offsets=[0, 4, 8])}, EIGHT), "begin and an end"),
    "overlap": (encode({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "overlaps"),
    "the same bytes twice": (encode({"a": entry(), "b": entry()}, EIGHT), "overlaps"),
    "gap": (encode({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)), "gap"),
    "gap at the start": (encode({"a": entry(offsets=[4, 12])}, bytes(12)), "gap"),
    "data cut off": (encode({"w": entry()}, bytes(7)), "7 bytes of data"),
    "data too long": (encode({"w": entry()}, bytes(9)), "9 bytes of data"),
    "data without tensors": (encode({}, EIGHT), "8 bytes of data"),
    "truth values of 2": (encode({"w": entry("BOOL", [8])}, b"\x02" * 8), "neither 0 nor 1"),
}


class TestMalformed:
    @pytest.mark.parametrize("name", MALFORMED)
    def test_is_refused_in_our_own_words_with_little_memory(self, tmp_path: Path, name: str) -> None:
        data, fault = MALFORMED[name]
        (tmp_path / "model.safetensors").write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(ModelDirectoryError, match=fault) as caught:
                load_tensors(tmp_path / "model.safetensors")
            assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 200_000
        finally:
            tracemalloc.stop()
        assert "model.safetensors" in str(caught.value)

    def test_a_huge_dimension_of_an_empty_tensor(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(encode({"w": entry(shape=[0, 1 << 40], offsets=[0, 0])}))
        assert load_tensors(tmp_path / "a")[0]["w"].shape == (0, 1 << 40)

    def test_missing_link_pipe_and_folder(self, tmp_path: Path) -> None:
        save_tensors(tmp_path / "real", {})
        (tmp_path / "link").symlink_to("real")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        for name in ("none", "link", "pipe", "folder"):
            with pytest.raises(ModelDirectoryError):
                load_tensors(tmp_path / name)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_damage_anywhere_is_refused_or_harmless(self, tmp_path: Path, data: st.DataObject) -> None:
        whole = encode(
            {"__metadata__": {"a": "b"}, "w": entry(), "b": entry("BOOL", [2], [8, 10])}, EIGHT + b"\x01\x00"
        )
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(whole) - 1))
            damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        (tmp_path / "a").write_bytes(damaged)
        try:
            tensors, metadata = load_tensors(tmp_path / "a")
        except ModelDirectoryError:
            return
        assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) <= len(damaged)
        assert all(isinstance(value, str) for value in metadata.values())
