"""korformer: build and use a long-context Korean language model from the terminal.

The library reads, trains, measures and generates; `korformer.commands` and `korformer.tui` sit on top of it.
"""

__version__ = "0.1.0"
