"""The update that ends a step: unscale, clip, check, change the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from korformer.errors import DivergedError
from korformer.events import Listener, Notice
from korformer.training.precision import MixedPrecision


@dataclass(frozen=True, kw_only=True)
class Updater:
    """Changes the weights of a module by their gradients.

    Args:
        module: whose weights.
        optimizer: of them.
        arithmetic: that the gradients were computed in.
        clip: largest norm of the gradient; 0 clips nothing.
        path: the run's folder, for messages.
        advice: what to do when the run diverges.
        listen: hears Notice.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    arithmetic: MixedPrecision
    clip: float
    path: Path
    advice: str
    listen: Listener

    def update(self, step: int, loss: float) -> float:
        """Change the weights; gradients are forgotten.

        Args:
            step: its number, for messages.
            loss: of the whole step.

        Returns:
            The gradient's norm before clipping.

        Raises:
            DivergedError: loss or gradient are not finite; nothing was changed.
        """
        self.arithmetic.unscale(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), self.clip or math.inf))
        overflowed = self.arithmetic.overflowed(norm)
        if not (math.isfinite(loss) and (math.isfinite(norm) or overflowed)):
            raise DivergedError(
                f"training diverged at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}",
                where=str(self.path),
                hint=self.advice,
            )
        self.arithmetic.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        if overflowed:
            scale = self.arithmetic.loss_scale
            text = f"step {step} changed nothing: its gradient overflowed in fp16; the loss is scaled by {scale:g} now"
            self.listen(Notice(text=text))
        return norm
