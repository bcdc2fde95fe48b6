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


LOWEST_RATE, HIGHEST_RATE = 1e-3, 5e-3
WIDTH = 256
"""Width of the models whose best learning rates were looked for."""


def suited_learning_rate(model: ReformerModel, *, frozen: bool = False) -> float:
    """A learning rate for fine-tuning that suits the weights the model has now.

    AdamW moves every weight by about the learning rate, whatever its size, so weights that pretraining made ten times
    as large as new ones hardly change at a rate that suits those. Of models of width 256, new ones (embedding of root
    mean square 0.02) learn well at 2e-4 to 1e-3, and one pretrained with Muon (0.21) at 2e-3: a hundredth of the
    embedding's root mean square, from 1e-3 to 5e-3. Wider models have it in proportion to 1/width (Yang et al. 2021).

    Args:
        model: as the run begins.
        frozen: only new weights on it are trained.
    """
    size = float(model.lm.token_emb.weight.detach().float().square().mean().sqrt())
    rate = LOWEST_RATE if frozen else min(HIGHEST_RATE, max(LOWEST_RATE, size / 100))
    return rate * min(1.0, WIDTH / model.config.dim)


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
