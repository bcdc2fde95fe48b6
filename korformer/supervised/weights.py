"""The weights with which fine-tuning begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from korformer.model.heads import HeadSpec
from korformer.randomness import seed_of
from korformer.supervised.running import LAYER_MIX

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel
    from korformer.model.config import ModelConfig


def heads_with_mix(heads: Mapping[str, HeadSpec], model: ModelConfig, *, mix: bool) -> dict[str, HeadSpec]:
    """A task's heads, and the mix of layers where it is wanted."""
    mixing = {LAYER_MIX: HeadSpec(reads="layers", outputs=model.depth + 1)} if mix else {}
    return {**heads, **mixing}


@torch.no_grad()
def begin_weights(model: ReformerModel, base: ReformerModel | None, seed: int, *, with_heads: bool = False) -> None:
    """Set every parameter: those of the base where it has them, else drawn by `seed`.

    Args:
        model: the shape of the base, with heads of its own.
        base: a trained model; None to draw all.
        seed: of what is drawn.
        with_heads: take the base's heads too.
    """
    device = model.device
    model.to("cpu")  # where draws are the same on every machine
    model.initialise(seed_of("weights", seed))
    for head in model.heads.values():
        reset = getattr(head, "reset", None)
        if reset is not None:
            reset()
    known = dict(base.lm.named_parameters()) if base is not None else {}
    for name, parameter in model.lm.named_parameters():
        if name in known and (with_heads or not name.startswith("heads.")):
            parameter.copy_(known[name])
    model.to(device)
