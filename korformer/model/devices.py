"""Where a model is put."""

from __future__ import annotations

import torch

from korformer.errors import UsageError


def choose_device(wanted: str, *, where: str = "--device") -> torch.device:
    """The device of a name.

    Args:
        wanted: "auto" for a CUDA GPU where there is one and else the CPU, "cpu", "cuda", or "cuda:1" for the second.
        where: the setting that it came from.

    Raises:
        UsageError: there is no such device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = wanted.partition(":")
    if kind not in {"cpu", "cuda"} or (number and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"no such device: {wanted}", where=where, hint="Use auto, cpu or cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available", where=where, hint="`korformer doctor` tells why; or use cpu.")
    if number and int(number) >= torch.cuda.device_count():
        raise UsageError(
            f"no such device: {wanted}", where=where, hint=f"There are {torch.cuda.device_count()}, counted from 0."
        )
    return torch.device(wanted)
