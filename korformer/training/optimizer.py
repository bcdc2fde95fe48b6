"""AdamW without decay on biases, norms and embeddings, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from korformer.training.settings import TrainingSettings

_NOT_DECAYED = ("token_emb", "pos_emb", "segment_emb", "norm", "bias")


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """What an optimizer changes, by name: the parameters that require a gradient, each shared one once."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def make_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) over the trained parameters of a module."""
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in trained_parameters(module).items():
        plain = parameter.dim() < 2 or any(part in name for part in _NOT_DECAYED)
        (others if plain else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
    # Its fused form does not tell that it changed the weights, and who keeps something computed from them
    # (incremental decoding, for samples) asks for that.
    optimizer.register_step_post_hook(lambda *_: torch.autograd.graph.increment_version([*decayed, *others]))
    return optimizer


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step, counted from 1: linear warm-up, then the schedule down to its final share."""
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    falling = (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * falling)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, for saving."""
    tensors = {}
    for name, parameter in trained_parameters(module).items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    return tensors


def restore_optimizer(module: nn.Module, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """Take back what `optimizer_tensors` gave; a parameter that never had a gradient has no state."""
    keys = ("step", "exp_avg", "exp_avg_sq")
    for name, parameter in trained_parameters(module).items():
        if f"step.{name}" in tensors:
            # `step` too lies where the parameter is, as the fused form wants it.
            optimizer.state[parameter] = {key: tensors[f"{key}.{name}"].clone().to(parameter.device) for key in keys}
