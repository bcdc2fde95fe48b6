"""How long does one generated token take on this GPU, recorded and launched kernel by kernel?

    python benchmarks/gpu_decode.py [--contexts 4096 65536] [--output benchmarks/results/gpu-decode.json]

12 layers of 768 with 22,000 tokens of vocabulary, contexts of random tokens, weights in each precision. "recorded" is
what `korformer generate` does on CUDA, one replayed graph a token; "launched" is the same state with its recording
taken away. Before anything is timed, both have to give the same scores. Reading a context is timed too.

Without a GPU it leaves with 2 and writes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from gpu_measuring import NO_GPU, gpu_environment, refuse_without_gpu, seconds
from measuring import Facts, arguments_parser, measure, run_benchmark
from peers import Shape, korformer_model

from korformer.model.decode import DecodeState

TOLERANCE = 2e-2
"""Most that scores of the two ways may differ by: rounding in another order, in bf16."""


def measurement(specification: Facts) -> Facts:
    """Milliseconds of a token by context, precision and way, and seconds of reading each context."""
    contexts, steps = specification["contexts"], specification["steps"]
    model = korformer_model(Shape(length=max(contexts) + 1024)).eval().to("cuda")
    tokens = torch.randint(5, model.vocabulary_size, (max(contexts),), generator=torch.Generator().manual_seed(0))
    reading: Facts = {}
    found: Facts = {"reading_seconds": reading, "milliseconds": {}}
    for context in contexts:
        begun = time.perf_counter()
        read = model.new_state()
        read.append(tokens[:context].tolist())
        torch.cuda.synchronize()
        reading[str(context)] = time.perf_counter() - begun
        snapshot = read.snapshot()
        del read
        for weights in specification["weights"]:
            times: dict[str, list[float]] = {"recorded": [], "launched": []}
            states = {way: DecodeState.restore(model, snapshot, weights) for way in times}
            states["launched"]._recorded = None
            scores = [state.append([7]) for state in states.values()]
            difference = float((scores[0] - scores[1]).abs().max())
            if difference > TOLERANCE:
                raise SystemExit(f"recorded and launched scores differ by {difference}")
            for _ in range(specification["rounds"]):
                for way, state in states.items():
                    times[way].append(seconds(lambda state=state: state.append([7]), steps))  # type: ignore[misc]
            found["milliseconds"][f"{context} {weights}"] = {
                way: statistics.median(taken) * 1e3 for way, taken in times.items()
            }
    return found


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure everything."""
    figures = measure(
        __file__,
        {"contexts": options.contexts, "weights": options.weights, "steps": options.steps, "rounds": options.rounds},
    )
    lines = [f"{'context, weights':24} {'recorded':>12} {'launched':>12}"]
    for name, row in figures["milliseconds"].items():
        lines.append(f"{name:24} {row['recorded']:9.2f} ms {row['launched']:9.2f} ms")
    for context, taken in figures["reading_seconds"].items():
        lines.append(f"reading {context} tokens: {taken:.2f} s")
    return {"gpu": gpu_environment(), **figures}, "\n".join(lines), []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 65536])
    parser.add_argument("--weights", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "int8"])
    parser.add_argument("--steps", type=int, default=50, help="timed tokens of a turn (default 50)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way (default 3)")
    if refuse_without_gpu():
        parser.parse_args(arguments)
        return NO_GPU
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
