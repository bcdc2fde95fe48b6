"""Does a model repeat itself? Whole documents that it writes from nothing, beside held-out text of the same length.

    python benchmarks/repetition.py MODEL --data FILE... --out samples.jsonl [--set temperature=1] [--output FILE]

Every sample begins with an empty prompt and goes on for `--tokens` tokens with the settings that `korformer generate`
has by default, but for those of `--set`, and with [SEP] forbidden so that it gets there; its seed is its number, and no
sample is left out or edited. Two
figures of each, the same for the first `--tokens` tokens of every held-out document that is long enough:

    repeated 4-grams   share of the sequences of four tokens that came before in the same text
    loops              some passage follows on itself at least twice, over 60 tokens or more

Samples that are in `--out` already are not written again, so it may be stopped and started anew.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from measuring import Facts, arguments_parser, run_benchmark
from numpy.typing import NDArray

from korformer.config import build, parse_assignments
from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import generate
from korformer.model.decode import Decoder
from korformer.model.directory import load_model
from korformer.text.documents import Documents
from korformer.text.special import SEP_ID

GRAM = 4
LOOP_TOKENS = 60
LONGEST_PASSAGE = 400

Ids = NDArray[np.int64]


def repeated(ids: Sequence[int]) -> float:
    """Share of the 4-grams of a text that came before in it."""
    grams = list(zip(*(ids[start:] for start in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def loops(ids: Sequence[int]) -> bool:
    """Whether some passage is repeated at once, at least twice and over at least `LOOP_TOKENS` tokens."""
    text = np.asarray(ids)
    for period in range(1, min(LONGEST_PASSAGE, len(text) // 3) + 1):
        if _longest_run(text[period:] == text[:-period]) >= max(2 * period, LOOP_TOKENS):
            return True
    return False


def _longest_run(same: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def write(
    seeds: Sequence[int], *, model: Path, tokens: int, weights: str, threads: int, sampling: Facts
) -> list[Facts]:
    """Samples of some seeds: their token ids and text."""
    torch.set_num_threads(threads)
    loaded = load_model(model)
    decoder = Decoder(model=loaded.model, weights=weights)  # type: ignore[arg-type]
    samples = []
    for seed in seeds:
        settings = build(
            SamplingSettings, {"seed": seed, "max_new_tokens": tokens, "banned_tokens": (SEP_ID,), **sampling}
        )
        stream = generate(decoder, loaded.vocabulary, "", settings)
        ids = [token.token_id for token in stream]
        samples.append({"seed": seed, "ids": ids, "text": loaded.vocabulary.decode(ids), "settings": sampling})
    return samples


def all_samples(options: argparse.Namespace) -> list[Facts]:
    """Those that are kept, and the rest, written now and kept one by one."""
    kept: dict[int, Facts] = {}
    sampling = parse_assignments(options.set)
    if options.out.exists():
        kept = {sample["seed"]: sample for sample in map(json.loads, options.out.read_text("utf-8").splitlines())}
    if any(sample.get("settings", {}) != sampling for sample in kept.values()):
        raise SystemExit(f"{options.out} has samples of other settings: name another file")
    missing = [seed for seed in range(options.samples) if seed not in kept]
    threads = max(1, (os.cpu_count() or 1) // options.processes)
    work = partial(
        write,
        model=options.model,
        tokens=options.tokens,
        weights=options.weights,
        threads=threads,
        sampling=sampling,
    )
    fresh = multiprocessing.get_context("spawn")  # a forked process would have torch's threads, but not running
    pool = ProcessPoolExecutor(options.processes, mp_context=fresh)
    with pool, options.out.open("a", encoding="utf-8") as file:
        for (sample,) in pool.map(work, ([seed] for seed in missing)):
            kept[sample["seed"]] = sample
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")
            file.flush()
    return [kept[seed] for seed in range(options.samples)]


def held_out(options: argparse.Namespace) -> Iterator[list[int]]:
    """The beginnings of the documents that are long enough."""
    vocabulary = load_model(options.model).vocabulary
    for document in Documents(options.data):
        ids = vocabulary.encode(document, add_special_tokens=False)
        if len(ids) >= options.tokens:
            yield ids[: options.tokens]


def figures_of(texts: Iterable[Sequence[int]]) -> Facts:
    """Both figures over several texts."""
    shares, looping = [], 0
    for ids in texts:
        shares.append(repeated(ids))
        looping += loops(ids)
    if not shares:
        raise SystemExit("no held-out document is long enough: give more, or fewer --tokens")
    return {
        "texts": len(shares),
        "repeated": statistics.fmean(shares),
        "most_repeated": max(shares),
        "loops": looping / len(shares),
    }


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Write, count and compare."""
    samples = all_samples(options)
    ours = figures_of(sample["ids"] for sample in samples)
    theirs = figures_of(islice(held_out(options), options.samples))
    figures = {"tokens": options.tokens, "weights": options.weights, "samples": ours, "held_out": theirs}
    figures["settings"] = parse_assignments(options.set)
    lines = [f"{'':12} {'texts':>6} {'repeated 4-grams':>17} {'the most':>9} {'loops':>7}"]
    for name, row in (("samples", ours), ("held-out", theirs)):
        shares = f"{row['repeated']:17.2%} {row['most_repeated']:9.2%} {row['loops']:7.1%}"
        lines.append(f"{name:12} {row['texts']:6} {shares}")
    ratio = ours["repeated"] / theirs["repeated"] if theirs["repeated"] else math.inf
    lines.append(f"repeated 4-grams, samples over held-out: {ratio:.2f}")
    return figures, "\n".join(lines), []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("model", type=Path, help="a model directory")
    parser.add_argument("--data", nargs="+", required=True, help="held-out text")
    parser.add_argument("--out", type=Path, required=True, help="file of the samples, JSON lines")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--weights", default="fp32", choices=["fp32", "bf16", "int8"])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a sampling setting")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="samples written at a time")
    return run_benchmark(parser, arguments, lambda facts: facts, benchmark)


if __name__ == "__main__":
    sys.exit(main())
