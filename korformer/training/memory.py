"""Whether a step's activations fit in memory, so that layers need not be computed twice.

Legend: T tokens of a forward pass, D model width, I width of all heads together, F feed-forward width.
"""

from __future__ import annotations

from typing import Literal

import psutil
import torch

from korformer.model.config import ModelConfig

Reversible = Literal["auto", "always", "never"]

BYTES = 4
SHARE_FOR_ACTIVATIONS = 0.6
"""Part of the free memory that activations may take; the rest is for gradients, the optimizer and other programs."""


def activation_bytes(config: ModelConfig, tokens: int) -> int:
    """What the layers keep for backward when they are not reversible, in bytes.

    Per token and layer: the two streams and the norms' outputs (4 D), query-keys, their turned form, keys, values and
    the attention's output twice (6 I), the feed-forward block before and after its nonlinearity (2 F, 4 F with a gate).

    Args:
        config: the model's shape.
        tokens: tokens of one forward pass, over all samples.
    """
    inner = config.heads * config.head_width
    feed_forward = config.dim * config.ff_mult * (4 if config.ff_glu else 2)
    return BYTES * tokens * config.depth * (4 * config.dim + 6 * inner + feed_forward)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(psutil.virtual_memory().available)


def choose_reversible(wanted: Reversible, config: ModelConfig, tokens: int, device: torch.device) -> bool:
    """Whether to compute layers again in backward: as asked, or where keeping their activations does not fit.

    Args:
        wanted: always, never, or auto.
        config: the model's shape.
        tokens: tokens of one forward pass.
        device: where the model is, with its weights in place.
    """
    if wanted != "auto":
        return wanted == "always"
    return activation_bytes(config, tokens) > SHARE_FOR_ACTIVATIONS * free_bytes(device)
