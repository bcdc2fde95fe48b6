"""From a command line to the application and back."""

from __future__ import annotations

from pathlib import Path

from korformer.errors import KorformerError
from korformer.tui.app import WritingApp
from korformer.tui.keys import key_file, read_choices
from korformer.tui.opening import Opened, Opening, changed_notice, model_of, open_first
from korformer.tui.words import say


def run(
    file: Path | None, *, model: Path | None, shipped: Path | None, opening: Opening, hashes: int | None = None
) -> int | None:
    """Run the application until it ends.

    Args:
        file: a text file or a session; None for the session that was changed last.
        model: model directory; None for the one of the session.
        shipped: the weights that ship, for a session that had no model; None where there are none.
        opening: how models are opened.
        hashes: rounds of hashing in place of those of the session; None leaves them.

    Returns:
        The signal that ended it, or None.

    Raises:
        KorformerError: the file cannot be opened, or the session not saved at the end.
        Exception: whatever went wrong in the application; the session is saved then.
    """
    opened = open_first(file)
    session = opened.file.session
    if hashes is not None:
        session.hashes = hashes
    chosen = model or model_of(session.model) or shipped
    app = WritingApp(
        opened.file,
        model=chosen,
        choices=read_choices(key_file()),
        notice=notice_of(opened, asked=file is not None, model=None if model is not None else chosen),
        damage=opened.damage,
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


def notice_of(opened: Opened, *, asked: bool, model: Path | None) -> str:
    """What to say at first.

    Args:
        opened: the session.
        asked: whether a person named it.
        model: what is opened where a person named no model.
    """
    session = opened.file.session
    said = [changed_notice(opened.file)]
    if opened.problem is not None:
        said.append(say("not opened", error=opened.problem))
    elif session.title and not asked:
        said.append(say("reopened", title=session.title))
    if session.model is not None and model is not None and model_of(session.model) is None:
        said.append(say("own model gone", path=session.model, name=model.name))
    return " ".join(filter(None, said))
