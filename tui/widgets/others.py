"""The panel of alternatives: what else could have come at a place, before and after the filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import OptionList, Static

from korformer.tui.cells import cell_len
from korformer.tui.widgets.lists import PanelList, clip
from korformer.tui.words import say

if TYPE_CHECKING:
    from korformer.writing.records import Candidate, TokenRecord


class CandidateList(PanelList):
    """The candidates, likeliest first."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("delete", "ban", show=False, id="others.ban")]

    class Banned(Message):
        """The highlighted candidate is never to come again."""

    def action_ban(self) -> None:
        """Ask for it."""
        self.post_message(self.Banned())


class Others(Vertical):
    """The candidates at one place of the text."""

    class Chosen(Message):
        """One of them is to stand there, and the text goes on from it."""

        def __init__(self, offset: int, candidate: Candidate) -> None:
            super().__init__()
            self.offset = offset
            self.candidate = candidate

    class Banned(Message):
        """One of them is never to come."""

        def __init__(self, candidate: Candidate) -> None:
            super().__init__()
            self.candidate = candidate

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.place = 0
        self.record: TokenRecord | None = None
        self.is_next = False
        self.banned: frozenset[int] = frozenset()

    def compose(self) -> ComposeResult:
        """A heading and the list."""
        yield Static(say("no alternatives"), id="others-title", markup=False)
        yield CandidateList(id="candidates")

    def on_resize(self) -> None:
        """Lay the columns out anew."""
        self._fill()

    def show(self, offset: int, record: TokenRecord | None, *, is_next: bool = False) -> None:
        """Show the candidates of a token.

        Args:
            offset: where the token begins.
            record: the token; None where nothing is known of it.
            is_next: whether it stands in the text or would be the next.
        """
        if (offset, record, is_next) != (self.place, self.record, self.is_next):
            self.place, self.record, self.is_next = offset, record, is_next
            self._fill(start=True)

    def show_banned(self, token_ids: Iterable[int]) -> None:
        """Mark the candidates that are never to come."""
        banned = frozenset(token_ids)
        if banned != self.banned:
            self.banned = banned
            self._fill()

    def _fill(self, *, start: bool = False) -> None:
        title, rows = self.query_one("#others-title", Static), self.query_one(CandidateList)
        record = self.record
        if record is None:
            title.update(say("no alternatives"))
            rows.fill([])
            return
        width = max(16, rows.scrollable_content_region.width - 2)
        what = say("alternatives next") if self.is_next else say("alternatives of", text=named(record.text))
        entropy = "" if record.entropy is None else say("entropy", nats=record.entropy)
        title.update(f"{clip(what, width)}\n{entropy}")
        rows.fill((self._row(candidate, width) for candidate in record.candidates), highlighted=0 if start else None)

    def _row(self, candidate: Candidate, width: int) -> Text:
        assert self.record is not None
        before = f"{candidate.probability:6.1%}"
        banned = candidate.token_id in self.banned
        after = _right(say("banned mark" if banned else "cut"), 6)
        if candidate.kept and not banned:
            after = f"{candidate.filtered_probability:6.1%}"
        figures = f"{before} {after}"
        drawn = not self.is_next and candidate.token_id == self.record.token_id
        name = clip(("> " if drawn else "  ") + named(candidate.text), width - cell_len(figures) - 1)
        text = Text(name + " " * (width - cell_len(name) - cell_len(figures)) + figures, no_wrap=True)
        if drawn:
            text.stylize("bold")
        elif banned or not candidate.kept:
            text.stylize("dim")
        return text

    @on(OptionList.OptionSelected, "#candidates")
    def choose(self, message: OptionList.OptionSelected) -> None:
        """Go on from this candidate."""
        message.stop()
        if self.record is not None:
            self.post_message(self.Chosen(self.place, self.record.candidates[message.option_index]))

    @on(CandidateList.Banned)
    def ban(self, message: CandidateList.Banned) -> None:
        """Never again."""
        message.stop()
        place = self.query_one(CandidateList).highlighted
        if self.record is not None and place is not None:
            self.post_message(self.Banned(self.record.candidates[place]))


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def named(text: str) -> str:
    """A token's text so that spaces and line feeds are seen; vocabularies show a space as U+2581."""
    return text.replace("\u2581", "_").replace(" ", "_").replace("\n", "\\n").replace("<0x0A>", "\\n")
