"""What training draws in a forward pass: rotations, dropped units, skipped layers. Every draw has a key.

Legend: B samples, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from korformer.randomness import seed_of, uniform


@dataclass(frozen=True, kw_only=True)
class TrainingDraw:
    """What the randomness of a training forward is keyed by.

    Attributes:
        seed: the run's seed.
        step: optimizer step.
        samples: number of each sample of the batch within the step, over all micro-batches and processes.
    """

    seed: int
    step: int
    samples: range


def kept_layers(draw: TrainingDraw | None, depth: int, rate: float) -> list[int]:
    """Layers that take part in this step (stochastic depth, Huang et al. 2016): all without a draw, never none."""
    if draw is None or rate == 0.0:
        return list(range(depth))
    kept = (uniform("layer dropout", draw.seed, draw.step, shape=(depth,)) >= rate).nonzero()[0].tolist()
    return kept or [0]


MASKED_TOKENS = 256
"""Tokens whose mask is drawn at once."""


class Dropout:
    """Dropout whose mask is a function of (seed, step, sample, site), so that recomputation finds it again.

    Args:
        draw: the step's keys; None leaves everything as it is.
        rate: share of units that become zero; the others grow by 1 / (1 - rate).
        site: name and layer of the place.
    """

    def __init__(self, draw: TrainingDraw | None, rate: float, *site: str | int) -> None:
        self._draw = draw
        self._rate = rate
        self._site = site

    def __bool__(self) -> bool:
        return self._draw is not None and self._rate > 0.0

    def __call__(self, x_BTD: Tensor, *, first: int = 0) -> Tensor:
        """Drop units of a block of tokens of which the first has number `first` in its row."""
        if not self:
            return x_BTD
        assert self._draw is not None
        masks = [self._mask(sample, x_BTD[row], first) for row, sample in enumerate(self._draw.samples)]
        return x_BTD * torch.stack(masks)

    def _mask(self, sample: int, x_TD: Tensor, first: int) -> Tensor:
        """Of whole blocks, so that a token's units fall whatever other tokens are computed with it."""
        T, D = x_TD.shape
        begin, end = first // MASKED_TOKENS, -(-(first + T) // MASKED_TOKENS)
        kept = torch.cat([self._kept(sample, block, D, x_TD.device) for block in range(begin, end)])
        start = first - begin * MASKED_TOKENS
        return kept[start : start + T].to(x_TD.dtype).div_(1.0 - self._rate)

    def _kept(self, sample: int, block: int, width: int, device: torch.device) -> Tensor:
        assert self._draw is not None
        key = seed_of("dropout", *self._site, self._draw.seed, self._draw.step, sample, block)
        generator = torch.Generator(device).manual_seed(key)
        return torch.rand(MASKED_TOKENS, width, generator=generator, device=device) >= self._rate
