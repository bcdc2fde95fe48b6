"""From a command line to the application and back."""

from __future__ import annotations

from pathlib import Path

from korformer.errors import KorformerError
from korformer.tui.app import WritingApp
from korformer.tui.keys import key_file, read_choices
from korformer.tui.screens.filing import Opening, open_any, open_latest
from korformer.tui.words import say


def run(file: Path | None, *, model: Path | None, shipped: Path | None, opening: Opening) -> int | None:
    """Run the application until it ends.

    Args:
        file: a text file or a session; None for the session that was changed last.
        model: model directory; None for the one of the session.
        shipped: the weights that ship, for a session that had no model; None where there are none.
        opening: how models are opened.

    Returns:
        The signal that ended it, or None.

    Raises:
        KorformerError: the file cannot be opened, or the session not saved at the end.
        Exception: whatever went wrong in the application; the session is saved then.
    """
    session = open_latest() if file is None else open_any(file)
    title = session.session.title
    notice = say("reopened", title=title) if file is None and title else ""
    app = WritingApp(
        session,
        model=model or model_of(session.session.model) or shipped,
        choices=read_choices(key_file()),
        notice=notice,
        opening=opening,
    )
    try:
        app.run()
    finally:
        app.close_up()
    if app.crash is not None:
        if isinstance(app.crash, KorformerError):
            raise app.crash
        raise RuntimeError(say("crashed", error=app.crash)) from app.crash
    return app.signal_number


def model_of(path: str | None) -> Path | None:
    """The model that a session was written with, where it is still there."""
    return Path(path) if path is not None and Path(path).is_dir() else None
