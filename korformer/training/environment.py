"""What a run's bits hang on besides its settings, recorded with every save; a change is told when the run goes on."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch


def environment(
    *, device: torch.device, precision: str, reversible: bool, micro_batch: int, processes: int
) -> dict[str, str]:
    """What a bit-exact repetition needs to be the same, as a person reads it.

    Args:
        device: where the model is.
        precision: of the matrix products.
        reversible: whether layers are computed again in backward.
        micro_batch: sequences of a pass in one process.
        processes: how many train together.
    """
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "machine": machine,
        "device": str(device),
        "precision": precision,
        "reversible layers": "yes" if reversible else "no",
        "micro-batch": str(micro_batch),
        "processes": str(processes),
    }


def change_of(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What to tell a person who goes on elsewhere or otherwise; None where nothing changed.

    Args:
        before: the environment of the save; what an older korformer did not record is taken as unchanged.
        now: that of this moment.
    """
    changed = {name: (before.get(name, value), value) for name, value in now.items()}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    if not changed:
        return None
    shown = "; ".join(f"{name} {old}, now {new}" for name, (old, new) in changed.items())
    return (
        f"{' and '.join(changed)} changed since the save ({shown}): "
        "the run goes on, but not bit for bit as it would have"
    )
