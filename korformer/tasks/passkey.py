"""Passkey retrieval: whether a language model still knows a number that it read long ago, by length and depth."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict

from korformer.config import build
from korformer.errors import UsageError
from korformer.evaluation.passkey import PasskeyCell, PasskeySettings, measure_passkeys
from korformer.evaluation.report import EvalRequest, Plot, Report, Table
from korformer.events import Listener, ignore
from korformer.model.directory import load_model

NEEDS_DATA = False
"""The texts are made here."""

WITHOUT_USE = ("--weights", "--document", "--errors", "--context", "--max-documents", "--worst", "--resamples")
"""Options of `korformer eval` that say nothing here; `trials` is how many texts there are."""


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Ask a model for numbers that it was told.

    Raises:
        ModelDirectoryError: the checkpoint is none, or damaged.
        UsageError: the model is an encoder, a length does not fit, or there are files to measure on.
    """
    if request.score is not None or request.checkpoint is None:
        raise UsageError("has no predictions to score", where="--task passkey", hint="Give a model with -m.")
    if request.keep_predictions:
        raise UsageError("has no predictions to write", where="--task passkey --predictions")
    if request.data:
        raise UsageError("makes its texts itself", where="--task passkey", hint="Leave out --data.")
    settings = build(PasskeySettings, request.options, where="--set")
    loaded = load_model(request.checkpoint, n_hashes=request.hashes, device=request.device)
    config = loaded.model.config
    if not config.causal:
        raise UsageError("an encoder does not write on", where=str(request.checkpoint), hint="Give a model of ar.")
    window = min(request.window or config.max_seq_len, config.max_seq_len)
    began = time.monotonic()
    cells = measure_passkeys(loaded.model, loaded.vocabulary, settings, window=window, seed=request.seed, listen=listen)
    seconds = time.monotonic() - began
    trials = sum(cell.trials for cell in cells)
    read = 2 * sum(cell.trials * cell.tokens for cell in cells)
    metrics: dict[str, object] = {
        "task": "passkey",
        "model": str(request.checkpoint),
        "hashes": config.n_hashes,
        "device": str(loaded.model.device),
        "window": window,
        "strictly_causal": loaded.model.strictly_causal,
        "passkey_recall": sum(cell.recalled for cell in cells) / trials,
        "passkey_preference": sum(cell.preferred for cell in cells) / trials,
        "passkey_bits_per_digit": sum(cell.bits_per_digit * cell.trials for cell in cells) / trials,
        "examples": trials,
        "digits": settings.digits,
        "seconds": round(seconds, 3),
        "tokens_per_second": read / seconds if seconds else None,
        "by_length_and_depth": [asdict(cell) for cell in cells],
    }
    lengths = sorted({cell.tokens for cell in cells})
    means = [_mean([cell for cell in cells if cell.tokens == length]) for length in lengths]
    plot = Plot(
        title="bits a digit of the hidden number, by tokens of the text",
        labels=tuple(map(str, lengths)),
        values=tuple(means),
    )
    return Report(metrics=metrics, tables=_tables(cells, metrics), plots=(plot,) if len(lengths) > 1 else ())


def _mean(cells: Sequence[PasskeyCell]) -> float:
    return sum(cell.bits_per_digit for cell in cells) / len(cells)


def _tables(cells: Sequence[PasskeyCell], metrics: dict[str, object]) -> tuple[Table, ...]:
    rows = (
        ("recalled (greedy decoding writes it)", f"{metrics['passkey_recall']:.4f}"),
        ("preferred to another number (chance: 0.5)", f"{metrics['passkey_preference']:.4f}"),
        (f"bits a digit (chance: {math.log2(10):.2f})", f"{metrics['passkey_bits_per_digit']:.4f}"),
        ("texts", f"{metrics['examples']:,}"),
    )
    note = "" if metrics["strictly_causal"] else "The model is not strictly causal: it may have seen the number."
    return (
        Table(title="Passkeys", columns=("", ""), rows=rows, note=note),
        _grid("Recalled, by tokens of the text and depth of the number", cells, "recalled"),
        _grid("Preferred to another number", cells, "preferred"),
    )


def _grid(title: str, cells: Sequence[PasskeyCell], name: str) -> Table:
    depths = list(dict.fromkeys(cell.depth for cell in cells))
    found = {(cell.tokens, cell.depth): cell for cell in cells}
    rows = tuple(
        (f"{tokens:,}", *(f"{getattr(found[tokens, depth], name)}/{found[tokens, depth].trials}" for depth in depths))
        for tokens in dict.fromkeys(cell.tokens for cell in cells)
    )
    return Table(title=title, columns=("tokens", *(f"{depth:.0%}" for depth in depths)), rows=rows)
