"""Does it matter in what pieces a decode state read its text? The largest difference of scores, and the text itself.

    python benchmarks/chunking.py [--output benchmarks/results/chunking.json]

A model of 12 layers of 768 with fresh weights reads the same random tokens at once, in pieces, token by token, and
after going back from a longer text. Each way is compared with the first one: the scores of the next token, and the
tokens that greedy decoding then writes. All of it in fp32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from measuring import Facts, arguments_parser, measure, run_benchmark
from peers import Shape, korformer_model, shape_of, shape_options

from korformer.model.decode import DecodeState


def in_pieces(size: int) -> Callable[[DecodeState, list[int]], torch.Tensor]:
    """Read pieces of `size` tokens."""

    def read(state: DecodeState, tokens: list[int]) -> torch.Tensor:
        for first in range(0, len(tokens), size):
            scores = state.append(tokens[first : first + size])
        return scores

    return read


def rewound(state: DecodeState, tokens: list[int]) -> torch.Tensor:
    """Read on, then go back."""
    state.append(tokens)
    state.append(tokens[::-1][:500])
    state.rewind(len(tokens) - 1)
    return state.append(tokens[-1:])


WAYS: dict[str, Callable[[DecodeState, list[int]], torch.Tensor]] = {
    "at once": lambda state, tokens: state.append(tokens),
    "pieces of 700": in_pieces(700),
    "pieces of 64": in_pieces(64),
    "token by token": in_pieces(1),
    "rewound": rewound,
}


def measurement(specification: Facts) -> Facts:
    """The scores after reading in one way, and what greedy decoding then writes."""
    shape = Shape(**specification["shape"])
    model = korformer_model(shape).eval()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, shape.vocabulary, (specification["tokens"],), generator=generator).tolist()
    state = model.new_state()
    first = scores = WAYS[specification["way"]](state, tokens)
    text: list[int] = []
    for _ in range(specification["write"]):
        text.append(int(scores.argmax()))
        scores = state.append(text[-1:])
    return {"scores": first.tolist(), "text": text}


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Read in every way and compare."""
    base = {"shape": asdict(shape_of(options)), "tokens": options.tokens, "write": options.write}
    found = {}
    for name in WAYS:
        facts = measure(__file__, {**base, "way": name})
        found[name] = torch.tensor(facts["scores"]), facts["text"]
    expected, expected_text = found["at once"]
    rows = {
        name: {
            "largest_difference": float((scores - expected).abs().max()),
            "largest_score": float(scores.abs().max()),
            "same_text": text == expected_text,
        }
        for name, (scores, text) in found.items()
    }
    lines = [f"{'':20} {'largest difference':>20} {'largest score':>15} {'same greedy text':>18}"]
    lines += [
        f"{name:20} {row['largest_difference']:20.2e} {row['largest_score']:15.3f} {row['same_text']!s:>18}"
        for name, row in rows.items()
    ]
    return {"tokens": options.tokens, "written": options.write, "rows": rows}, "\n".join(lines), []


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and write where asked."""
    parser = arguments_parser(__doc__)
    shape_options(parser, length=5120)
    parser.add_argument("--tokens", type=int, default=2000, help="tokens to read (default 2000)")
    parser.add_argument("--write", type=int, default=100, help="tokens to write greedily (default 100)")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
