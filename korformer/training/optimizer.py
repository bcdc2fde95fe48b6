"""AdamW without decay on biases, norms and embeddings, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from korformer.model.backbone import ReformerModel
from korformer.training.settings import TrainingSettings

_NOT_DECAYED = ("token_emb", "pos_emb", "norm", "bias")


def make_optimizer(model: ReformerModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) over the model's parameters."""
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.lm.named_parameters():
        plain = parameter.dim() < 2 or any(part in name for part in _NOT_DECAYED)
        (others if plain else decayed).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step, counted from 1: linear warm-up, then the schedule down to its final share."""
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    falling = (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * falling)


def optimizer_tensors(model: ReformerModel, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, for saving."""
    tensors = {}
    for name, parameter in model.lm.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    return tensors


def restore_optimizer(model: ReformerModel, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """Take back what `optimizer_tensors` gave."""
    for name, parameter in model.lm.named_parameters():
        optimizer.state[parameter] = {
            "step": tensors[f"step.{name}"].clone(),
            "exp_avg": tensors[f"exp_avg.{name}"].clone().to(parameter.device),
            "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].clone().to(parameter.device),
        }
