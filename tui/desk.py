"""What joins a session and the engine: edits, generations, the history. Knows no widget; what changes it tells a view.

Everything here runs in the thread of the screen. The engine's thread is only ever asked, and answers with messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from korformer.errors import InputError, KorformerError
from korformer.tui.words import say, told
from korformer.writing import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from korformer.generation.settings import SamplingSettings
    from korformer.writing.engine import Engine
    from korformer.writing.records import Candidate, EndReason
    from korformer.writing.session import Change, Retry, Session
    from korformer.writing.store import SessionFile

Level = Literal["information", "warning", "error"]

CANDIDATES = 10
"""Alternatives that are recorded with every token."""


class View(Protocol):
    """What shows the desk."""

    @property
    def cursor(self) -> int:
        """Where the cursor is in the text."""

    def apply(self, change: Change, *, cursor: int | None = None, follow: bool = False) -> None:
        """The text changed; the cursor goes to `cursor`, or moves with the text where it stood before it."""

    def tell(self, text: str, level: Level = "information") -> None:
        """Say something."""

    def show_generation(self, begins: int | None) -> None:
        """Text is being written at a place, or no more."""

    def show_history(self) -> None:
        """The tree changed."""

    def show_inspected(self, inspected: messages.Inspected) -> None:
        """What was asked about a token."""


class Desk:
    """A session on the screen and the engine that writes in it."""

    def __init__(self, file: SessionFile, engine: Engine, view: View) -> None:
        self.file = file
        self.engine = engine
        self.view = view
        self.info: messages.ModelInfo | None = None
        self.state = "empty"
        self.generation: int | None = None
        self.stepping = False

    @property
    def session(self) -> Session:
        """The text and its history."""
        return self.file.session

    @property
    def settings(self) -> SamplingSettings:
        """Of the sampler."""
        return self.session.settings

    def leave_to(self, file: SessionFile) -> None:
        """Go to another session; what the model has read of the one before is kept beside that."""
        if self.info is not None:
            self.engine.save_state(self.file.state_path)
        self.file = file
        self.remember()

    def remember(self) -> None:
        """Let the model work with the hash rounds of the session, and take up what it had read of it."""
        if self.info is None:
            return
        self.engine.rehash(self.session.hashes or self.info.own_hashes)
        if self.file.state_path.exists():
            self.engine.restore_state(self.file.state_path)

    # Editing

    def edit(self, start: int, end: int, text: str) -> None:
        """A person put `text` in the place of some characters; a generation under way ends with it.

        The text that is seen is what is changed, also where the next try has only just begun: then the one before it
        is left to the history.
        """
        try:
            change = self.session.replace(start, end, text)
        except InputError as error:
            self.view.tell(told(error), "error")
            return
        self.view.apply(change, cursor=change.cursor if text or change.removed else start)
        self.stop()

    def undo(self) -> None:
        """Take back the last edit, generation or move."""
        self._travel(self.session.undo, say("nothing to undo"))

    def redo(self) -> None:
        """Do again what was undone."""
        self._travel(self.session.redo, say("nothing to redo"))

    def _travel(self, step: Callable[[], Change | None], nothing: str) -> None:
        if self._stop():
            return  # that was a step back
        change = step()
        if change is None:
            self.view.tell(nothing)
        else:
            self.view.apply(change, cursor=change.cursor)
            self.view.show_history()

    # Generating

    def generate(self, at: int | None = None, *, max_tokens: int | None = None) -> None:
        """Write on at a place, by default at the cursor."""
        if self._can_write():
            self._begin(self.view.cursor if at is None else at, max_tokens=max_tokens)

    def retry(self) -> None:
        """Write the last continuation anew, beside the one that is there."""
        self.stop()
        if self._can_write():
            self._begin_anew(self.session.retry(), None)

    def choose(self, offset: int, candidate: Candidate) -> None:
        """Go on from another token at a place; in single steps, write just that one."""
        self.stop()
        if not self._can_write():
            return
        only = 1 if self.stepping else None
        if offset >= self.session.length:
            self._begin(self.session.length, first_token=candidate.token_id, max_tokens=only)
            return
        retry = self.session.branch_for_token(offset)
        if retry is None:
            change = self.session.branch(offset)
            self.view.apply(change, cursor=change.cursor)
            self._begin(self.session.length, first_token=candidate.token_id, max_tokens=only)
        else:
            self._begin_anew(retry, candidate.token_id, max_tokens=only)

    def step(self) -> None:
        """Write one token."""
        if self._can_write():
            self.stepping = True
            self._begin(self.view.cursor, max_tokens=1)

    def stop(self) -> bool:
        """Stop writing; False where nothing was being written."""
        if self.generation is None:
            return False
        self._stop()
        return True

    def _stop(self) -> bool:
        """Stop writing; whether that took back a try that nothing came of."""
        if self.generation is None:
            return False
        self.engine.stop()
        return self._end("cancelled", None)

    def _can_write(self) -> bool:
        if self.info is None:
            self.view.tell(say("wait for the model" if self.state == "loading" else "open a model"), "warning")
            return False
        if self.generation is not None:
            self.view.tell(say("busy"))
            return False
        return True

    def _begin_anew(self, retry: Retry | None, first_token: int | None, *, max_tokens: int | None = None) -> None:
        if retry is None:
            self.view.tell(say("nothing to retry"))
            return
        self.view.apply(retry.change, cursor=retry.at)
        self._begin(retry.at, first_token=first_token, max_tokens=max_tokens)

    def _begin(self, at: int, *, first_token: int | None = None, max_tokens: int | None = None) -> None:
        assert self.info is not None
        self.session.seal()
        if max_tokens is None:
            self.stepping = False
        settings = self.settings
        self.engine.set_settings(settings)
        draft = self.session.draft(at)
        self.generation = self.session.begin_generation(
            at,
            settings,
            model=self.info.name,
            vocabulary=self.info.vocabulary,
            fills=self.info.fills_in_the_middle,
        )
        if not self.info.path.exists():
            self.view.tell(say("model gone", path=self.info.path), "warning")
        elif draft.after and not self.info.fills_in_the_middle:
            self.view.tell(say("what follows is ignored"), "warning")
        self.view.show_generation(at)
        self.engine.generate(draft, self.generation, first_token=first_token, max_tokens=max_tokens)

    def _end(self, reason: EndReason, seed: int | None) -> bool:
        """A generation is over; whether the text went back to what it was before a try that nothing came of."""
        assert self.generation is not None
        generation, self.generation = self.generation, None
        change = self.session.end_generation(generation, reason, seed=seed)
        if change is not None:
            self.view.apply(change, cursor=change.cursor)
        self.view.show_generation(None)
        self.view.show_history()
        return change is not None

    def wrote(self, message: messages.Wrote) -> None:
        """Tokens came."""
        if message.generation != self.generation:
            return
        change = self.session.extend_generation(message.generation, message.tokens)
        if change is None:
            self.engine.stop()
            self._end("cancelled", None)
            self.view.tell(say("text changed"), "warning")
        elif not change.nothing:
            self.view.apply(change, follow=True)

    def ended(self, message: messages.GenerationEnded) -> None:
        """A generation is over."""
        if message.generation != self.generation:
            self.session.set_seed(message.generation, message.seed)
            return
        self._end(message.reason, message.seed)
        if not self.stepping and message.reason != "failed":
            key = "stop string" if message.reason == "stop" else message.reason
            self.view.tell(say(key, tokens=message.tokens))

    # The history

    def move_sibling(self, direction: int) -> None:
        """Go to the next or previous version of the last continuation."""
        self.stop()
        siblings = self.session.siblings()
        if siblings is None or siblings.count < 2:
            self.view.tell(say("no siblings"))
            return
        change = self.session.move_sibling(direction)
        if change is not None:
            self.view.apply(change, cursor=change.cursor)
            self.view.show_history()

    def move_to(self, node: int) -> None:
        """Go to a version of the text."""
        self.stop()
        change = self.session.move_to(node)
        self.view.apply(change, cursor=change.cursor)
        self.view.show_history()

    def branch(self) -> None:
        """Take off what follows the cursor; it stays in the history."""
        change = self.session.branch(self.view.cursor)
        self.view.apply(change, cursor=change.cursor)
        self.stop()
        self.view.show_history()

    # Looking closer

    def inspect(self, offset: int) -> None:
        """Ask what could have stood at a place; the answer is tagged with it."""
        if self.info is not None and self.generation is None:
            self.engine.inspect(self.session.draft(offset), offset, tag=offset)

    def take_settings(self, settings: SamplingSettings) -> None:
        """Sample differently from the next token on."""
        try:
            self.session.settings = settings
        except KorformerError as error:
            self.view.tell(told(error), "error")
            return
        self.engine.set_settings(settings)

    def take_hashes(self, hashes: int | None) -> None:
        """Work with another number of hash rounds from the next token on; None for the model's own."""
        own = None if self.info is None else self.info.own_hashes
        self.session.hashes = None if hashes == own else hashes
        if own is not None:
            self.engine.rehash(hashes or own, self.session.draft(self.view.cursor))

    def keep_hashes(self) -> None:
        """Stay with the number of hash rounds that the model works with: it could not take another one."""
        if self.info is not None:
            self.session.hashes = None if self.info.hashes == self.info.own_hashes else self.info.hashes

    def ban(self, candidate: Candidate) -> bool:
        """Never write a token again; once more and it is allowed. Whether it is banned now."""
        banned = set(self.settings.banned_tokens) ^ {candidate.token_id}
        self.take_settings(self.settings.model_copy(update={"banned_tokens": tuple(sorted(banned))}))
        return candidate.token_id in banned
