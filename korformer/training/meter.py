"""What a person watches: pace, time left, memory, and a loss average that is right from the first step."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

import psutil
import torch


class Meter:
    """Pace over the recent steps and an exponentially weighted mean of the loss (corrected for its start as in Adam).

    Args:
        smoothing: weight of the past in the mean.
        recent_steps: steps over which the pace is taken.
    """

    def __init__(self, *, smoothing: float = 0.98, recent_steps: int = 20) -> None:
        self._smoothing = smoothing
        self.weighted_loss = 0.0
        self.weight = 0.0
        self._recent: deque[tuple[float, int]] = deque(maxlen=recent_steps + 1)
        self._recent.append((time.monotonic(), 0))

    def resume(self, weighted_loss: float, weight: float, tokens: int) -> None:
        """Go on from a saved average; the pace starts anew."""
        self.weighted_loss, self.weight = weighted_loss, weight
        self._recent.clear()
        self._recent.append((time.monotonic(), tokens))

    def add(self, loss: float, tokens: int) -> None:
        """Count a finished step that brought the run to `tokens`."""
        self.weighted_loss = self._smoothing * self.weighted_loss + (1 - self._smoothing) * loss
        self.weight = self._smoothing * self.weight + (1 - self._smoothing)
        self._recent.append((time.monotonic(), tokens))

    def skip(self, seconds: float) -> None:
        """Leave out time that was not spent on steps (validation, samples, saves)."""
        shifted = [(at + seconds, tokens) for at, tokens in self._recent]
        self._recent.clear()
        self._recent.extend(shifted)

    @property
    def average_loss(self) -> float:
        """Mean loss over roughly the last 1 / (1 - smoothing) steps."""
        return self.weighted_loss / self.weight if self.weight else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Over the recent steps."""
        (began, first), (ended, last) = self._recent[0], self._recent[-1]
        return (last - first) / max(ended - began, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        """Over the recent steps."""
        return (self._recent[-1][0] - self._recent[0][0]) / max(1, len(self._recent) - 1)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of the GPU in use, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        # Not getrusage where this is there: that begins with the memory of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource  # not on every system
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, the others kilobytes


def gpu_utilisation(device: torch.device) -> float | None:
    """Share of time the GPU was busy lately (0 to 1); None without one, or without its management library."""
    if device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(device)) / 100
    except (ModuleNotFoundError, RuntimeError):
        return None
