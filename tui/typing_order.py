"""Keys one after another: a key is done before the next one is looked at.

Textual hands a key to the widget that has the focus and looks at the next one at once. What a widget does not take
itself rises to the screen's bindings meanwhile, so a letter typed fast, or while the machine was busy, overtakes the
arrow before it, and what is typed after a key that moves the focus goes to where the focus was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

PATIENCE_SECONDS = 2.0
"""Longest wait for a key to be done; a dialog that is slow to open must not swallow the keyboard."""


class TypingOrder:
    """A queue of keys.

    Args:
        app: whose keys they are.
        take: hands a key on as Textual does.
    """

    def __init__(self, app: App[None], take: Callable[[events.Key], Awaitable[None]]) -> None:
        self._app = app
        self._take = take
        self._keys: asyncio.Queue[events.Key] = asyncio.Queue()
        self._open = 0

    @property
    def busy(self) -> bool:
        """Whether a key waits or is being done."""
        return self._open > 0

    def add(self, key: events.Key) -> None:
        """Take a key."""
        self._open += 1
        self._keys.put_nowait(key)

    async def run(self) -> None:
        """Hand the keys on, for as long as the application runs."""
        while True:
            key = await self._keys.get()
            focused = self._app.focused
            await self._take(key)
            # The key rises through these; what it sets going at the application comes back to it once more.
            path = [focused, *focused.ancestors] if focused is not None else [self._app.screen, self._app]
            for node in (*path, self._app):
                await _drained(node)
            self._open -= 1


async def _drained(node: MessagePump) -> None:
    """Wait until a node has done what waits for it now."""
    done = asyncio.Event()
    if node.is_running and node.call_later(done.set):
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PATIENCE_SECONDS)
