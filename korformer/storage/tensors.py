"""Tensors on disk in the safetensors format, written durably and read with suspicion.

The format (github.com/huggingface/safetensors): 8 bytes with the header's length (unsigned, little-endian), a JSON
header `{"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {str: str}}`, then the raw values,
little-endian, without gaps or overlaps. The library's own `save_file` leaves mode 0600, does not fsync and holds a
second copy.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch

from korformer.errors import ModelDirectoryError
from korformer.storage.atomic import open_durable
from korformer.storage.failures import failure
from korformer.storage.untrusted import open_regular, parse_json

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_SMALL_HEADER_BYTES = 1 << 18
_HEADER_SHARE = 16
"""A parsed header takes up to some twenty times its bytes, so a large one is believed only in a much larger file."""
_MAX_HEADER_BYTES = 16 << 20
_MAX_DIMENSIONS = 64


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] = {}, *, private: bool = False
) -> None:
    """Write tensors of any device and layout, durably; one tensor at a time is copied at most.

    Same tensors and metadata, same bytes. `private`: as in `open_durable`.

    Raises:
        PathError, ResourceError: as `open_durable`. ValueError: a name or dtype that the format has no place for.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that all are aligned
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in names:
        tensor = tensors[name]
        if name == _METADATA or tensor.dtype not in _NAMES or tensor.layout != torch.strided:
            raise ValueError(f"safetensors cannot hold {name!r} ({tensor.dtype}, {tensor.layout})")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)
    with open_durable(path, expected_bytes=_LENGTH_BYTES + len(encoded) + end, private=private) as file:
        file.write(len(encoded).to_bytes(_LENGTH_BYTES, "little"))
        file.write(encoded)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file that anybody may have made.

    The header is checked before any of it is believed. The tensors lie in a private map of the file: memory is used
    as they are touched, and changing them changes nothing on disk. Values are not looked at (NaN passes).

    Returns:
        Tensors by name (CPU, shapes and dtypes as in the file), and the metadata.

    Raises:
        ModelDirectoryError: missing or malformed, with what is wrong. PathError: it may not be read.
    """
    with open_regular(path) as file:
        try:
            entries, metadata, start = _read_header(file.fileno(), str(path))
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise failure(error, path, doing="read") from error
    return {name: _tensor(data, start, entry, f"{path}: {name}") for name, entry in entries.items()}, metadata


@dataclass(frozen=True, kw_only=True)
class _Entry:
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def _tensor(data: mmap.mmap, start: int, entry: _Entry, where: str) -> torch.Tensor:
    if entry.begin == entry.end:
        return torch.empty(entry.shape, dtype=entry.dtype)
    offset = start + entry.begin
    if entry.dtype == torch.bool:
        flat = torch.frombuffer(data, dtype=torch.uint8, count=entry.end - entry.begin, offset=offset)
        if int(flat.max()) > 1:
            raise ModelDirectoryError("holds truth values that are neither 0 nor 1", where=where)
    if offset % entry.dtype.itemsize:
        return torch.frombuffer(bytearray(data[offset : start + entry.end]), dtype=entry.dtype).reshape(entry.shape)
    count = (entry.end - entry.begin) // entry.dtype.itemsize
    return torch.frombuffer(data, dtype=entry.dtype, count=count, offset=offset).reshape(entry.shape)


def _read_header(descriptor: int, where: str) -> tuple[dict[str, _Entry], dict[str, str], int]:
    """The checked entries, the metadata and where the data starts."""
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(os.pread(descriptor, _LENGTH_BYTES, 0), "little")
    limit = min(_MAX_HEADER_BYTES, max(_SMALL_HEADER_BYTES, size // _HEADER_SHARE))
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise ModelDirectoryError("is not a safetensors file, or is cut off", where=where)
    if length > limit:
        raise ModelDirectoryError(f"has a header of {length:,} bytes, too many for its size", where=where)
    encoded = os.pread(descriptor, length, _LENGTH_BYTES)
    header = parse_json(encoded, where=f"{where}: header")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelDirectoryError("has metadata that are not strings", where=where)
    entries = {name: _entry(entry, f"{where}: {name!r}") for name, entry in header.items()}
    _check_layout(entries, size - _LENGTH_BYTES - length, where)
    return entries, metadata, _LENGTH_BYTES + length


def _entry(entry: object, where: str) -> _Entry:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelDirectoryError("is not described by dtype, shape and data_offsets", where=where)
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise ModelDirectoryError(f"has the unknown dtype {str(entry['dtype'])[:40]!r}", where=where)
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise ModelDirectoryError("has a shape that is not a list of sizes", where=where)
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 63:
        raise ModelDirectoryError("has too large a shape", where=where)
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelDirectoryError("has data_offsets that are not a begin and an end", where=where)
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise ModelDirectoryError(f"has {offsets[1] - offsets[0]:,} bytes, not what its shape takes", where=where)
    return _Entry(dtype=dtype, shape=tuple(shape), begin=offsets[0], end=offsets[1])


def _are_sizes(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _check_layout(entries: Mapping[str, _Entry], data_bytes: int, where: str) -> None:
    expected = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != expected:
            fault = "overlaps the tensor before it" if entry.begin < expected else "leaves a gap before it"
            raise ModelDirectoryError(f"{name!r} {fault}", where=where)
        expected = entry.end
    if expected != data_bytes:
        raise ModelDirectoryError(f"holds {data_bytes:,} bytes of data, its header tells {expected:,}", where=where)
