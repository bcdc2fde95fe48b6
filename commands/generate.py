"""`korformer generate`: write on from a prompt.

stdout is the continuation, flushed token by token and ended by a line break; on a terminal the prompt stands before it
so that the page reads on. With --json it is one object a line. Pace, ending and seed go to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from korformer.commands import options
from korformer.commands.console import is_terminal
from korformer.commands.page import JsonLines, Page, PlainPage, Relay
from korformer.errors import InputError, UsageError
from korformer.events import Notice

if TYPE_CHECKING:
    from korformer.generation.settings import SamplingSettings
    from korformer.generation.stream import Stream, Summary
    from korformer.model.decode import Precision
    from korformer.model.directory import LoadedModel

ENDINGS = {
    "end": "the document ended",
    "stop": "a stop string came",
    "sentence": "the sentence ended",
    "length": "--max-new-tokens reached",
    "cancelled": "interrupted",
}


def command(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Text to write on from; - is stdin, and so is a piped stdin without PROMPT (one line break at its end "
            "is dropped). Without any a document begins.",
            show_default=False,
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Write what stands between PROMPT and this; for models trained for it."),
    ] = None,
    model: options.ModelOrShipped = None,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens to write at most.")] = 256,
    sentence_tokens: Annotated[
        int, typer.Option(help="Tokens that may come on top until the sentence ends; 0 is off.")
    ] = 0,
    top_p: Annotated[
        float, typer.Option(help="Keep the smallest set of likeliest tokens with this probability; 1 is off.")
    ] = 0.9,
    temperature: Annotated[
        float, typer.Option(help="Below 1 is safer, above 1 is wilder; 0 always takes the likeliest token.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="Keep this many of the likeliest tokens; 0 is off.")] = 0,
    min_p: Annotated[
        float, typer.Option(help="Keep tokens this likely beside the likeliest (a share); 0 is off.")
    ] = 0.0,
    typical_p: Annotated[
        float, typer.Option(help="Keep the tokens closest to the entropy, up to this probability; 1 is off.")
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Divide the scores of tokens that are already there; 1 is off.")
    ] = 1.0,
    presence_penalty: Annotated[
        float, typer.Option(help="Subtract from the scores of tokens that are already there.")
    ] = 0.0,
    frequency_penalty: Annotated[float, typer.Option(help="The same, for each time a token is there.")] = 0.0,
    penalty_range: Annotated[
        int, typer.Option(help="Newest tokens that these penalties look at; 0 is the whole text (its last 32,768).")
    ] = 512,
    dry_multiplier: Annotated[
        float, typer.Option(help="DRY: penalty on going on with a passage already written; 0 is off, 0.8 is usual.")
    ] = 0.0,
    dry_base: Annotated[float, typer.Option(help="DRY: growth of the penalty with each token more.")] = 1.75,
    dry_allowed_length: Annotated[int, typer.Option(help="DRY: shorter passages cost nothing.")] = 2,
    dry_range: Annotated[
        int, typer.Option(help="DRY: newest tokens to find the passage in; 0 is the whole text (its last 32,768).")
    ] = 0,
    dry_breaker: Annotated[
        list[str] | None,
        typer.Option(metavar="S", help='DRY: no passage goes across this string; repeat. [default: line break : " *]'),
    ] = None,
    xtc_probability: Annotated[
        float, typer.Option(help="XTC: how often to drop every obvious token but the least likely of them.")
    ] = 0.0,
    xtc_threshold: Annotated[float, typer.Option(help="XTC: probability from which a token is obvious.")] = 0.1,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=B", help="Add B to the score of a token; ids are the lines of vocab.txt from 0."),
    ] = None,
    ban: Annotated[list[int] | None, typer.Option(metavar="ID", help="A token that never comes; repeat.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same text. [default: a random one, told at the end]")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="S", help="End before this string; repeat. A line break is $'\\n'.")
    ] = None,
    hashes: options.Hashes = None,
    weights: options.Weights = "fp32",
    device: options.Device = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="One object a token, and a last one with the text, seed, pace and ending.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but warnings.")] = False,
) -> None:
    """Write on from a prompt of any length. Ctrl-C stops and keeps what is written.

    The filters work in the order of llama.cpp: bias and bans, penalties, DRY, top-k, typical, top-p, min-p, XTC,
    temperature.
    """
    settings = _settings(
        {
            "max_new_tokens": max_new_tokens,
            "sentence_tokens": sentence_tokens,
            "top_p": top_p,
            "temperature": temperature,
            "top_k": top_k,
            "min_p": min_p,
            "typical_p": typical_p,
            "repetition_penalty": repetition_penalty,
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
            "penalty_range": penalty_range,
            "dry_multiplier": dry_multiplier,
            "dry_base": dry_base,
            "dry_allowed_length": dry_allowed_length,
            "dry_range": dry_range,
            **({"dry_sequence_breakers": dry_breaker} if dry_breaker else {}),
            "xtc_probability": xtc_probability,
            "xtc_threshold": xtc_threshold,
            "logit_bias": _biases(logit_bias or []),
            "banned_tokens": ban or [],
            "seed": seed,
            "stop": stop or [],
        }
    )
    precision = options.check_weights(weights)
    from korformer.commands import checkpoint

    directory = checkpoint.resolve(model)
    text = read_prompt(prompt)
    after = None if suffix is None else _decoded(os.fsencode(suffix), "--suffix")
    from korformer.model.directory import load_model

    loaded = load_model(directory, n_hashes=hashes, device=device)
    _write(loaded, precision, text, after, settings, json_output=json_output, quiet=quiet)


def _settings(values: Mapping[str, Any]) -> SamplingSettings:
    from korformer.config import build
    from korformer.generation.settings import SamplingSettings

    return build(SamplingSettings, values, where="generate")


def _biases(given: list[str]) -> dict[int, float]:
    biases = {}
    for assignment in given:
        token, _, value = assignment.partition("=")
        try:
            biases[int(token)] = float(value)
        except ValueError:
            raise UsageError(
                f"{assignment!r} is not ID=B", where="--logit-bias", hint="For example --logit-bias 812=-5."
            ) from None
    return biases


def read_prompt(given: str | None) -> str:
    """The prompt: `given`, or stdin where that is `-` or where stdin is no terminal; else nothing.

    Raises:
        InputError: it is not UTF-8, or `-` was asked for and stdin has nothing.
    """
    if given is not None and given != "-":
        # What is not UTF-8 on a command line arrives as lone surrogates.
        return _decoded(os.fsencode(given), "PROMPT")
    if given is None and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        return ""
    data = sys.stdin.buffer.read()
    if given == "-" and not data:
        raise InputError("is empty", where="stdin", hint="Pipe a text in, or give the prompt as an argument.")
    # `echo` and editors end a text with a line break that nobody means as the start of a new line.
    return _decoded(data, "stdin").removesuffix("\n")


def _decoded(data: bytes, where: str) -> str:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start}", where=where, hint="Convert it first, for example with iconv."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as in training text


def _write(
    loaded: LoadedModel,
    weights: Precision,
    prompt: str,
    suffix: str | None,
    settings: SamplingSettings,
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    from korformer.commands.console import reporting
    from korformer.generation.infilling import infill, order_of
    from korformer.generation.stream import generate
    from korformer.model.decode import Decoder
    from korformer.training.interrupt import stop_on_signal

    begin = generate
    if suffix is not None:
        begin = partial(infill, suffix=suffix, order=order_of(loaded.config_json, where=str(loaded.path)))
    page: Page = JsonLines() if json_output else PlainPage(prompt, suffix or "")
    relay = Relay()
    with stop_on_signal() as stop:
        decoder = Decoder(model=loaded.model, weights=weights)
        with ExitStack() as report:
            relay.listen = report.enter_context(reporting(quiet=quiet))
            stream = begin(
                decoder, loaded.vocabulary, prompt, settings=settings, listen=relay, cancelled=lambda: bool(stop)
            )
            _write_tokens(stream, page, relay, report)
        ending = _ending(stream.summary, between=suffix is not None)
        with reporting(quiet=quiet) as listen:
            for event in (*relay.held, Notice(text=ending)):
                listen(event)
    if stop.signal_number is not None:
        raise typer.Exit(128 + stop.signal_number)


def _write_tokens(stream: Stream, page: Page, relay: Relay, report: ExitStack) -> None:
    """Write as the tokens come, and end the page whatever happens."""
    shared = is_terminal(sys.stdout) and is_terminal(sys.stderr)
    try:
        for token in stream:
            if shared:
                # From here on the terminal belongs to the text: bars and lines would break into it.
                report.close()
                relay.listen = None
            page.write(token)
    except BaseException:
        with suppress(OSError, ValueError):
            page.break_off()
        raise
    page.end(stream.summary)


def _ending(summary: Summary, *, between: bool) -> str:
    reason = ENDINGS[summary.stop_reason or "cancelled"]
    if between and summary.stop_reason == "end":
        reason = "the gap is filled"
    tokens = f"{summary.tokens:,} token{'' if summary.tokens == 1 else 's'}"
    return f"{tokens}, {summary.tokens_per_second:,.1f} tokens/s, {reason}, seed {summary.seed}"
