"""How fast does a step of training go on this GPU beside the peers, and how much of the device does it use?

    python benchmarks/gpu_training.py [--lengths 5120 32768 65536] [--output benchmarks/results/gpu-training.json]

One step is forward, backward, clipping and fused AdamW on random tokens, every system under the same autocast, that
which `training.precision = "auto"` chooses, in a process of its own; the systems take turns. A step holds about
`--tokens` tokens, in as many samples as fit into that.

Model FLOP utilisation is the arithmetic that the model's definition asks for, over what the device can do in the time:

    FLOP a token = 3 x (2 P + 4 L D K),   utilisation = tokens per second x FLOP a token / peak FLOP/s

(Chowdhery et al. 2022), where 3 is a forward and a backward twice its size, P the elements of all matrices that rows
are multiplied by (embeddings looked up are not, the output layer is), L layers, D the width, and K the mean number of
keys that a query is compared with: half the length for dense attention, and for hashed attention rounds x bucket size
/ 2, since a bucket holds that many tokens and half of them come before. Recomputation in reversible layers, hashing and
sorting count as nothing. The peak is the device's dense matrix rate in that precision from its vendor's data sheet.

A system that runs out of the device's memory is told so; one that fails otherwise is skipped and nothing is written.
Without a GPU it leaves with 2 and writes nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import torch
from gpu_measuring import NO_GPU, gpu_environment, refuse_without_gpu
from measuring import Facts, Measurements, arguments_parser, interleave, run_benchmark
from peers import SYSTEMS, Shape, build
from torch import Tensor, nn

from korformer.training.precision import MixedPrecision, choose_precision

PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "Quadro RTX 6000": 130.5,
    "V100": 125.0,
    "T4": 65.0,
}
"""Dense bf16 (or fp16) matrix rate with fp32 sums by part of the device's name; the first that fits counts."""


def peak_flops(device: str) -> float | None:
    """The device's rate, or None where its name is not known."""
    return next((rate * 1e12 for name, rate in PEAK_TFLOPS.items() if name in device), None)


def matrix_elements(module: nn.Module, shape: Shape) -> int:
    """Elements of the matrices that rows are multiplied by, each shared one once, the output layer among them."""
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    inner = sum(
        parameter.numel()
        for name, parameter in module.named_parameters()
        if parameter.dim() == 2
        and id(parameter) not in embeddings
        and "pos" not in name
        and not _is_output(parameter, shape)
    )
    return inner + shape.vocabulary * shape.dim


def _is_output(parameter: Tensor, shape: Shape) -> bool:
    return parameter.shape[0] == shape.vocabulary


def flops_per_token(matrix: int, shape: Shape, system: str) -> float:
    """Arithmetic of one token's share of a step; the formula is at the head of this file."""
    keys = shape.length / 2 if system == "dense" else shape.n_hashes * shape.bucket_size / 2
    return 3 * (2 * matrix + 4 * shape.depth * shape.dim * keys)


def measurement(specification: Facts) -> Facts:
    """Median seconds of a step and peak device memory of one system."""
    shape = Shape(**specification["shape"])
    device = torch.device("cuda", 0)
    arithmetic = MixedPrecision(choose_precision("auto", device), device)
    generator = torch.Generator().manual_seed(1)
    try:
        trained = build(specification["system"], shape)
        trained.module.to(device)

        def step() -> float:
            shown = (2, specification["batch"], shape.length)
            tokens, targets = torch.randint(5, shape.vocabulary, shown, generator=generator).to(device)
            began = time.perf_counter()
            with arithmetic.autocast():
                mean = trained.loss(tokens, targets)
            arithmetic.scaled(mean).backward()
            arithmetic.unscale(trained.optimizer)
            torch.nn.utils.clip_grad_norm_(trained.module.parameters(), trained.clip)
            arithmetic.step(trained.optimizer)
            trained.optimizer.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            return time.perf_counter() - began

        for _ in range(specification["unmeasured"]):
            step()
        torch.cuda.reset_peak_memory_stats()
        seconds = statistics.median(step() for _ in range(specification["steps"]))
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    return {
        "out_of_memory": False,
        "seconds": seconds,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "precision": arithmetic.precision,
        "flops_per_token": flops_per_token(matrix_elements(trained.module, shape), shape, specification["system"]),
    }


def rows_of(measured: Measurements, batch: int, length: int, peak: float | None) -> dict[str, Facts]:
    """Tokens per second, memory and utilisation of each system that ran."""
    rows: dict[str, Facts] = {}
    for name, runs in measured.runs.items():
        if not runs or name in measured.failures:
            continue
        if any(run["out_of_memory"] for run in runs):
            rows[name] = {"out_of_memory": True}
            continue
        rate = batch * length / measured.median(name, "seconds")
        rows[name] = {
            "out_of_memory": False,
            "tokens_per_second": rate,
            "peak_gb": measured.median(name, "peak_gb"),
            "precision": runs[0]["precision"],
            "utilisation": rate * runs[0]["flops_per_token"] / peak if peak else None,
        }
    return rows


def table(length: int, batch: int, rows: dict[str, Facts]) -> str:
    """The figures of one length as text."""
    lines = [f"{batch} x {length:,} tokens a step"]
    lines.append(f"  {'':24} {'tokens/s':>10} {'peak GB':>8} {'utilisation':>12} {'precision':>10}")
    for name, row in rows.items():
        if row["out_of_memory"]:
            lines.append(f"  {name:24} {'out of memory':>10}")
            continue
        used = f"{row['utilisation']:.1%}" if row["utilisation"] is not None else "unknown peak"
        lines.append(
            f"  {name:24} {row['tokens_per_second']:10.0f} {row['peak_gb']:8.2f} {used:>12} {row['precision']:>10}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[5120, 32768, 65536])
    parser.add_argument("--tokens", type=int, default=65536, help="tokens of a step at most (default 65536)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each system (default 3)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a process (default 10)")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device where its name is not known")
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), help="leave the others out (nothing is written)")
    if refuse_without_gpu():
        parser.parse_args(arguments)
        return NO_GPU

    def benchmark(options: object) -> tuple[Facts, str, list[str]]:
        given = vars(options)
        facts = gpu_environment()
        peak = given["peak"] * 1e12 if given["peak"] else peak_flops(facts["gpu"])
        figures: Facts = {"gpu": facts, "peak_flops": peak, "lengths": {}}
        tables, skipped = [], []
        for length in given["lengths"]:
            batch = max(1, given["tokens"] // length)
            wanted = {
                name: {
                    "system": name,
                    "shape": asdict(Shape(length=length)),
                    "batch": batch,
                    "steps": given["steps"],
                    "unmeasured": 3,
                }
                for name in given["only"] or SYSTEMS
            }
            measured = interleave(__file__, wanted, given["rounds"])
            rows = rows_of(measured, batch, length, peak)
            figures["lengths"][str(length)] = {"batch": batch, "systems": rows, "runs": measured.runs}
            tables.append(table(length, batch, rows))
            skipped += [f"{name} at {length}" for name in SYSTEMS if name not in rows]
        return figures, "\n".join(tables), skipped

    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
