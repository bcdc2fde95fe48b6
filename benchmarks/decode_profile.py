"""Where does the time of one generated token go?

    python benchmarks/decode_profile.py [--weights int8] [--context 4096] [--set n_hashes=2]

The operators of a step by their own time, as torch's profiler sees it; the profiler itself adds to each. The shape is
that of `decode.py`. Nothing is written: the table is for whoever wants to make a step faster.
"""

from __future__ import annotations

import argparse
import time

from measuring import settings_from
from peers import Shape, korformer_model
from torch.profiler import ProfilerActivity, profile

from korformer.model.decode.matrices import PRECISIONS

TOKENS, ROWS = 30, 20


def main() -> None:
    """Read a context, write tokens, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="fp32", choices=PRECISIONS)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="fields of the model")
    options = parser.parse_args()
    model = korformer_model(Shape(length=options.context + 1024, more=settings_from(options.set))).eval()
    state = model.new_state(weights=options.weights)
    state.append([2] + [7 + place % 997 for place in range(options.context - 1)])
    for _ in range(TOKENS):
        state.append([7])
    began = time.perf_counter()
    for _ in range(TOKENS):
        state.append([7])
    print(f"{(time.perf_counter() - began) / TOKENS * 1e3:.2f} ms a token without the profiler")
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(TOKENS):
            state.append([7])
    found = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    print(f"{'operator':44} {'a token':>8} {'us a token':>11} {'us each':>8}")
    for event in found[:ROWS]:
        total = event.self_cpu_time_total
        print(f"{event.key[:44]:44} {event.count / TOKENS:8.1f} {total / TOKENS:11.1f} {total / event.count:8.1f}")
    rest = sum(event.self_cpu_time_total for event in found[ROWS:]) / TOKENS
    print(f"{'all others':44} {'':8} {rest:11.1f}")


if __name__ == "__main__":
    main()
