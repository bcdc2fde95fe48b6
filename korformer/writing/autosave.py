"""A thread that saves what is new, so that neither a crash nor a power cut costs more than a moment's work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from korformer.errors import KorformerError, PathError


@dataclass(frozen=True, kw_only=True, slots=True)
class AutosaveResult:
    """What came of a save.

    Attributes:
        error: why it failed; None where it did not. The text is kept, and the next save tries again.
    """

    error: KorformerError | None = None


AutosaveListener = Callable[[AutosaveResult], None]


class Autosave:
    """Saves now and then.

    Args:
        save: writes what is new; tells whether there was anything.
        listen: told of every save, and of a failure once until it is another one or mended; from the thread.
        seconds: between two looks.
    """

    def __init__(self, save: Callable[[], bool], listen: AutosaveListener, *, seconds: float) -> None:
        self._save = save
        self._listen = listen
        self._seconds = seconds
        self._told: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="korformer-autosave", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after a save that is in progress."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                saved = self._save()
            except KorformerError as error:
                self._tell(error)
                continue
            except Exception as error:
                self._tell(PathError(f"cannot be saved ({type(error).__name__}: {error})", where="autosave"))
                continue
            if saved:
                self._told = None
                self._listen(AutosaveResult())

    def _tell(self, error: KorformerError) -> None:
        if str(error) != self._told:
            self._told = str(error)
            self._listen(AutosaveResult(error=error))
