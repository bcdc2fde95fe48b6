"""What the GPU benchmarks share: refusing to run without one, times and memory of the device."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from measuring import Facts, environment

NO_GPU = 2
"""Exit code where there is no GPU to measure."""


def refuse_without_gpu() -> bool:
    """Say that there is no GPU, where there is none; whether that was so."""
    if torch.cuda.is_available():
        return False
    print(
        "no CUDA GPU is available here (korformer doctor tells why): nothing is measured and nothing is written",
        file=sys.stderr,
    )
    return True


def gpu_environment() -> Facts:
    """Versions and the device."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    properties = torch.cuda.get_device_properties(0)
    return {
        **environment(),
        "triton": triton,
        "cuda": torch.version.cuda,
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
    }


def seconds(work: Callable[[], object], runs: int, unmeasured: int = 3) -> float:
    """Median time of `work` on the device."""
    for _ in range(unmeasured):
        work()
    times = []
    for _ in range(runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return statistics.median(times)


def peak_bytes(work: Callable[[], object]) -> int:
    """Memory that `work` takes at its highest beyond what was held before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
