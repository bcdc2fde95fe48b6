"""Sessions that are open: made, opened again, saved as they change, closed. What a folder holds: see `folders`."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from pathlib import Path

from korformer.errors import KorformerError, PathError, UsageError
from korformer.storage import JsonLines, make_directory, open_durable, sweep_orphans, write_bytes, write_json
from korformer.storage.failures import failure
from korformer.writing import journal
from korformer.writing.autosave import Autosave, AutosaveListener
from korformer.writing.folders import (
    JOURNAL,
    STATE,
    SUMMARY,
    SessionInfo,
    delete_session,
    folder_of,
    is_session,
    list_sessions,
    locked,
    sessions_directory,
)
from korformer.writing.session import Session
from korformer.writing.text_file import read_text

__all__ = [
    "SessionFile",
    "SessionInfo",
    "create_session",
    "delete_session",
    "is_session",
    "list_sessions",
    "open_session",
    "open_text_file",
    "sessions_directory",
]

SUMMARY_SECONDS = 30.0
"""While a session is open its summary is at most so old."""

_COMPACT_LINES = 500
"""A session to which this many lines were added is written anew, shorter, when it is closed."""


class SessionFile:
    """A session that is open, and its place on disk. Made by the functions below.

    Attributes:
        session: the session.
        path: its folder.
        changed_outside: whether the text file that it belongs to had been changed by another program.
    """

    def __init__(self, path: Path, session: Session, lock: contextlib.ExitStack, *, lines: int) -> None:
        self.path = path
        self.session = session
        self.changed_outside = False
        self._lock = lock
        self._writing = threading.RLock()
        self._log: JsonLines | None = None
        self._lines = lines
        self._added = 0
        self._whole_due = lines == 0
        self._summed_up = 0.0
        self._autosave: Autosave | None = None

    @property
    def state_path(self) -> Path:
        """Where what the model has read is kept."""
        return self.path / STATE

    def save(self) -> bool:
        """Write what was done since the last time, durably; may be called from any thread.

        Returns:
            Whether there was anything.

        Raises:
            PathError, ResourceError: it cannot be written. The session keeps it, and the next call tries again.
        """
        with self._writing:
            if self._whole_due or not (self.path / JOURNAL).exists():
                self._write_whole()
                return True
            actions = self.session.take_actions()
            if not actions:
                return False
            try:
                lines = list(journal.lines_of(actions, first=self._lines))
                log = self._open_log()
                log.append_lines(b"".join(lines))
            except BaseException:
                self.session.give_back(actions)
                raise
            self._lines += len(lines)
            self._added += len(lines)
            log.sync()
            if time.monotonic() - self._summed_up > SUMMARY_SECONDS:
                self._sum_up()
            return True

    def start_autosave(self, listen: AutosaveListener, *, seconds: float = 1.0) -> None:
        """Save every `seconds` from a thread of its own, until `close`.

        Args:
            listen: told of what was saved and of what could not be, from that thread.
            seconds: between two looks.
        """
        if self._autosave is None:
            self._autosave = Autosave(self.save, listen, seconds=seconds)

    def stop_autosave(self) -> None:
        """Save on demand only, after a save that is in progress."""
        if self._autosave is not None:
            self._autosave.stop()
            self._autosave = None

    def close(self) -> None:
        """Save and let go of the session. May be called again.

        Raises:
            PathError, ResourceError: it cannot be written. The session stays open: make room and close again, or
                `abandon` it.
        """
        self.stop_autosave()
        with self._writing:
            if self._log is None and not self._whole_due and not (self.path / JOURNAL).exists():
                self.abandon()
                return
            self.save()
            if self._added > _COMPACT_LINES:
                self._write_whole()
            self._sum_up()
            self.abandon()

    def abandon(self) -> None:
        """Let go of the session without saving."""
        self.stop_autosave()
        with self._writing:
            log, self._log = self._log, None
            if log is not None:
                with contextlib.suppress(KorformerError):
                    log.close()
            self._lock.close()

    def _open_log(self) -> JsonLines:
        if self._log is None:
            self._log = JsonLines(self.path / JOURNAL, private=True)
        return self._log

    def _write_whole(self) -> None:
        """Write the whole session anew, also where somebody removed its folder."""
        self._whole_due = True
        make_directory(self.path, private=True)
        actions = self.session.take_all()
        lines = 1
        with open_durable(self.path / JOURNAL, private=True) as file:
            file.write(journal.header())
            for line in journal.lines_of(actions, first=1):
                file.write(line)
                lines += 1
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(KorformerError):
                log.close()
        self._lines, self._added, self._whole_due = lines, 0, False
        self._sum_up()

    def _sum_up(self) -> None:
        self._summed_up = time.monotonic()
        with contextlib.suppress(KorformerError):  # it can be done without
            write_json(self.path / SUMMARY, self.session.summary(), private=True)


def create_session(text: str = "", *, file: Path | None = None, directory: Path | None = None) -> SessionFile:
    """Begin a session.

    Args:
        text: what it begins with; undo does not take it back.
        file: a text file that it belongs to.
        directory: its folder, which must not have a session yet; by default a new one where sessions are kept.

    Raises:
        PathError, ResourceError: it cannot be made. UsageError: there is a session already.
        InputError: the text has half of a surrogate pair.
    """
    if directory is None:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        directory = sessions_directory() / name
    elif is_session(directory):
        raise UsageError("has a session already", where=str(directory), hint="Open it, or choose another folder.")
    session = Session()
    if file is not None:
        session.file = str(file)
    if text:
        session.open(text)
    make_directory(directory, private=True)
    opened = SessionFile(directory, session, locked(directory), lines=0)
    try:
        opened.save()
    except BaseException:
        opened.abandon()
        raise
    return opened


def open_session(path: Path, *, recover: bool = False) -> SessionFile:
    """Open a session again.

    Args:
        path: its folder, or the file in it.
        recover: open what can be read of a damaged one; the damaged file is kept as session.jsonl.damaged.

    Raises:
        PathError: there is none, or it cannot be read. UsageError: another process has it open.
        InputError: it is damaged or of another version.
    """
    folder = folder_of(path)
    if folder is None:
        raise PathError("no session is there", where=str(path), hint="Give the folder that has its session.jsonl.")
    lock = locked(folder)
    try:
        sweep_orphans(folder)
        file = folder / JOURNAL
        try:
            data = file.read_bytes()
        except OSError as error:
            raise failure(error, file, doing="read") from error
        try:
            versions, lines = journal.read(data, where=str(file))
        except journal.Damaged as damage:
            if not recover:
                raise
            write_bytes(folder / f"{JOURNAL}.damaged", data, private=True)
            versions, lines = damage.versions, 0
        return SessionFile(folder, Session(versions), lock, lines=lines)
    except BaseException:
        lock.close()
        raise


def open_text_file(path: Path) -> SessionFile:
    """Open the session of a text file: the one it had, else a new one; the file need not exist yet.

    Where another program changed the file since, that is taken over as one change that can be undone.

    Raises:
        PathError: the file cannot be read. InputError: it is no UTF-8 text.
        UsageError: another process has its session open.
    """
    found = read_text(path)
    known = [info for info in list_sessions() if info.file == str(found.place)]
    if not known:
        opened = create_session(found.text, file=found.place)
    else:
        opened = open_session(known[0].path)
        if found.digest is not None and found.digest != opened.session.file_digest:
            opened.changed_outside = not opened.session.open(found.text).nothing
    opened.session.file_digest = found.digest
    return opened
