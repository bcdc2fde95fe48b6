"""The two lines at the foot: what the model is doing, and the keys or what a person has just been told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from korformer.tui.actions import HINTS, action_of
from korformer.tui.cells import cell_len
from korformer.tui.widgets.lists import clip
from korformer.tui.words import say

SPARK_CELLS = 8
"""Cells of the sparkline; each shows two tokens."""

_BRAILLE_LEFT = (0x40, 0x44, 0x46, 0x47)
_BRAILLE_RIGHT = (0x80, 0xA0, 0xB0, 0xB8)


def sparkline(values: Sequence[float], cells: int) -> str:
    """The newest values as columns of dots, four heights from 0 to the largest; two values a cell.

    Braille patterns, unlike block elements, are one cell wide in every terminal.
    """
    newest = list(values)[-2 * cells :]
    top = max(newest, default=0.0)
    heights = [min(3, int(4 * value / top)) if top > 0 else 0 for value in newest]
    pairs = zip(heights[0::2], [*heights[1::2], None], strict=False)
    return "".join(
        chr(0x2800 + _BRAILLE_LEFT[left] + (0 if right is None else _BRAILLE_RIGHT[right])) for left, right in pairs
    )


def clock(seconds: float) -> str:
    """A length of time as `0:42` or `1:02:03`."""
    whole = round(max(0.0, min(seconds, 1e8)))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the status line tells.

    Attributes:
        model: name, device and precision of the open model; empty without one.
        state: of the engine, a key of the phrases.
        progress: share of the loading or reading that is done, or None.
        seconds_left: until it is, or None.
        used, window: tokens that the model reads of the text, and can read.
        rate: tokens a second; 0 where nothing was written.
        entropy: of the newest token in nats, or None.
        version: which of how many siblings is seen, or None.
        characters: of the text.
        name: of the text file; empty where there is none.
        unsaved: whether the newest text could not be saved.
    """

    model: str = ""
    state: str = "empty"
    progress: float | None = None
    seconds_left: float | None = None
    used: int = 0
    window: int = 0
    rate: float = 0.0
    entropy: float | None = None
    version: tuple[int, int] | None = None
    characters: int = 0
    name: str = ""
    unsaved: bool = False


class Status(Widget):
    """One line of facts. What does not fit is left out, the least needed first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"status--state", "status--full", "status--rest", "status--alarm"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.facts = Facts()
        self.token_seconds: deque[float] = deque(maxlen=2 * SPARK_CELLS)

    def tell(self, **changes: object) -> None:
        """Change some of the facts."""
        facts = replace(self.facts, **changes)  # type: ignore[arg-type]
        if facts != self.facts:
            self.facts = facts
            self.refresh()

    def render(self) -> Text:
        """The line."""
        width = self.size.width
        left, right = self._left(), self._right()
        while right and _length(left) + _length(right) > width:
            right.pop(0)
        while len(left) > 1 and _length(left) > width:
            left.pop()
        line = Text(no_wrap=True, end="")
        for part in left:
            line.append_text(part).append(" ")
        line.append(" " * max(0, width - _length(left) - _length(right)))
        for part in right:
            line.append(" ").append_text(part)
        return line

    def _left(self) -> list[Text]:
        facts = self.facts
        state = say(facts.state)
        if facts.progress is not None:
            state += f" {facts.progress:.0%}"
        if facts.seconds_left is not None:
            state += " " + say("left", time=clock(facts.seconds_left))
        parts = [Text(f" {state} ", self._look("state"))]
        if facts.unsaved:
            parts.append(Text(f" {say('unsaved')} ", self._look("alarm")))
        if facts.window:
            parts.append(self._meter(facts.used, facts.window))
        if facts.rate:
            parts.append(Text(say("rate" if facts.rate >= 10 else "slow rate", rate=facts.rate)))
        if self.token_seconds:
            parts.append(Text(sparkline(list(self.token_seconds), SPARK_CELLS)))
        if facts.entropy is not None:
            parts.append(Text(say("entropy", nats=facts.entropy)))
        return parts

    def _right(self) -> list[Text]:
        facts = self.facts
        parts = [Text(clip(facts.name, 30))] if facts.name else []
        parts.append(Text(say("characters", count=facts.characters)))
        if facts.model:
            parts.append(Text(clip(facts.model, 40)))
        if facts.version is not None:
            parts.append(Text(say("version", index=facts.version[0], count=facts.version[1])))
        return parts

    def _meter(self, used: int, window: int) -> Text:
        """`3,912/5,120` on a bar that is as full as the window."""
        figures = f" {used:,}/{window:,} "
        full = round(len(figures) * min(1.0, used / window))
        return Text.assemble((figures[:full], self._look("full")), (figures[full:], self._look("rest")))

    def _look(self, name: str) -> Style:
        return self.get_component_rich_style(f"status--{name}")


def _length(parts: Sequence[Text]) -> int:
    return sum(cell_len(part.plain) + 1 for part in parts)


class Foot(Static):
    """The keys of the commands; in their place, for a while, what a person is told."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._timer: Timer | None = None
        self.message = ""

    def on_mount(self) -> None:
        """Show the keys."""
        self.show_keys()

    def on_resize(self) -> None:
        """As many keys as fit."""
        if not self.message:
            self.show_keys()

    def show_keys(self) -> None:
        """Show the keys, as many as fit; a click is as good as a press."""
        self.message = ""
        self.set_classes("")
        keys = {
            active.binding.id: self.app.get_key_display(active.binding)
            for active in reversed(self.screen.active_bindings.values())
        }
        parts: list[Content] = []
        room = self.size.width
        for action in map(action_of, HINTS):
            key = keys.get(action.id)
            length = cell_len(f" {key} {action.label} ")
            if action.short is None or key is None or length > room:
                continue
            room -= length
            click = f"@click=screen.do('{action.id}')"
            parts.append(Content.assemble((f" {key} ", f"bold {click}"), (f"{action.label} ", click)))
        self.update(Content("").join(parts))

    def tell(self, text: str, level: str = "information", seconds: float = 6.0) -> None:
        """Say something for so many seconds."""
        if self._timer is not None:
            self._timer.stop()
        self.message = text
        self.set_classes(f"-{level}")
        self.update(Content(text))
        self._timer = self.set_timer(seconds, self.show_keys)
