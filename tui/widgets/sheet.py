"""A sheet of text: drawn in rows of cells, coloured character by character, with a cursor that can be moved.

Rows are drawn when they are seen and kept by what they show, so a text of a million characters costs what its visible
rows cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from korformer.tui.cells import cell_len, is_joined, shown
from korformer.tui.rows import Rows

MOST_CELLS = 100
"""Widest column of text: longer rows are hard to read."""

TONES = ("written", "generated", "edited", *(f"band-{band}" for band in range(8)))
"""Names of the colours a character can have; `band-0` is the least likely token."""


_END = 10**9
"""Where a layer ends that covers the place behind the last character too."""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A stretch of text that is shown differently for the time being.

    Attributes:
        start, end: offsets of its characters.
        look: name of a component class of the sheet without `sheet--`.
    """

    start: int
    end: int
    look: str


class Sheet(ScrollView, can_focus=True):
    """A text on the screen. Offsets count characters of the text."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "sheet--cursor",
        "sheet--selection",
        "sheet--dim",
        "sheet--chosen",
        "sheet--empty",
        *(f"sheet--{tone}" for tone in TONES),
        *(f"sheet--lens-{rank}" for rank in range(5)),
    }

    class CursorMoved(Message):
        """The cursor stands elsewhere, or the selection changed."""

    def __init__(self, *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self._placeholder = placeholder
        self.rows = Rows()
        self.tones = b""
        self.overlays: tuple[Overlay, ...] = ()
        self._read_from = 0
        self._read_to: int | None = None
        self.cursor = 0
        self.mark = 0
        self.wanted_cell: int | None = None
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(1024)
        self._styles: dict[str, Style] = {}

    # What is shown

    @property
    def text(self) -> str:
        """The text on the page."""
        return self.rows.text

    @property
    def selection(self) -> tuple[int, int]:
        """Offsets of the selected characters, in order; equal where nothing is selected."""
        return min(self.cursor, self.mark), max(self.cursor, self.mark)

    @property
    def selected_text(self) -> str:
        """The selected characters."""
        start, end = self.selection
        return self.text[start:end]

    def show(self, text: str, tones: bytes, *, cursor: int | None = None) -> None:
        """Show another text; only what differs is drawn anew.

        Args:
            text: the text.
            tones: an index into `TONES` for every character.
            cursor: where the cursor goes; by default it keeps its place as far as there is text.
        """
        self.rows.set_text(text)
        self.tones = tones
        place = min(self.cursor if cursor is None else cursor, len(text))
        self.cursor = self.mark = place
        self._resized()
        self.refresh()
        if cursor is not None:
            self.scroll_to_offset(self.cursor)

    def set_tones(self, tones: bytes) -> None:
        """Colour the same text differently."""
        self.tones = tones
        self.refresh()

    def change(self, start: int, end: int, text: str, tones: bytes, *, follow: bool = False) -> None:
        """Put `text` where the characters from `start` to `end` are; the cursor stays with its character.

        Args:
            tones: an index into `TONES` for every new character.
            follow: whether a cursor that stands at `end` moves behind the new text.
        """
        height = len(self.rows)
        first = self.rows.replace(start, end, text)
        self.tones = self.tones[:start] + tones + self.tones[end:]
        self.cursor = _moved(self.cursor, start, end, len(text), follow=follow)
        self.mark = _moved(self.mark, start, end, len(text), follow=follow)
        shift = len(text) - (end - start)
        self.overlays = tuple(
            Overlay(start=o.start + shift * (o.start >= end), end=o.end + shift * (o.start >= end), look=o.look)
            for o in self.overlays
            if o.end <= start or o.start >= end
        )
        if len(self.rows) != height:
            self._resized()
        self._refresh_rows(first)

    @property
    def readable(self) -> tuple[int, int]:
        """Offsets between which the model reads the text."""
        return self._read_from, len(self.text) if self._read_to is None else self._read_to

    def set_readable(self, start: int, end: int | None) -> None:
        """Dim what lies outside these offsets: the model does not read it. None is the end, wherever that is."""
        if start != self._read_from or (end is None) != (self._read_to is None):
            self._read_from, self._read_to = start, end
            self.refresh()
        elif end is not None and self._read_to is not None and end != self._read_to:
            first = self.rows.row_of(min(end, self._read_to))
            self._read_to = end
            self._refresh_rows(first)

    def set_overlays(self, overlays: Iterable[Overlay]) -> None:
        """Show these stretches differently, and no others."""
        wanted = tuple(sorted(overlays, key=lambda overlay: overlay.start))
        if wanted != self.overlays:
            self.overlays = wanted
            self.refresh()

    def restyle(self) -> None:
        """Take the colours anew from the style sheet."""
        self._styles.clear()
        self._strips.clear()
        self.refresh()

    # Where the cursor is

    def move_to(self, offset: int, *, select: bool = False, keep_cell: bool = False) -> None:
        """Put the cursor at `offset` and scroll to it.

        Args:
            select: leave the other end of the selection where it is.
            keep_cell: whether later moves up and down aim for the same cell as those before.
        """
        before = (self.cursor, self.mark)
        self.cursor = max(0, min(offset, len(self.text)))
        if not select:
            self.mark = self.cursor
        if not keep_cell:
            self.wanted_cell = None
        if before != (self.cursor, self.mark):
            changed = (*before, self.cursor, self.mark)
            self._refresh_rows(self.rows.row_of(min(changed)), self.rows.row_of(max(changed)))
            self.post_message(self.CursorMoved())
        self.scroll_to_offset(self.cursor)

    @property
    def ahead(self) -> int:
        """Rows that a text being written jumps up by when it reaches the lower edge."""
        return self.scrollable_content_region.height // 4

    def scroll_to_offset(self, offset: int, *, center: bool = False, ahead: int = 0) -> None:
        """Scroll so that the character at `offset` is seen.

        Args:
            center: where it was not seen, put it into the middle.
            ahead: where it is below the lower edge, leave so many rows free below it.
        """
        row = self.rows.row_of(offset)
        height = max(1, self.scrollable_content_region.height)
        top = round(self.scroll_target_y)
        if center and not top <= row < top + height:
            self.scroll_to(y=row - height // 2, animate=False, force=True)
        elif row < top:
            self.scroll_to(y=row, animate=False, force=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1 + ahead, animate=False, force=True)
        self._place_terminal_cursor()

    def is_seen(self, offset: int) -> bool:
        """Whether the row of `offset` is on the screen."""
        top = round(self.scroll_target_y)
        return top <= self.rows.row_of(offset) < top + max(1, self.scrollable_content_region.height)

    def _place_terminal_cursor(self) -> None:
        """An input method shows what is being composed where the terminal's own cursor is."""
        if self.has_focus:
            row, cell = self.rows.place(self.cursor)
            region = self.content_region
            self.app.cursor_position = Offset(region.x + cell, region.y + row - self.scroll_offset.y)

    # What Textual calls

    def on_resize(self) -> None:
        """Break the text anew for the width there is."""
        self._fit()

    def on_mount(self) -> None:
        """Learn of other colours."""
        self.watch(self.app, "theme", self.restyle, init=False)

    def on_focus(self) -> None:
        """The cursor is here now."""
        self._place_terminal_cursor()
        self.refresh()

    def on_blur(self) -> None:
        """The cursor is elsewhere."""
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Take the terminal's cursor along."""
        super().watch_scroll_y(old_value, new_value)
        self._place_terminal_cursor()

    def notify_style_update(self) -> None:
        """Colours changed."""
        self._styles.clear()
        self._strips.clear()
        super().notify_style_update()

    def _fit(self) -> None:
        width = self.scrollable_content_region.width - 1
        if width < 2:
            return
        seen = self.rows.starts[min(len(self.rows) - 1, max(0, round(self.scroll_target_y)))]
        self.rows.set_width(min(width, MOST_CELLS))
        self._resized()
        self.refresh()  # It may have been drawn at its new size already, in the rows of the old one.
        self.scroll_to(y=self.rows.row_of(seen), animate=False, force=True)
        self.scroll_to_offset(self.cursor)

    def _resized(self) -> None:
        # Below the text there is room to write into without scrolling at every row.
        room = self.ahead if len(self.rows) + self.ahead > self.scrollable_content_region.height else 0
        size = Size(self.rows.width, len(self.rows) + room)
        if self.virtual_size.height == 0:
            self.virtual_size = size
        elif size != self.virtual_size:
            # Assigned, it would lay out the whole screen and draw it anew, for every row that is written.
            self.set_reactive(Sheet.virtual_size, size)
            # The bar is as high as the sheet, and drawing it draws all beside it: it need not tell every row.
            step = max(1, self.ahead)
            self.vertical_scrollbar.window_virtual_size = -(-size.height // step) * step

    def _refresh_rows(self, first: int, last: int | None = None) -> None:
        top = first - self.scroll_offset.y
        height = self.size.height - top if last is None else last - first + 1
        if top < self.size.height and top + height > 0:
            self.refresh(Region(0, max(0, top), self.size.width, height))

    # Drawing

    def render_line(self, y: int) -> Strip:
        """Draw one row of the screen."""
        row, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        if row >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        start, end = self.rows.span(row)
        text = self.text[start:end]
        layers = self._layers(row, start, end)
        key = (text, self.tones[start:end], layers, width, not self.text and row == 0)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._draw(text, self.tones[start:end], layers, width)
            self._strips[key] = strip
        return strip

    def _layers(self, row: int, start: int, end: int) -> tuple[tuple[int, int, str], ...]:
        """What lies over the colours of a row: begin and end in it, and the look, lowest first."""
        layers: list[tuple[int, int, str]] = []
        first, last = self.readable
        if start < first:
            layers.append((0, min(end, first) - start, "dim"))
        if end > last:
            layers.append((max(start, last) - start, end - start, "dim"))
        layers += [
            (max(o.start, start) - start, min(o.end, end) - start, o.look)
            for o in self.overlays
            if o.start < end and o.end > start
        ]
        low, high = self.selection
        if low < end and high > start and low < high:
            layers.append((max(low, start) - start, min(high, end) - start, "selection"))
        if self.has_focus and self.rows.row_of(self.cursor) == row:
            at_end = self.cursor == len(self.text)
            layers.append((self.cursor - start, _END if at_end else self.rows.after(self.cursor) - start, "cursor"))
        return tuple(layers)

    def _draw(self, text: str, tones: bytes, layers: Sequence[tuple[int, int, str]], width: int) -> Strip:
        base = self.rich_style
        edges = {0, len(text), *(place for place in range(1, len(text)) if tones[place] != tones[place - 1])}
        for begin, end, _ in layers:
            edges.update((min(begin, len(text)), min(end, len(text))))
        # What is drawn as one is not cut: it would be wider in two halves.
        cuts = sorted(place for place in edges if place in {0, len(text)} or not is_joined(text, place))
        segments: list[Segment] = []
        used = 0
        for begin, end in pairwise(cuts):
            style = base + self._style(TONES[tones[begin]])
            for first, last, look in layers:
                if first <= begin < last:
                    style += self._style(look)
            piece = shown(text[begin:end].rstrip("\n")) if end == len(text) else shown(text[begin:end])
            if text[begin:end].endswith("\n") and any(first <= end - 1 < last for first, last, _ in layers):
                piece += " "
            segments.append(Segment(piece, style))
            used += cell_len(piece)
        if layers and layers[-1][1] == _END:
            segments.append(Segment(" ", base + self._style("cursor")))
            used += 1
        if not self.text and self._placeholder:
            hint = self._placeholder[: max(0, width - used)]
            segments.append(Segment(hint, base + self._style("empty")))
            used += cell_len(hint)
        return Strip(segments, used).adjust_cell_length(width, base)

    def _style(self, look: str) -> Style:
        style = self._styles.get(look)
        if style is None:
            style = self._styles[look] = self._blended(look)
        return style

    def _blended(self, look: str) -> Style:
        """A look with its see-through colours laid over the page; a terminal knows no others."""
        styles, page = self.get_component_styles(f"sheet--{look}"), self.background_colors[1]
        background = page + styles.background if styles.has_rule("background") else None
        colour = (background or page) + styles.color if styles.has_rule("color") else None
        return Style(
            color=None if colour is None else colour.rich_color,
            bgcolor=None if background is None else background.rich_color,
        ) + (styles.text_style if styles.has_rule("text_style") else Style.null())


def _moved(offset: int, start: int, end: int, length: int, *, follow: bool) -> int:
    """Where an offset goes when `length` characters take the place of those from `start` to `end`."""
    if offset > end or (offset == end and follow):
        return offset + length - (end - start)
    return min(offset, start + length) if offset > start else offset
