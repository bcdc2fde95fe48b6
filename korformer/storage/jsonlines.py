"""A log of JSON lines that only grows, such as metrics.jsonl: each line is in the file when `append` returns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from korformer.storage.atomic import finite
from korformer.storage.failures import close_quietly, failure

_TAIL_BYTES = 1 << 16


class JsonLines:
    """Appends JSON objects to a file, one a line. Half a line that a killed writer left is cut off at the start.

    Args:
        path: the file; it is made if missing.
        private: nobody but its owner may read or write it.

    Raises:
        PathError: the file cannot be opened or written. ResourceError: disk, quota or file-size limit is used up;
            the lines before are whole.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self._path = path
        self._descriptor = -1
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600 if private else 0o666)
            if private:
                os.fchmod(self._descriptor, 0o600)
            self._size = _whole_lines_bytes(self._descriptor)
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            self._release()
            raise failure(error, path) from error

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; numbers that are not finite become null."""
        self.append_lines((json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n").encode())

    def append_lines(self, lines: bytes) -> None:
        """Write whole lines, each with its line end; all of them or, where that fails, none."""
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            raise failure(error, self._path, bytes_needed=len(lines)) from error
        self._size += len(lines)

    def sync(self) -> None:
        """Make sure that the lines so far outlast a power cut."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise failure(error, self._path) from error

    def close(self) -> None:
        """Sync the file and let go of it. May be called again."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            self._release()

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_quietly(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole_lines_bytes(descriptor: int) -> int:
    """Where the last line end of the file is; lines without one are half-written."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
