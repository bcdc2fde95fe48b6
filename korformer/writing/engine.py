"""The thread that a model works in. It knows no screen and no session: it is given drafts and tells what came of them.

    engine = Engine(deliver)
    engine.load(Path("checkpoints/ko-mini"))
    engine.generate(session.draft(), generation)
    engine.stop()

Calls return at once. Jobs are done one after another; reading ahead gives way to anything that is asked for. Settings
and the number of hash rounds are read at every token, so a change counts from the next one. torch is imported in the
thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from korformer.errors import KorformerError, ModelDirectoryError, ResourceError
from korformer.generation.settings import SamplingSettings
from korformer.writing.draft import Draft
from korformer.writing.messages import (
    EngineState,
    Failed,
    GenerationEnded,
    LoadProgress,
    Message,
    ModelInfo,
    StateChanged,
)
from korformer.writing.outbox import Deliver, Outbox
from korformer.writing.work import Work

if TYPE_CHECKING:
    from korformer.model.decode import Precision

JobKind = Literal["load", "generate", "prepare", "measure", "inspect", "rehash", "save", "restore", "close"]

MOST_CANDIDATES = 50

_YIELDING: tuple[JobKind, ...] = ("prepare", "measure", "rehash")
"""Done while nothing else is asked for."""

_STOPPABLE: tuple[JobKind, ...] = ("generate", "prepare", "measure", "inspect", "rehash")


@dataclass(kw_only=True, eq=False)
class _Job:
    kind: JobKind
    do: Callable[[threading.Event], None]
    generation: int | None = None
    cancel: threading.Event = field(default_factory=threading.Event)


class Engine:
    """A model at work in its own thread.

    Args:
        deliver: takes what is told, in batches; called from the thread, so it must only pass them on.
        messages_a_second: batches at most, but for the ends of jobs.
    """

    def __init__(self, deliver: Deliver, *, messages_a_second: float = 10.0) -> None:
        self._outbox = Outbox(deliver, messages_a_second)
        self._work = Work(self._tell, self._enter)
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._lock = threading.Lock()
        self._open: list[_Job] = []
        self._state: EngineState = "empty"
        self._thread = threading.Thread(target=self._run, name="korformer-engine", daemon=True)
        self._thread.start()

    @property
    def info(self) -> ModelInfo | None:
        """Of the model that is loaded; None without one."""
        return self._work.info

    # What counts from the next token on

    @property
    def settings(self) -> SamplingSettings:
        """Of the sampler, at this moment."""
        return self._work.settings

    def set_settings(self, settings: SamplingSettings) -> None:
        """Use these settings from the next token on."""
        self._work.settings = settings

    def set_candidates(self, count: int) -> None:
        """Record so many candidates with each token from the next one on; none costs nothing."""
        self._work.candidates = min(max(0, count), MOST_CANDIDATES)

    def set_lens(self, on: bool) -> None:
        """Watch what the model attends to, from the next generation on at the latest; off costs nothing."""
        self._work.lens = on

    @property
    def candidates(self) -> int:
        """How many are recorded."""
        return self._work.candidates

    @property
    def lens(self) -> bool:
        """Whether attention is watched."""
        return self._work.lens

    # Jobs

    @property
    def busy(self) -> bool:
        """Whether a job is being done or waits."""
        with self._lock:
            return bool(self._open)

    def load(self, path: Path, *, weights: Precision = "fp32", hashes: int | None = None, device: str = "auto") -> None:
        """Load a model in place of the one that is there; if it fails that one stays.

        Args:
            path: its directory.
            weights: precision of the matrices in single steps: fp32, bf16 or int8.
            hashes: rounds of hashing instead of those it was trained with.
            device: where to put the weights: auto, cpu or cuda.
        """
        self._submit("load", lambda cancel: self._work.load(path, weights, hashes, device))

    def generate(
        self, draft: Draft, generation: int, *, first_token: int | None = None, max_tokens: int | None = None
    ) -> None:
        """Write at the cursor of a draft.

        Args:
            draft: the text.
            generation: a number to tell what came of it by.
            first_token: the token to begin with, as a person chose it; drawn where not given.
            max_tokens: instead of the number in the settings; 1 is a single step, which goes on to the end of a
                character.
        """
        self._submit(
            "generate",
            lambda cancel: self._work.generate(cancel, draft, generation, first_token, max_tokens),
            generation=generation,
        )

    def prepare(self, draft: Draft) -> None:
        """Read the text up to the cursor, so that writing can begin at once; given up for any other job."""
        self._submit("prepare", lambda cancel: self._work.prepare(cancel, draft))

    def measure(self, draft: Draft) -> None:
        """Only tell how much of the text the model would see."""
        self._submit("measure", lambda cancel: self._work.measure(draft))

    def inspect(self, draft: Draft, offset: int, tag: object = None) -> None:
        """Tell what could have stood at `offset`, and what the model attends to there."""
        self._submit("inspect", lambda cancel: self._work.inspect(cancel, draft, offset, tag))

    def rehash(self, hashes: int, draft: Draft | None = None) -> None:
        """Use another number of hash rounds from the next token on, and read the draft with them; the reading is given
        up for any other job, which reads what it needs.
        """
        self._work.want_hashes(hashes)
        self._submit("rehash", lambda cancel: self._work.rehash(cancel, hashes, draft))

    def save_state(self, path: Path) -> None:
        """Keep what the model has read."""
        self._submit("save", lambda cancel: self._work.save(path))

    def restore_state(self, path: Path) -> None:
        """Take up what was kept, if it is of this model."""
        self._submit("restore", lambda cancel: self._work.restore(path))

    def stop(self) -> None:
        """Stop writing, reading and looking, within one token; what was written stays."""
        with self._lock:
            for job in self._open:
                if job.kind in _STOPPABLE:
                    job.cancel.set()

    def close(self, timeout: float | None = None) -> bool:
        """Stop and end the thread, after a save that was asked for.

        Args:
            timeout: seconds to wait.

        Returns:
            Whether the thread has ended.
        """
        self.stop()
        self._submit("close", lambda cancel: None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _submit(self, kind: JobKind, do: Callable[[threading.Event], None], generation: int | None = None) -> None:
        job = _Job(kind=kind, do=do, generation=generation)
        with self._lock:
            for other in self._open:
                if other.kind in _YIELDING:
                    other.cancel.set()
            self._open.append(job)
        self._jobs.put(job)

    # The thread

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job.kind == "close":
                    return
                self._do(job)
            finally:
                with self._lock:
                    self._open.remove(job)
                    last = not self._open
                if last:
                    self._enter("idle" if self._work.info is not None else "empty")
                self._outbox.flush()

    def _do(self, job: _Job) -> None:
        if job.cancel.is_set() and job.kind != "generate":
            return
        try:
            job.do(job.cancel)
        except Exception as error:
            self._tell_failure(job, error)

    def _tell_failure(self, job: _Job, error: Exception) -> None:
        told = _told(error)
        if told is None:
            return
        self._tell(Failed(doing=job.kind, error=told))
        if job.generation is not None:
            self._tell(
                GenerationEnded(generation=job.generation, reason="failed", seed=None, tokens=0, tokens_per_second=0.0)
            )

    def _tell(self, message: Message) -> None:
        self._outbox.add(message)
        if isinstance(message, LoadProgress):  # what follows may take seconds
            self._outbox.flush()

    def _enter(self, state: EngineState) -> None:
        if state != self._state:
            self._state = state
            self._tell(StateChanged(state=state))
            self._outbox.flush()


def _told(error: Exception) -> KorformerError | None:
    """What to tell of an error; None where somebody only stopped the work."""
    from korformer.generation.context import Cancelled

    if isinstance(error, Cancelled):
        return None
    if isinstance(error, KorformerError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        told: KorformerError = ResourceError(
            "not enough memory", hint="Close other programs, or use a smaller model or window."
        )
    else:
        told = ModelDirectoryError(
            f"the model failed ({type(error).__name__}: {error})", hint="Load it again; if that fails, another one."
        )
    told.__cause__ = error
    return told
