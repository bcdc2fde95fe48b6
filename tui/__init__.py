"""The writing page: the Textual application over the library.

    app         the application: themes, keys, one engine, what happens at the end
    screens     the page with its panels; lists to pick from, help
    widgets     page, panels, status line
    actions     every command, with its key and its words, in one table
    words       what the screen says, in English and Korean
    terminal    what has to be set before Textual is imported
    rows, cells a text in rows of terminal cells

Everything that a person may lose is kept by `korformer.writing`; nothing here imports torch.
"""

from korformer.tui import terminal

terminal.prepare_environment()
