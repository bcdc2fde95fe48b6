"""Is a pretrained model better than counting? Bits per character beside n-gram models of exactly the same tokens.

    python benchmarks/language_model.py RUN --corpus FILE... --valid FILE [--compressors] [--output RESULT.json]

RUN is what `korformer pretrain` wrote, CORPUS what it was given. The training sequences are drawn again as the run drew
them, so the n-gram models learn from what the model learnt from and nothing else; of several epochs each token counts
once, for a count that every repetition raises would leave smoothing nothing to go by. With --whole they learn from all
of the corpus, whatever the run read of it, and with --prime the compressors learn these files. All rows predict the
same tokens, [SEP] included, and divide by the same characters.
"""

from __future__ import annotations

import argparse
import lzma
import math
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ngram import KneserNeyBigram, PairCounts, Unigram
from numpy.typing import NDArray

from korformer import __version__
from korformer.commands.console import reporting
from korformer.config import build, read_toml
from korformer.data.packing import PackSampler, epoch_packs
from korformer.data.store import TokenStore, cached_store, default_cache
from korformer.errors import InputError, KorformerError
from korformer.evaluation.language_model import LmSettings, evaluate_lm
from korformer.evaluation.result import COMPARABLE, NOT_COMPARABLE, LmResult
from korformer.model.directory import load_model
from korformer.storage import write_json
from korformer.text.documents import Documents, ReadSettings
from korformer.text.vocabulary import Vocabulary
from korformer.training.metrics import read_metrics
from korformer.training.run_directory import METRICS_NAME, SETTINGS_NAME, LoopState, read_saved_step
from korformer.training.settings import RunSettings, run_settings

Ids = NDArray[np.integer[Any]]
Probabilities = Callable[[Ids, Ids], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the result."""

    name: str
    bits_per_character: float
    perplexity: float | None
    learnt_from_tokens: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How validation went during the run.

    Attributes:
        points: step and bits per character.
        still_falling: the last look is the lowest, and lower than the run was at three quarters of its steps.
        last_quarter: how far it fell since then.
    """

    points: tuple[tuple[int, float], ...]
    still_falling: bool | None
    last_quarter: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of korformer pretrain")
    parser.add_argument("--corpus", nargs="+", required=True, help="the corpus of the run")
    parser.add_argument("--valid", nargs="+", required=True, help="held-out text")
    parser.add_argument("--cache", type=Path, help="where the run's token store is (default: as korformer pretrain)")
    parser.add_argument("--document", default="block", help="what ends a document, as in the run: block or file")
    parser.add_argument("--max-documents", type=int, help="stop after this many documents of the held-out text")
    parser.add_argument("--whole", action="store_true", help="n-gram models of the whole corpus")
    parser.add_argument("--compressors", action="store_true", help="xz and PPMd too (PPMd needs the package pyppmd)")
    parser.add_argument("--prime", nargs="+", metavar="FILE", help="text that the compressors learn instead")
    parser.add_argument("--ppmd-order", type=int, default=16, help="bytes of context of PPMd (default 16)")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        return compare(options)
    except KorformerError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def compare(options: argparse.Namespace) -> int:
    """Measure every row, print them, and write them unless one is missing."""
    saved = read_saved_step(options.run).loop
    values = read_toml(options.run / SETTINGS_NAME)
    settings = run_settings(str(values.pop("objective", "ar")), values)
    loaded = load_model(options.run, device="cuda" if torch.cuda.is_available() else "cpu")
    read = build(ReadSettings, {"document": options.document}, where="--document")
    texts = [text for text in Documents(options.valid, read) if text.strip()][: options.max_documents]
    with reporting() as listen:
        store = cached_store(
            options.corpus, loaded.vocabulary, options.cache or default_cache(), read=read, listen=listen
        )
        keep = options.compressors and not options.prime
        text, learnt_tokens = b"", 0
        if keep or not options.whole:
            pairs, text = replay(store, settings, saved, loaded.vocabulary, keep_text=keep)
            learnt_tokens = len_pairs(pairs)
        if options.whole:
            pairs = count_all(store, settings.pack_tokens, loaded.vocabulary)
        if options.prime:
            text = "".join(f"{document}\n\n" for document in Documents(options.prime, read)).encode()
            primed = cached_store(options.prime, loaded.vocabulary, options.cache or default_cache(), read=read)
            learnt_tokens = primed.tokens - primed.documents
        result = evaluate_lm(loaded.model, loaded.vocabulary, texts, LmSettings(by_context=False), listen)
    rows = [
        counted_row("unigram", Unigram(pairs).probabilities, loaded.vocabulary, texts, pairs, result),
        counted_row("Kneser-Ney bigram", KneserNeyBigram(pairs).probabilities, loaded.vocabulary, texts, pairs, result),
        Row(
            name=f"model after step {saved.step:,}",
            bits_per_character=result.bits_per_character,
            perplexity=result.perplexity,
            learnt_from_tokens=saved.tokens,
        ),
    ]
    skipped = []
    if options.compressors:
        ppmd = partial(ppmd_bytes, order=options.ppmd_order)
        for name, size in (("xz", xz_bytes), (f"PPMd of order {options.ppmd_order}", ppmd)):
            row = compressor_row(name, size, text, texts, learnt_tokens)
            rows.append(row) if row else skipped.append(name)
    curve = validation_curve(read_metrics(options.run / METRICS_NAME), upto=saved.step)
    print(rendered(rows, result, curve))
    if skipped:
        print(f"skipped: {', '.join(skipped)}; nothing is written", file=sys.stderr)
        return 1
    if options.output is not None:
        write_json(options.output, as_json(options, settings, result, rows, curve))
    return 0


def replay(
    store: TokenStore, settings: RunSettings, saved: LoopState, vocabulary: Vocabulary, *, keep_text: bool
) -> tuple[PairCounts, bytes]:
    """Draw the run's training sequences again and count them.

    Raises:
        InputError: the corpus is not the run's, or other tokens come out than the run consumed.
    """
    if store.fingerprint != saved.corpus:
        raise InputError("the corpus is not the one of the run", hint="Give --corpus the same files in the same order.")
    sampler = PackSampler(
        store, pack_tokens=settings.pack_tokens, seed=settings.training.seed, shuffle=settings.data.shuffle
    )
    pairs = PairCounts(vocabulary.size)
    pieces: list[bytes] = []
    spelling = [vocabulary.token_bytes(token) for token in range(vocabulary.size)] if keep_text else []
    consumed = 0
    for _ in range(saved.step * settings.training.accumulate * settings.training.batch_size):
        first_epoch = sampler.epoch == 0
        packs = sampler.next_packs(1)
        if first_epoch:
            pairs.add(packs.tokens, packs.targets)
            if keep_text:
                targets = packs.targets[packs.targets >= 0]
                pieces += [spelling[token] or b"\n\n" for token in targets.tolist()]
        consumed += int((packs.targets >= 0).sum())
    if consumed != saved.tokens:
        raise InputError(f"the run consumed {saved.tokens:,} tokens, drawing them again gives {consumed:,}")
    return pairs, b"".join(pieces)


def count_all(store: TokenStore, pack_tokens: int, vocabulary: Vocabulary) -> PairCounts:
    """Count a whole token store."""
    pairs = PairCounts(vocabulary.size)
    for packs in epoch_packs(store, pack_tokens=pack_tokens, batch=64):
        pairs.add(packs.tokens, packs.targets)
    return pairs


def len_pairs(pairs: PairCounts) -> int:
    """Tokens that were counted."""
    return int(pairs.totals()[1].sum())


def counted_row(
    name: str,
    probabilities: Probabilities,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    pairs: PairCounts,
    model: LmResult,
) -> Row:
    """The row of an n-gram model, over the tokens and characters of the model's row."""
    bits, tokens = 0.0, 0
    for ids in vocabulary.encode_batch(texts, add_special_tokens=True):
        array = np.array(ids)
        bits -= float(np.log2(probabilities(array[:-1], array[1:])).sum())
        tokens += len(ids) - 1
    if tokens != model.tokens:
        raise RuntimeError(f"{name} predicted {tokens} tokens, the model {model.tokens}")
    return Row(
        name=name,
        bits_per_character=bits / model.characters,
        perplexity=2 ** (bits / tokens),
        learnt_from_tokens=len_pairs(pairs),
    )


def compressor_row(
    name: str, size: Callable[[bytes], int | None], learnt: bytes, texts: Sequence[str], learnt_tokens: int
) -> Row | None:
    """What the held-out text adds to the compressed training text."""
    held_out = "".join(f"{text}\n\n" for text in texts).encode()
    alone, both = size(learnt), size(learnt + held_out)
    if alone is None or both is None:
        return None
    bits_per_character = 8 * (both - alone) / sum(map(len, texts))
    return Row(
        name=f"{name} (text appended to it)",
        bits_per_character=bits_per_character,
        perplexity=None,
        learnt_from_tokens=learnt_tokens,
    )


def xz_bytes(data: bytes) -> int:
    """Compressed size with a dictionary that reaches over everything."""
    dictionary = min(1 << 30, max(1 << 20, 1 << (len(data) - 1).bit_length())) if data else 1 << 20
    return len(
        lzma.compress(
            data,
            format=lzma.FORMAT_RAW,
            filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}],
        )
    )


def ppmd_bytes(data: bytes, order: int = 16) -> int | None:
    """Compressed size with PPMd variant H, or None where the package is missing."""
    try:
        import pyppmd
    except ImportError:
        return None
    encoder = pyppmd.Ppmd7Encoder(order, 1 << 30)
    return len(encoder.encode(data)) + len(encoder.flush())


def validation_curve(metrics: Iterable[Mapping[str, Any]], *, upto: int) -> Curve:
    """The looks at held-out text up to a step."""
    points = []
    for line in metrics:
        value = line.get(COMPARABLE, line.get(NOT_COMPARABLE))
        if line.get("event") == "validation" and isinstance(value, int | float) and line.get("step", 0) <= upto:
            points.append((int(line["step"]), float(value)))
    before = [value for step, value in points[:-1] if step <= points[-1][0] * 0.75]
    if not before:
        return Curve(points=tuple(points), still_falling=None, last_quarter=None)
    last = points[-1][1]
    return Curve(
        points=tuple(points),
        still_falling=last == min(value for _, value in points) and last < before[-1],
        last_quarter=before[-1] - last,
    )


def rendered(rows: Sequence[Row], result: LmResult, curve: Curve) -> str:
    """Everything as text."""
    lines = [f"{'':34} {'bits/character':>14} {'perplexity':>12} {'learnt from tokens':>19}"]
    for row in rows:
        perplexity = "-" if row.perplexity is None else f"{row.perplexity:,.1f}"
        lines.append(f"{row.name:34} {row.bits_per_character:14.4f} {perplexity:>12} {row.learnt_from_tokens:19,}")
    lines.append(f"over {result.documents:,} documents, {result.tokens:,} tokens, {result.characters:,} characters")
    if result.not_comparable:
        lines.append(f"Not comparable: {result.not_comparable}.")
    if curve.points:
        lines += ["", f"{'step':>8} {'validation':>12}"]
        every = max(1, math.ceil(len(curve.points) / 12))
        lines += [f"{step:8,} {value:12.4f}" for step, value in curve.points[::-1][::every][::-1]]
    if curve.still_falling is not None:
        verdict = "yes" if curve.still_falling else "no"
        lines.append(f"still falling: {verdict} ({curve.last_quarter:+.4f} bits/character in the last quarter)")
    return "\n".join(lines)


def as_json(
    options: argparse.Namespace, settings: RunSettings, result: LmResult, rows: Sequence[Row], curve: Curve
) -> dict[str, object]:
    """Everything with what is needed to repeat it."""
    return {
        "rows": [asdict(row) for row in rows],
        "held_out": result.as_json(),
        "validation": asdict(curve),
        "settings": settings.model_dump(mode="json"),
        "corpus": [Path(name).name for name in options.corpus],
        "valid": [Path(name).name for name in options.valid],
        "versions": {"korformer": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    sys.exit(main())
