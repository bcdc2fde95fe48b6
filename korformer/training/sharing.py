"""What each of several processes takes: its part of a step's sequences, a GPU, threads; and whether all of them were
given the same to train on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import psutil
import torch

from korformer.errors import UsageError
from korformer.events import Listener
from korformer.model import devices
from korformer.training.distributed import ALONE, Group
from korformer.training.run_directory import LoopState, RunDirectory, SavedStep


def divided(batch_size: int, accumulate: int, world_size: int) -> tuple[int, int]:
    """The sequences of a step, `batch_size` x `accumulate`, over the processes.

    Returns:
        Sequences of a pass, at most `batch_size`, and passes, of one process.

    Raises:
        UsageError: they do not divide; the nearest that do are named.
    """
    sequences = batch_size * accumulate
    if sequences % world_size:
        nearest = world_size * max(1, round(sequences / world_size))
        size = _largest_divisor(nearest // world_size, batch_size)
        raise UsageError(
            f"the {sequences} sequences of a step (training.batch_size = {batch_size} times training.accumulate = "
            f"{accumulate}) do not divide among {world_size} processes",
            hint=f"Nearest: training.batch_size={size} training.accumulate={nearest // size}, {nearest} sequences; "
            "or another number of processes.",
        )
    size = _largest_divisor(sequences // world_size, batch_size)
    return size, sequences // world_size // size


def _largest_divisor(number: int, limit: int) -> int:
    return max(size for size in range(1, min(number, limit) + 1) if number % size == 0)


def choose_device(wanted: str, group: Group = ALONE) -> torch.device:
    """The device to train on; each process of a machine has a GPU of its own.

    Raises:
        UsageError: a GPU is asked for and there is none, or fewer than processes.
    """
    device = devices.choose_device(wanted, where="training.device")
    if device.type == "cpu":
        return device
    if group.local_world_size > torch.cuda.device_count():
        raise UsageError(
            f"{group.local_world_size} processes, but {torch.cuda.device_count()} GPUs on this machine",
            where="training.device",
            hint=f"Start torchrun with --nproc-per-node {torch.cuda.device_count()}, or use cpu.",
        )
    if group.world_size > 1:
        torch.cuda.set_device(group.local_rank)
    return device


def set_threads(wanted: int | None, group: Group) -> None:
    """Set the CPU threads of this process: as many as wanted, else torch's own choice, shared by the processes of the
    machine. torchrun sets OMP_NUM_THREADS to 1 where nobody has set it; another value is somebody's wish.
    """
    if wanted is None and group.local_world_size > 1 and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores = min(affinity, psutil.cpu_count(logical=False) or affinity)
        wanted = max(1, cores // group.local_world_size)
    if wanted is not None:
        torch.set_num_threads(wanted)


def require_same(group: Group, identities: Mapping[str, str]) -> None:
    """Make sure that all processes were given the same.

    Args:
        group: the processes.
        identities: what shall be the same, by a name for people.

    Raises:
        UsageError: this process has another than the first one.
    """
    of_first = group.first(lambda: dict(identities))
    differing = [name for name, identity in identities.items() if of_first[name] != identity]
    if differing:
        raise UsageError(
            f"has another {' and another '.join(differing)} than the first process",
            hint="Give every machine the same command and the same files.",
        )


def shared_step(group: Group, run: RunDirectory, listen: Listener) -> SavedStep | None:
    """The newest whole step of a run, which the first process reads and all of them get; None where there is none.

    Errors and what `listen` hears as of `RunDirectory.newest`.
    """
    found: list[SavedStep] = []

    def read() -> dict[str, Any] | None:
        saved = run.newest(listen)
        if saved is None:
            return None
        found.append(saved)
        return asdict(saved.loop)

    loop = group.first(read)
    if loop is None:
        return None
    own = found[0] if found else None
    return SavedStep(
        model=group.share(own.model if own else None),
        optimizer=group.share(own.optimizer if own else None),
        loop=LoopState(**loop),
    )
