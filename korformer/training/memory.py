"""What a training step takes of memory, and the largest pass that fits.

On a CPU the C library holds more than is in use: freed pieces lie between those still needed, more so when the passes
of a step leave gradients between them. `SLACK` is by how much, as `benchmarks/dry_run.py` measures it.

Legend: T tokens of a forward pass, D model width, I width of all heads together, F feed-forward width, E embedding
width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from korformer.model.config import ModelConfig
from korformer.model.losses import CHUNK_LOGITS

Reversible = Literal["auto", "always", "never"]

BYTES = 4
NARROW_BYTES = 2
PROCESS_BYTES = 430 * 10**6
"""Python and torch with everything that a first step loads, on a CPU."""
SLACK = {False: (1.4, 1.6), True: (1.8, 2.0)}
"""Memory held for activations on a CPU, as a multiple of what is in use: without and with reversible layers, for one
pass a step and for more."""
GPU_SLACK = 1.1
"""The same on a GPU."""
SHARE_OF_FREE = 0.85
"""Part of the free memory that a run may count on; the rest is for other programs."""
NARROW_SHARE = 0.55
"""Activations in 16 bits, as a share of those in 32: the streams and norms stay as they are."""
_CGROUPS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"), (
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"
))  # fmt: skip


def activation_bytes(config: ModelConfig, tokens: int) -> int:
    """What the layers keep for backward when they are not reversible, in bytes, in fp32.

    Per token and layer: the two streams and the norms' outputs (4 D), query-keys, their turned form, keys, values and
    the attention's output twice (6 I), the feed-forward block before and after its nonlinearity (2 F, 4 F with a gate).
    Full attention has each document in whole blocks of its own, there and back (2 I more).

    Args:
        config: the model's shape.
        tokens: tokens of one forward pass, over all samples.
    """
    inner = config.heads * config.head_width
    feed_forward = config.dim * config.ff_mult * (4 if config.ff_glu else 2)
    blocks = 2 * inner * config.layer_kinds.count("full")
    return BYTES * tokens * (config.depth * (4 * config.dim + 6 * inner + feed_forward) + blocks)


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Peak memory of training steps by what takes it, in bytes.

    Attributes:
        process: Python and torch; 0 on a GPU.
        weights: in fp32.
        gradients: as many, and with reversible layers in several passes the sums of the pass beside them.
        optimizer: what it keeps of every parameter.
        activations: what layers keep for backward, and the work of the layer or output layer that needs most.
    """

    process: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def peak(self) -> int:
        """All together."""
        return self.process + self.weights + self.gradients + self.optimizer + self.activations

    def parts(self) -> dict[str, int]:
        """Each by its name."""
        return asdict(self)


def step_memory(
    shapes: Sequence[ModelConfig],
    *,
    parameters: int,
    kept: int,
    vocabulary_size: int,
    tokens: int,
    passes: int,
    reversible: bool,
    narrow: bool,
    device: torch.device,
) -> StepMemory:
    """The memory of steps, computed and not measured.

    Args:
        shapes: of every model that a pass runs through.
        parameters: numbers that are trained.
        kept: numbers that the optimizer keeps of them.
        vocabulary_size: V.
        tokens: of a pass, over all its sequences.
        passes: of a step.
        reversible: whether layers are computed again in backward.
        narrow: whether matrix products are in bf16 or fp16.
        device: where it trains.
    """
    layers = [activation_bytes(shape, tokens) * (NARROW_SHARE if narrow else 1.0) for shape in shapes]
    width = max(shape.emb_dim or shape.dim for shape in shapes)
    # Logits, their softmax and its logarithm a chunk at a time; gradients of the hidden states and of the output layer.
    chunk = min(CHUNK_LOGITS, tokens * vocabulary_size)
    head = BYTES * (3 * chunk + tokens * width + 2 * vocabulary_size * width)
    if reversible:
        one_layer = max(kept / shape.depth for kept, shape in zip(layers, shapes, strict=True))
        in_use = sum(4 * BYTES * tokens * shape.dim for shape in shapes) + max(head, one_layer)
    else:
        in_use = sum(layers) + head
    on_gpu = device.type == "cuda"
    activations = in_use * (GPU_SLACK if on_gpu else SLACK[reversible][passes > 1])
    if narrow and not reversible:
        activations += NARROW_BYTES * parameters  # the weights in 16 bits
    gradients = BYTES * parameters
    if reversible and passes > 1:  # sums of this pass beside those of the earlier ones
        gradients += BYTES * (parameters - vocabulary_size * width)
    return StepMemory(
        process=0 if on_gpu else PROCESS_BYTES,
        weights=BYTES * parameters,
        gradients=gradients,
        optimizer=BYTES * kept,
        activations=int(activations),
    )


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device, or that a container's limit leaves."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    free = int(psutil.virtual_memory().available)
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            free = min(free, max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return free


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the sequences of a step are computed.

    Attributes:
        micro_batch: sequences of a pass.
        passes: of a step.
        reversible: whether layers are computed again in backward.
        memory: what that takes.
        fits: whether that is free.
    """

    micro_batch: int
    passes: int
    reversible: bool
    memory: StepMemory
    fits: bool


def fit(
    shapes: Sequence[ModelConfig],
    *,
    parameters: int,
    kept: int,
    vocabulary_size: int,
    sequences: int,
    pack_tokens: int,
    largest: int,
    exactly: bool,
    reversible: Reversible,
    narrow: bool,
    device: torch.device,
    processes: int = 1,
) -> Fit:
    """The largest pass that fits into the free memory; without computing layers twice where a smaller pass avoids it.

    Args:
        shapes: of the models; their weights are in memory already.
        parameters, kept, vocabulary_size, narrow, device: see `step_memory`.
        sequences: of a step, in this process.
        pack_tokens: of a sequence.
        largest: most sequences of a pass.
        exactly: a pass of `largest` sequences is wanted, or the next smaller that divides them.
        reversible: as the settings say.
        processes: that share the memory.
    """
    sizes = [size for size in range(min(largest, sequences), 0, -1) if sequences % size == 0]
    free = SHARE_OF_FREE * free_bytes(device) / processes
    for twice in (False, True) if reversible == "auto" else (reversible == "always",):
        for size in sizes[:1] if exactly else sizes:
            memory = step_memory(
                shapes,
                parameters=parameters,
                kept=kept,
                vocabulary_size=vocabulary_size,
                tokens=size * pack_tokens,
                passes=sequences // size,
                reversible=twice,
                narrow=narrow,
                device=device,
            )
            fits = memory.gradients + memory.optimizer + memory.activations <= free
            chosen = Fit(micro_batch=size, passes=sequences // size, reversible=twice, memory=memory, fits=fits)
            if fits:
                return chosen
    return chosen
