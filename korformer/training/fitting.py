"""Making the sequences of a step fit into memory: how many a pass, and whether layers are computed twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from korformer.errors import ResourceError
from korformer.objectives import Learner
from korformer.storage.failures import human_bytes
from korformer.training.distributed import Group
from korformer.training.memory import SHARE_OF_FREE, Fit, StepMemory, fit, free_bytes
from korformer.training.optimizer import kept_numbers
from korformer.training.precision import Precision
from korformer.training.settings import RunSettings
from korformer.training.sharing import divided


def fit_of(settings: RunSettings, learner: Learner, device: torch.device, precision: Precision, group: Group) -> Fit:
    """What the settings ask for, or what fits where they leave it open; the same in all processes.

    Raises:
        UsageError: the sequences of a step do not divide among the processes.
    """
    training = settings.training
    size, passes = divided(training.batch_size, training.accumulate, group.world_size)

    def choose() -> dict[str, Any]:
        wanted = training.micro_batch
        found = fit(
            learner.shapes,
            parameters=sum(parameter.numel() for parameter in learner.module.parameters()),
            kept=kept_numbers(learner.module, training),
            vocabulary_size=learner.model.vocabulary_size,
            sequences=size * passes,
            pack_tokens=settings.pack_tokens,
            largest=size if wanted == "auto" else wanted,
            exactly=wanted != "auto",
            reversible=training.reversible,
            narrow=precision != "fp32",
            device=device,
            processes=group.local_world_size if device.type == "cpu" else 1,
        )
        return {**vars(found), "memory": found.memory.parts()}

    chosen = group.first(choose)
    return Fit(**{**chosen, "memory": StepMemory(**chosen["memory"])})


def as_before(
    settings: RunSettings, environment: Mapping[str, str], now: tuple[int, int], group: Group
) -> tuple[int, int]:
    """Sequences of a pass, and passes, of a run that goes on: those it had, where nobody asks for others."""
    recorded = environment.get("micro-batch", "")
    sequences = now[0] * now[1]
    same = settings.training.micro_batch == "auto" and environment.get("processes") == str(group.world_size)
    if same and recorded.isdecimal() and int(recorded) and sequences % int(recorded) == 0:
        return int(recorded), sequences // int(recorded)
    return now


def warning_of(settings: RunSettings, chosen: Fit, device: torch.device) -> str | None:
    """What to tell before a run begins that will most likely not fit; None where it will."""
    if chosen.fits:
        return None
    return (
        f"a step is reckoned to take {human_bytes(chosen.memory.peak)}, more than {SHARE_OF_FREE:.0%} of the "
        f"{human_bytes(free_bytes(device))} that are free. {advice(settings, chosen)}"
    )


def advice(settings: RunSettings, chosen: Fit | None) -> str:
    """What to set so that a step takes less memory."""
    choices = []
    if chosen is not None and chosen.micro_batch > 1:
        choices.append(f"training.micro_batch={chosen.micro_batch // 2} (now {chosen.micro_batch})")
    if chosen is None or not chosen.reversible:
        choices.append("training.reversible=always")
    choices.append(f"data.pack_tokens={max(1, settings.pack_tokens // 2)} (now {settings.pack_tokens})")
    return f"Set {', or '.join(choices)}; or choose a smaller model."


def out_of_memory(settings: RunSettings, step: int, chosen: Fit | None) -> ResourceError:
    """The error of a run that ran out of memory."""
    return ResourceError(f"out of memory after step {step}; what was saved is intact", hint=advice(settings, chosen))
