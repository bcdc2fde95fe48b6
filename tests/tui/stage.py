"""A screen without a terminal, and an engine that does what a test tells it."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Input

from korformer.tui.app import WritingApp
from korformer.tui.messages import EngineSaid
from korformer.tui.widgets.sheet import MOST_CELLS
from korformer.writing import messages as said
from korformer.writing.records import Candidate, TokenRecord

TEXT = "바다 마을의 아침은 조용했다.\n그는 창문을 열고 파도 소리를 들었다."

INFO = said.ModelInfo(
    path=Path("."),
    name="ko-mini",
    device="cpu",
    weights="fp32",
    window_tokens=5120,
    parameters=1_000_000,
    hashes=4,
    own_hashes=4,
    vocabulary_size=600,
    vocabulary="fingerprint",
    fills_in_the_middle=False,
)


def record(text: str, probability: float = 0.25, token_id: int = 7) -> TokenRecord:
    """A token with candidates: itself and two others, the last one cut."""
    from math import log

    candidates = (
        Candidate(token_id=token_id, text=text, probability=probability, filtered_probability=0.4, kept=True),
        Candidate(token_id=8, text=" 바람", probability=0.2, filtered_probability=0.3, kept=True),
        Candidate(token_id=9, text="돌", probability=0.01, filtered_probability=0.0, kept=False),
    )
    return TokenRecord(
        token_id=token_id, text=text, logprob=log(probability), entropy=2.5, candidates=candidates, seconds=0.02
    )


def meter(tokens: int, outside: int = 0) -> said.ContextMeter:
    return said.ContextMeter(
        window_tokens=5120, text_tokens=tokens, read_tokens=tokens, outside_tokens=outside, outside_characters=outside
    )


class Puppet:
    """An engine whose calls are kept, and which says what a test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.busy = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*given: Any, **named: Any) -> None:
            self.calls.append((name, given, named))

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The calls of one name."""
        return [(given, named) for called, given, named in self.calls if called == name]


class Stage:
    """An application under test, and what a test does with it."""

    def __init__(self, app: WritingApp, pilot: Pilot[None], engine: Puppet) -> None:
        self.app = app
        self.pilot = pilot
        self.engine = engine
        self.screen = app.writing

    async def say(self, *messages: said.Message) -> None:
        """Let the engine say something."""
        self.screen.post_message(EngineSaid(messages))
        await self.pilot.pause()

    async def open_model(self, **changes: Any) -> None:
        from dataclasses import replace

        await self.say(said.ModelLoaded(info=replace(INFO, **changes)), said.StateChanged(state="idle"))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self._done()

    async def type(self, text: str) -> None:
        """Type characters as an input method commits them."""
        for character in text:
            await self.pilot.press(character)
        await self._done()

    async def _done(self) -> None:
        while self.app.typing.busy and self.app.is_running:
            await self.pilot.pause(0.005)
        await self.pilot.pause()

    async def fill(self, text: str) -> None:
        """Type over the line of a dialog and send it."""
        entry = self.app.screen.query_one(Input)
        entry.value = text
        entry.focus()
        await self.press("enter")

    async def wrote(self, *tokens: TokenRecord) -> None:
        """Let the engine write into the generation that the screen began last."""
        generation = self.engine.named("generate")[-1][0][1]
        wrote = said.Wrote(generation=generation, tokens=tokens, tokens_per_second=41.5, meter=meter(30))
        await self.say(said.StateChanged(state="writing"), wrote)

    async def ended(self, reason: Any = "length", tokens: int = 1) -> None:
        generation = self.engine.named("generate")[-1][0][1]
        over = said.GenerationEnded(generation=generation, reason=reason, seed=5, tokens=tokens, tokens_per_second=41.5)
        await self.say(over, said.StateChanged(state="idle"))

    @property
    def text(self) -> str:
        return self.screen.page.text

    @property
    def foot(self) -> str:
        return self.screen.foot.message

    async def dump(self) -> str:
        """What is on the screen, as text, once it stands still: layouts and resizes take turns of their own."""
        page, seen = self.screen.page, [""]
        for _ in range(200):
            await self.pilot.pause(0.02)
            seen.append(self._drawn())
            width = min(page.scrollable_content_region.width - 1, MOST_CELLS)
            if seen[-1] == seen[-2] and (page.rows.width == width or width < 2):
                break
        return seen[-1]

    def _drawn(self) -> str:
        size = self.app.size
        out = io.StringIO()
        console = Console(width=size.width, height=size.height, file=out, color_system=None, legacy_windows=False)
        top = self.app.screen
        update = top._compositor.render_update(full=True, screen_stack=self.app._background_screens)
        console.print(update)
        return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n"))


Scene = Callable[[Stage], Awaitable[None]]
Play = Callable[..., None]
