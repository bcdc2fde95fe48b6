"""The `korformer` program: one subcommand a file, imported when it is called, and the only place where errors end.

torch, rich, pydantic and the like are imported inside commands, so that `--help` stays fast.

Exit codes: 0 done, 1 to 6 as `korformer.errors` says (1 for our own faults too), 2 for a command line that cannot be
parsed, 128 plus the signal's number for what a signal ended, 141 where the reader of stdout went away.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from korformer import __version__
from korformer.commands import registry
from korformer.commands.console import printable
from korformer.errors import KorformerError, PathError, ResourceError, UsageError, is_out_of_memory

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C asks the program to end; it unwinds the way Ctrl-C does."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


class Commands(TyperGroup):
    """The subcommands of the registry, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, without importing anything."""
        return list(registry.COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command; None where there is none of this name."""
        return registry.load(cmd_name) if cmd_name in registry.COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that a line calls.

        Raises:
            UsageError: there is none of this name; the nearest one is named.
        """
        name = args[0]
        if name in registry.COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from korformer.config import nearest

        guess = nearest(name, registry.COMMANDS)
        hint = f"Did you mean {guess}?" if guess else f"The commands are: {', '.join(registry.COMMANDS)}."
        raise UsageError(f"no such command: {name}", hint=hint)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands from the registry, so that none is imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(registry.COMMANDS.items()))


app = typer.Typer(
    name="korformer",
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: korformer COMMAND --help",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"korformer {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere on the line.")
    ] = False,
) -> None:
    """Build and use a long-context Korean language model from the terminal.

    Results go to stdout, everything else to stderr. An input may be a file, a directory, a glob or - for stdin, and
    may be compressed (.gz .bz2 .xz .zst).
    """


_WRITING = ("generate", "tui")
"""Commands that mostly compute one token after another."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with the documented exit code; no message to a user is a traceback.

    Args:
        arguments: the command line after the program's name; None for the process's own.

    Raises:
        SystemExit: always.
    """
    given, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    _choose_waiting(given)
    with _utf8_streams(), warnings.catch_warnings(), _signals_as_exceptions():
        if not (debug or sys.warnoptions):
            # What libraries tell programmers is no message to a user.
            warnings.simplefilter("ignore")
        try:
            exit_code = _run(given)
        except BaseException as error:
            exit_code = _explain(error, debug)
    sys.exit(exit_code)


def _choose_waiting(given: Sequence[str]) -> None:
    """How OpenMP's threads wait for one another; it reads that when torch is imported.

    Threads that spin long come to a crawl as soon as another program wants a core; threads that never spin lose time to
    waking up at every product. Writing goes from one thread to all of them and back hundreds of times a token: there
    OpenMP's own long spinning pays.
    """
    if "OMP_WAIT_POLICY" not in os.environ and not (given and given[0] in _WRITING):
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without any `--debug` before a bare `--`, and whether there was one."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    asked = len(kept) < end or os.environ.get("KORFORMER_DEBUG", "") not in {"", "0"}
    return [*kept, *arguments[end:]], asked


def _run(arguments: list[str]) -> int:
    program = get_command(app)
    if "_KORFORMER_COMPLETE" in os.environ:
        program.main(arguments, prog_name="korformer")
    if not arguments:
        arguments = ["--help"]
    with program.make_context("korformer", arguments) as context:
        program.invoke(context)
    if sys.stdout is not None:
        # Here and not at the interpreter's end: a full disk or a gone reader is told properly.
        sys.stdout.flush()
    return 0


@contextmanager
def _utf8_streams() -> Iterator[None]:
    """Korean goes in and out as UTF-8 whatever the locale says."""
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "surrogateescape"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    yield


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the program as Ctrl-C does; a signal that is ignored (nohup) stays ignored."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    replaced = {}
    with suppress(ValueError):  # not the main thread: signals are somebody else's
        for number in _ENDING_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                replaced[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)


def _explain(error: BaseException, debug: bool) -> int:
    """Tell a person what ended the program, on stderr, and say with which exit code it leaves."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    _give_up_stdout_if_broken()
    if isinstance(error, BrokenPipeError):  # the reader of stdout went away (`| head`): there is nothing to say
        return 128 + signal.SIGPIPE
    if debug:
        traceback.print_exception(error)
    message, exit_code = _message(error)
    if sys.stderr is not None and not _told_by_another(error, exit_code):
        with suppress(OSError, ValueError):
            print(f"korformer: {printable(message, keep=chr(10))}", file=sys.stderr, flush=True)
    return exit_code


def _told_by_another(error: BaseException, exit_code: int) -> bool:
    """Whether another of the processes that torchrun started tells this error to the person.

    Before they have found each other, every process of a machine meets what is wrong with the command line or with
    files; only memory runs out in one alone.
    """
    told = getattr(error, "told", None)
    if isinstance(told, bool):
        return told
    own = isinstance(error, ResourceError) or (exit_code == 1 and not isinstance(error, KorformerError))
    return os.environ.get("LOCAL_RANK", "0") != "0" and not own


def _give_up_stdout_if_broken() -> None:
    """Throw away what cannot be written, or the interpreter fails at its end over the same bytes."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _message(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KorformerError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        number = getattr(error, "signal_number", signal.SIGINT)
        return "interrupted", 128 + number
    if hasattr(error, "format_message"):  # a command line that Typer cannot parse; its class has no public name
        return _usage_message(error), 2
    if isinstance(error, typer.Abort):
        return "stopped", 1
    mended = _as_known_error(error)
    if mended is not None:
        return str(mended), mended.exit_code
    return f"internal error: {type(error).__name__}: {error}. Run again with --debug and report what it shows.", 1


def _usage_message(error: Any) -> str:
    text = str(error.format_message()).strip()
    guesses = getattr(error, "possibilities", None)
    if guesses:
        text = f"no such option: {error.option_name}. Did you mean {' or '.join(guesses)}?"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "korformer"
    return f"{text[:1].lower()}{text[1:].rstrip('.')}{'' if text.endswith('?') else '.'} See {path} --help."


def _as_known_error(error: BaseException) -> KorformerError | None:
    """What the operating system or torch says, in our words; None where it is our own fault."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return ResourceError(
            f"no room to write ({error.strerror})",
            where=_name(error.filename) or "output",
            hint="Free space and run it again.",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return PathError(str(error.strerror), where=_name(error.filename))
    if is_out_of_memory(error):
        return ResourceError("out of memory", hint="Use a smaller model, batch, window or number of workers.")
    return None


def _name(filename: object) -> str | None:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else None


if __name__ == "__main__":
    main()
