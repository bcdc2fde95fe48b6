"""Write docs/benchmarks.md from the figures in benchmarks/results/.

    python benchmarks/tables.py [--check]

Every figure of that page comes from a JSON file that one of the scripts wrote; a file that is not there leaves the
words "not measured yet". With --check nothing is written, and the exit code is 1 where the page is not what they give.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measuring import RESULTS, Facts

from korformer.storage import read_json

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
OURS, MIX, SMALL = "korformer fast", "korformer fast, presets' mix", "korformer small-memory"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        command: what measures it; figures tell with what options they were.
        file: the name of the figures.
        text: what the figures are, before the table.
        rendered: the table and what is to be said below it.
    """

    title: str
    command: str
    file: str
    text: str
    rendered: Callable[[Facts], str]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _times(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


def training(figures: Facts) -> str:
    """Speed and memory of a training step."""
    systems = figures["systems"]
    fast = systems[OURS]["tokens_per_second"]
    mix, small = systems.get(MIX), systems.get(SMALL)
    rows = []
    for name, row in systems.items():
        ours = name.startswith("korformer")
        rows.append(
            (
                name + (" *" if row["extrapolated"] else ""),
                f"{row['tokens_per_second']:,.0f}",
                f"{row['peak_gb']:.1f}",
                "" if ours else _times(fast, row["tokens_per_second"]),
                "" if ours or mix is None else _times(mix["tokens_per_second"], row["tokens_per_second"]),
                "" if ours or small is None else _times(small["tokens_per_second"], row["tokens_per_second"]),
                "" if ours or small is None else f"{small['peak_gb'] / row['peak_gb']:.0%}",
            )
        )
    head = (
        "",
        "tokens/s",
        "peak GB",
        "fast mode is, times",
        "presets' mix is, times",
        "small-memory mode is, times",
        "its memory",
    )
    marked = [row["measured_at_depths"] for row in systems.values() if row["extrapolated"]]
    below = f"\n\nMedians of {figures['rounds']} interleaved processes."
    if marked:
        depth = figures["shape"]["depth"]
        depths = " and ".join(map(str, marked[0]))
        below += f" \\* measured at depths {depths} and extrapolated linearly to {depth} layers, time and memory."
    return table(head, rows) + below


def memory(figures: Facts) -> str:
    """Memory for activations at two depths."""
    rows = [
        (name.replace(" @", ", layers: "), f"{row['peak_gb']:.2f}", f"{row['activations_gb']:.3f}")
        for name, row in figures["rows"].items()
    ]
    shallow, deep = figures["shape"]["depth"][0], figures["shape"]["depth"][-1]
    return (
        table(("", "peak GB", "activations GB"), rows)
        + f"\n\nFrom {shallow} to {deep} layers, activations in small-memory mode: {figures['growth']:+.1%}."
    )


def decode(figures: Facts) -> str:
    """Time of a token, prefill, and a small model's writing."""
    short, long, reading = figures["short"], figures["long"], figures["prefill"]
    rows = []
    for name, milliseconds in short["milliseconds"].items():
        kind = name.removeprefix("korformer ")
        floor = short["floor"].get(kind)
        times = _times(milliseconds, short["milliseconds"]["korformer fp32"])
        bounds = ("", "") if floor is None else (f"{floor:.1f}", f"{1.4 * floor + 3:.1f}")
        rows.append((name, f"{milliseconds:,.1f}", *bounds, times))
    parts = [table(("4,096 tokens of context", "ms a token", "floor", "1.4 x floor + 3", "x fp32"), rows)]
    products = [
        f"{kind}: {next(iter(found))}, {next(iter(found.values())) / 1e9:.1f} GB/s"
        for kind, found in short["bandwidths"].items()
    ]
    parts.append(
        "Fastest products over the output layer's matrix, copies of it that no cache holds: "
        + "; ".join(products)
        + "."
    )
    rows = []
    for name, found in long["milliseconds"].items():
        contexts = sorted(found, key=int)
        at_short = f"{found[contexts[0]]:.1f}" if len(contexts) > 1 else ""
        ratio = _times(found[contexts[-1]], found[contexts[0]]) if len(contexts) > 1 else ""
        rows.append((name, at_short, f"{found[contexts[-1]]:.1f}", ratio))
    parts.append(table((f"window of {long['shape']['length']:,}", "ms at 4,096", "ms at 65,536", "ratio"), rows))
    ratio = reading["tokens_per_second"] / reading["training_tokens_per_second"]
    parts.append(
        f"Reading 5,000 tokens: {reading['tokens_per_second']:,.0f} tokens/s, {ratio:.1f} times the "
        f"{reading['training_tokens_per_second']:,.0f} tokens/s of training in the same run."
    )
    writing = figures["writing"]
    rates = writing["tokens_per_second"]
    dense = rates["dense, key-value cache"]
    rows = [(name, f"{rate:.0f}", _times(rate, dense)) for name, rate in rates.items()]
    parts.append(
        table((f"{writing['parameters'] / 1e6:.0f} million parameters, sampling included", "tokens/s", "x dense"), rows)
    )
    taken = figures["first_character_seconds"]
    parts.append(
        f"A whole `korformer generate` process of that size, from its start to the first character: "
        f"{median(taken):.2f} s (median of {len(taken)}, the first {taken[0]:.2f} s)."
    )
    return "\n\n".join(parts)


def half_million(figures: Facts) -> str:
    """One step over half a million tokens."""
    length = figures["shape"]["length"]
    rows = [
        (name, f"{row['seconds']:,.0f}", f"{length / row['seconds']:,.0f}", f"{row['peak_gb']:.2f}")
        for name, row in figures["rows"].items()
    ]
    return table(("", "seconds", "tokens/s", "peak GB of the process"), rows)


def duplication(figures: Facts) -> str:
    """Accuracy by rounds in training and evaluation."""
    rows, evaluated = [], figures["evaluate"]
    for name, row in figures["rows"].items():
        shown = [f"{row['accuracy'][other]:.1%}" if other in row["accuracy"] else "" for other in evaluated]
        rows.append((name, *shown, f"{row['learnt_at_step']:,}" if row["learnt_at_step"] else "-"))
    return table(("trained with", *evaluated, "99% at step"), rows)


def gpu_training(figures: Facts) -> str:
    """Speed, memory and utilisation on a GPU."""
    parts = [f"{figures['gpu']['gpu']}, CUDA {figures['gpu']['cuda']}, Triton {figures['gpu']['triton']}."]
    for length, found in figures["lengths"].items():
        rows = []
        for name, row in found["systems"].items():
            if row["out_of_memory"]:
                rows.append((name, "out of memory", "", "", ""))
                continue
            used = "" if row["utilisation"] is None else f"{row['utilisation']:.1%}"
            rows.append(
                (name, f"{row['tokens_per_second']:,.0f}", f"{row['peak_gb']:.1f}", used, str(row["precision"]))
            )
        head = (f"{found['batch']} x {int(length):,} tokens", "tokens/s", "peak GB", "FLOP utilisation", "precision")
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def page_speed(figures: Facts) -> str:
    """What the writing page takes."""
    keys, rates = figures["key_to_screen"], figures["tokens_per_second"]
    rows = [
        ("first paint", f"{figures['first_paint_seconds']:.2f} s", ""),
        ("key to screen while it writes", f"{keys['streaming_p50_ms']:.0f} ms", f"{keys['streaming_p95_ms']:.0f} ms"),
        ("syllable to screen", f"{keys['typing_p50_ms']:.0f} ms", f"{keys['typing_p95_ms']:.0f} ms"),
    ]
    return "\n\n".join(
        [
            table(("", "median", "95th percentile"), rows),
            f"It writes {rates['korformer tui']:.0f} tokens/s, `korformer generate` {rates['korformer generate']:.0f}: "
            f"{figures['share_of_the_rate']:.0%} of the rate.",
        ]
    )


def gpu_decode(figures: Facts) -> str:
    """Milliseconds of a token and seconds of reading on a GPU."""
    rows = [
        (name, f"{row['recorded']:.2f}", f"{row['launched']:.2f}", f"{row['launched'] / row['recorded']:.1f}")
        for name, row in figures["milliseconds"].items()
    ]
    reading = [(f"{int(context):,}", f"{taken:.2f}") for context, taken in figures["reading_seconds"].items()]
    return "\n\n".join(
        [
            f"{figures['gpu']['gpu']}, CUDA {figures['gpu']['cuda']}.",
            table(("context, weights", "ms recorded", "ms launched", "ratio"), rows),
            table(("tokens read", "seconds"), reading),
        ]
    )


_SHAPE = "12 layers of 768, 12 heads, 22,000 tokens of vocabulary, batch 1, optimizer included"

SECTIONS = [
    Section(
        title="Training, 5,120 tokens",
        command="training.py",
        file="training-5120",
        text=f"{_SHAPE}.",
        rendered=training,
    ),
    Section(
        title="Training, 16,384 tokens",
        command="training.py --length 16384",
        file="training-16384",
        text=f"{_SHAPE}.",
        rendered=training,
    ),
    Section(
        title="Training, 65,536 tokens",
        command="training.py --length 65536 --rounds 1",
        file="training-65536",
        text=f"{_SHAPE}.",
        rendered=training,
    ),
    Section(
        title="Memory and depth",
        command="memory.py",
        file="memory",
        text="One step of 5,120 tokens; activations are the peak without weights, gradients and optimizer.",
        rendered=memory,
    ),
    Section(
        title="Filling masked tokens",
        command="masked.py",
        file="masked",
        text="6 layers of 512, 512 tokens, batch 8, attention of reformer-pytorch's kind on both sides.",
        rendered=training,
    ),
    Section(
        title="Generation",
        command="decode.py",
        file="decode",
        text="12 layers of 768, 12 heads, 22,000 tokens of vocabulary. The floor is (bytes of weights + bytes of keys "
        "and values read) / bandwidth of the fastest stock matrix-vector product of that type in the same run.",
        rendered=decode,
    ),
    Section(
        title="Half a million tokens",
        command="half_million.py",
        file="half_million",
        text="One training step over 524,288 tokens at the size of the notebook that came with transformers' Reformer.",
        rendered=half_million,
    ),
    Section(
        title="Duplication",
        command="duplication.py",
        file="duplication",
        text="The task of the Reformer paper at 128 tokens: one layer, trained with the attention and the rounds "
        "of the row, evaluated on unseen sequences with those of the column.",
        rendered=duplication,
    ),
    Section(
        title="The writing page",
        command="tui.py",
        file="tui",
        text="`korformer tui` in a pseudo terminal of 120 x 40 cells, with 5,120 tokens on the page and a model of "
        "6 layers of 256.",
        rendered=page_speed,
    ),
    Section(
        title="Training on a GPU",
        command="gpu_training.py",
        file="gpu-training",
        text=f"{_SHAPE.replace(', batch 1', '')}.",
        rendered=gpu_training,
    ),
    Section(
        title="Generation on a GPU",
        command="gpu_decode.py",
        file="gpu-decode",
        text="12 layers of 768, 22,000 tokens of vocabulary; a token as one recorded graph, and kernel by kernel.",
        rendered=gpu_decode,
    ),
]

INTRODUCTION = """# Benchmarks

How fast, and in how much memory, beside the peers in the same run: reformer-pytorch, transformers' Reformer, and a
plain Transformer with dense attention. This page is written by `python benchmarks/tables.py` from the figures that the
scripts left in `benchmarks/results/`; a script writes none when a peer could not be measured. Figures of quality are
in [results.md](results.md).

Systems take turns, each measurement of training in a process of its own, and medians are shown. Machines are noisy:
read ratios, not single times. "Tuned" peers run with their library's fastest documented setting, with the fp32 matrix
products that korformer chooses (`korformer/model/products.py`), and with freed memory kept by the C library; the
others as they come. Training, masked tokens, memory and the half million were measured with `OMP_WAIT_POLICY=passive`
for everybody, the rest with OpenMP's own waiting.
"""


def page() -> str:
    """The whole page."""
    parts, machines = [INTRODUCTION.rstrip()], set()
    for section in SECTIONS:
        path = RESULTS / f"{section.file}.json"
        figures = read_json(RESULTS, path.name) if path.exists() else None
        command = section.command if figures is None else figures["command"].partition(" --output")[0]
        parts.append(f"## {section.title}\n\n`python benchmarks/{command}`\n\n{section.text}")
        if figures is None:
            parts.append("Not measured yet.")
            continue
        parts.append(section.rendered(figures))
        if "gpu" not in figures:
            machines.add(_machine(figures["environment"]))
    if machines:
        parts.insert(1, "Measured on " + "; ".join(sorted(machines)) + ".")
    return "\n\n".join(parts) + "\n"


def _machine(environment: Facts) -> str:
    return (
        f"{environment['cores']} cores ({environment['processor'].replace('_', ' ')}), "
        f"{environment['memory_gb']:.0f} GB of memory, {environment['threads']} threads, "
        f"Python {environment['python']}, torch {environment['torch']}, "
        f"reformer-pytorch {environment['reformer-pytorch']}, transformers {environment['transformers']}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the page differs")
    options = parser.parse_args(arguments)
    if options.check:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        if not same:
            print(f"{PAGE.name} is not what benchmarks/results gives; run benchmarks/tables.py", file=sys.stderr)
        return int(not same)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
