"""Errors that korformer shows to people, and the exit code each one ends the program with.

    KorformerError                 never raised itself
    ├── PathError             1    a path is missing, unreadable or unwritable
    ├── UsageError            2    an unknown option, preset, task or key; an illegal value
    ├── InputError            3    input is readable but empty, undecodable, malformed or without text
    ├── ModelDirectoryError   4    not a model directory, damaged, or of another vocabulary
    ├── DivergedError         5    training diverged: loss, gradient or weights are not finite
    ├── ResourceError         6    out of memory or disk
    └── InterruptedRun  130, 143   a signal ended the run after its state was saved

A message says what is wrong, where, and what to do next. Errors of programmers stay what Python makes them.
"""

from __future__ import annotations


class KorformerError(Exception):
    """Something a person can mend.

    Args:
        what: what is wrong, without a full stop at the end.
        where: the file, option or position it concerns, put in front of the message.
        hint: what to do next, as a sentence.

    Attributes:
        told: whether another process of the same run tells it; None where that was never asked.
    """

    exit_code = 1
    told: bool | None = None

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.hint}" if self.hint else text


class PathError(KorformerError):
    """A path is missing, unreadable or unwritable."""

    exit_code = 1


class UsageError(KorformerError):
    """An unknown option, preset, task or key, or an illegal value."""

    exit_code = 2


class InputError(KorformerError):
    """Input that can be read but not used: empty, undecodable, malformed or without text."""

    exit_code = 3


class ModelDirectoryError(KorformerError):
    """Not a model directory, a damaged one, or one of another vocabulary."""

    exit_code = 4


class DivergedError(KorformerError):
    """Loss, gradient or weights stopped being finite; nothing was overwritten."""

    exit_code = 5


class ResourceError(KorformerError):
    """Out of memory or disk."""

    exit_code = 6


class InterruptedRun(KorformerError):
    """A signal ended the run; what was asked to be kept is on disk.

    Args:
        signal_number: the signal; the exit code is 128 plus it (130 for SIGINT, 143 for SIGTERM).
    """

    def __init__(self, what: str, *, signal_number: int = 2, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_code = 128 + signal_number


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch means that memory ran out."""
    # torch is not imported for this: its own class is known by its name, the CPU allocator's error by its words.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "can't allocate memory" in text)
