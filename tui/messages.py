"""What other threads tell the screen. They only ever post; the screen alone touches the session and the widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from korformer.writing import messages
    from korformer.writing.autosave import AutosaveResult


class EngineSaid(Message):
    """What the engine has to tell, in order."""

    def __init__(self, said: tuple[messages.Message, ...]) -> None:
        super().__init__()
        self.said = said


class AutosaveSaid(Message):
    """The session was saved, or could not be."""

    def __init__(self, result: AutosaveResult) -> None:
        super().__init__()
        self.result = result
