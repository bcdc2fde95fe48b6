"""What happens in the panels beside the page: which one is seen, and what it shows of the place of the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.timer import Timer

from korformer.tui.widgets.others import Others
from korformer.tui.widgets.places import Attention, History
from korformer.tui.widgets.sheet import Overlay
from korformer.tui.widgets.sidebar import PANELS
from korformer.tui.words import say

if TYPE_CHECKING:
    from korformer.tui.screens.writing import WritingScreen
    from korformer.writing.messages import Inspected, Lens

WIDE = 100
"""Cells from which the panels are beside the page without being asked for."""

WIDEST = 160
"""Cells from which the panels are wider."""

LOOK_SECONDS = 0.2
"""After this long at a place its alternatives are looked up."""

RANKS = 5
"""Strengths of colour for the passages that the model attends to."""


class Panels:
    """The panels of the writing screen."""

    def __init__(self, screen: WritingScreen) -> None:
        self._screen = screen
        self._wanted: bool | None = None
        self._look: Timer | None = None
        self.lens_on = False

    # Which one is seen

    def fold(self, width: int) -> None:
        """Show the panels where they were asked for, or where there is room for them."""
        screen, sidebar = self._screen, self._screen.sidebar
        shown = width >= WIDE if self._wanted is None else self._wanted
        if not shown and screen.focused is not None and sidebar in screen.focused.ancestors:
            screen.page.focus()
        sidebar.display = shown
        screen.set_class(width >= WIDEST, "-wide")

    def open(self, panel: str) -> None:
        """Show a panel."""
        self._wanted = True
        self._screen.sidebar.display = True
        self._screen.sidebar.choose(panel)

    def next_panel(self) -> None:
        """Show the next panel; after the last one none."""
        screen = self._screen
        if not screen.sidebar.display:
            self.open(PANELS[0])
            return
        place = PANELS.index(screen.sidebar.panel) + 1
        if place < len(PANELS):
            self.open(PANELS[place])
        else:
            self._wanted = False
            screen.sidebar.choose(PANELS[0])
            self.fold(screen.size.width)

    def switch(self) -> None:
        """Go between page and panel."""
        screen = self._screen
        if screen.focused is screen.page:
            self.open(screen.sidebar.panel)
            screen.sidebar.focus_panel()
        else:
            screen.page.focus()

    def _is_seen(self, *panels: str) -> bool:
        return bool(self._screen.sidebar.display) and self._screen.sidebar.panel in panels

    def fill(self) -> None:
        """Another panel is seen."""
        self.show_history()
        self.look_soon()

    def clear(self) -> None:
        """Forget what was looked at: its text is gone."""
        self._screen.query_one(Others).show(0, None)
        self.show_lens(None)

    # The history

    def show_history(self) -> None:
        """Show the tree as it is, where it is seen."""
        if self._is_seen("history"):
            self._screen.query_one(History).show(self._screen.desk.session.outline())

    # What could have stood at the cursor

    def step(self) -> None:
        """Write one token and show what could come next."""
        self.open("next")
        self._screen.desk.step()

    def show_alternatives(self) -> None:
        """Show what could have stood at the cursor."""
        if not self._screen.page.text:
            self._screen.tell(say("no token"))
            return
        self.open("next")
        self.inspect()
        self._screen.sidebar.focus_panel()

    def look_soon(self) -> None:
        """Look at the token under the cursor once it rests."""
        if self._look is not None:
            self._look.stop()
        if (self.lens_on or self._is_seen("next")) and self._screen.desk.generation is None:
            self._look = self._screen.set_timer(LOOK_SECONDS, self.inspect)

    def after_generation(self) -> None:
        """A generation is over: what could come next is seen where it is looked at."""
        if self._screen.desk.stepping or self._is_seen("next") or self.lens_on:
            self.inspect()

    def inspect(self) -> None:
        """Look at the token under the cursor."""
        screen = self._screen
        if screen.desk.generation is not None:
            return
        if not screen.page.text:
            self.clear()
            return
        view = screen.desk.session.token_at(screen.cursor)
        if view is not None and view.record.candidates:
            screen.query_one(Others).show(view.start, view.record)
            self.mark(None, (view.start, view.end))
        screen.desk.inspect(screen.cursor)

    def show_inspected(self, inspected: Inspected) -> None:
        """Show what was asked about a token."""
        screen = self._screen
        if inspected.tag != screen.page.cursor or screen.desk.generation is not None:
            return
        is_next = inspected.start == inspected.end
        screen.query_one(Others).show(inspected.start, inspected.record, is_next=is_next)
        if self.lens_on:
            self.show_lens(inspected.lens)
        self.mark(inspected.lens, None if is_next else (inspected.start, inspected.end))

    # What the model attends to

    def toggle_lens(self) -> None:
        """Show the passages that the model attends to, or do not."""
        self.lens_on = not self.lens_on
        self._screen.desk.engine.set_lens(self.lens_on)
        if self.lens_on:
            self.open("attention")
            self.inspect()
        self.show_lens(None)

    def show_lens(self, lens: Lens | None) -> None:
        """Highlight the passages and list them."""
        session = self._screen.desk.session
        passages = () if lens is None else lens.passages
        listed = [(passage, session.slice(passage.start, passage.end)) for passage in passages]
        advice = "" if listed else say("lens waits" if self.lens_on else "lens off")
        self._screen.query_one(Attention).show(listed, advice)
        self.mark(lens)

    def mark(self, lens: Lens | None, chosen: tuple[int, int] | None = None) -> None:
        """Mark the passages of the lens, and the token that is looked at."""
        overlays = [] if chosen is None else [Overlay(start=chosen[0], end=chosen[1], look="chosen")]
        for rank, passage in enumerate(lens.passages if lens is not None and self.lens_on else ()):
            overlays.append(Overlay(start=passage.start, end=passage.end, look=f"lens-{min(RANKS - 1, rank)}"))
        self._screen.page.set_overlays(overlays)
