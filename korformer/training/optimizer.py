"""AdamW and Muon without decay on biases, norms and embeddings, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from korformer.training.settings import TrainingSettings

_NOT_DECAYED = ("token_emb", "pos_emb", "segment_emb", "norm", "bias")
_OF_LAYERS = "reformer.layers."
_STATE = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """What an optimizer changes, by name: the parameters that require a gradient, each shared one once."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for some matrices and AdamW for everything else, under one learning rate and with one state.

    Muon (Jordan et al. 2024) steps along the momentum made orthogonal. Scaled to the usual size of AdamW's steps (Liu
    et al. 2025, arXiv 2502.16982) it takes the same learning rate and decay.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})  # the same dictionaries: one change serves both
        muon.state = adamw.state = self.state
        self._parts = (muon, adamw)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step both."""
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call]


def _groups(module: nn.Module, settings: TrainingSettings) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The parameters of Muon, those that AdamW decays, and the others."""
    matrices: list[Tensor] = []
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in trained_parameters(module).items():
        if parameter.dim() < 2 or any(part in name for part in _NOT_DECAYED):
            others.append(parameter)
        elif settings.optimizer == "muon" and parameter.dim() == 2 and _OF_LAYERS in name:
            matrices.append(parameter)
        else:
            decayed.append(parameter)
    return matrices, decayed, others


def kept_numbers(module: nn.Module, settings: TrainingSettings) -> int:
    """Numbers that the optimizer keeps: one momentum of Muon's parameters, two moments of AdamW's."""
    matrices, *groups = _groups(module, settings)
    return sum(p.numel() for p in matrices) + 2 * sum(p.numel() for group in groups for p in group)


def make_optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Fused AdamW (Loshchilov and Hutter 2019) over the trained parameters of a module, or Muon with it."""
    matrices, decayed, others = _groups(module, settings)
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
    optimizer: torch.optim.Optimizer = adamw
    if matrices:
        muon = torch.optim.Muon(
            matrices,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        optimizer = MuonWithAdamW(muon, adamw)
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
    if settings.schedule == "trapezoid":
        done = max(0.0, 1 - (settings.steps - step) / (settings.fall_share * settings.steps))
        return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * (1 - done))
    falling = (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * falling)


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name, for saving."""
    tensors = {}
    for name, parameter in trained_parameters(module).items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    return tensors


def restore_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take back what `optimizer_tensors` gave; a parameter that never had a gradient has no state."""
    for name, parameter in trained_parameters(module).items():
        saved = {key: tensors[f"{key}.{name}"] for key in _STATE if f"{key}.{name}" in tensors}
        if saved:
            # AdamW's `step` too lies where the parameter is, as the fused form wants it.
            optimizer.state[parameter] = {key: value.clone().to(parameter.device) for key, value in saved.items()}
