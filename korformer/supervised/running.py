"""Running a model over windows: hidden states for the heads of a task, and a task's outputs of many windows.

Legend: B rows, T tokens of a row, W windows, L tokens of the longest window, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from korformer.errors import DivergedError
from korformer.evaluation.scoring import evaluating
from korformer.events import Listener, Progress, ignore
from korformer.model.draws import TrainingDraw
from korformer.supervised.batches import Batch, Window, collate, passes

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel
    from korformer.supervised.task import Solver

LAYER_MIX = "layer_mix"
"""Name of the head that mixes the layers, where a model has one."""

PASS_TOKENS = 8192
"""Tokens of a forward pass in evaluation."""


def rows_may_be_shared(model: ReformerModel) -> bool:
    """Whether a window's hidden states do not hang on what stands beside it in its row.

    Chunks of a sorted row (lsh) lie otherwise where other windows stand before it. Pretraining packs texts in the same
    way; for a figure or a prediction each window gets a row of its own there.
    """
    return "lsh" not in model.config.layer_kinds


def hidden_states(
    model: ReformerModel,
    batch: Batch,
    *,
    tokens_BT: Tensor | None = None,
    draw: TrainingDraw | None = None,
    reversible: bool = False,
    frozen: bool = False,
) -> Tensor:
    """What heads read, (B, T, D): the last layer's output, or the learnt mix of all where the model has one.

    Args:
        model: with its heads.
        batch: beside the model.
        tokens_BT: what to read instead of the batch's tokens.
        draw: keys of what training draws.
        reversible: see `ReformerModel.forward`.
        frozen: no gradient goes into the encoder.
    """
    tokens = batch.tokens_BT if tokens_BT is None else tokens_BT
    inputs = {"documents_BT": batch.documents_BT, "positions_BT": batch.positions_BT}
    if model.config.segments:
        inputs["segments_BT"] = batch.segments_BT.clamp(max=model.config.segments - 1)
    if LAYER_MIX in model.heads:
        with torch.no_grad():
            states = model.layer_states(tokens, **inputs)
        mixed: Tensor = model.heads[LAYER_MIX](torch.stack(states))
        return mixed
    if frozen:
        with torch.no_grad():
            still: Tensor = model(tokens, **inputs)
        return still
    hidden: Tensor = model(tokens, **inputs, draw=draw, reversible=reversible)
    return hidden


def run(
    model: ReformerModel,
    solver: Solver[Any, Any],
    windows: Sequence[Window],
    *,
    pass_tokens: int = PASS_TOKENS,
    stage: str = "evaluating",
    listen: Listener = ignore,
    each: Callable[[Tensor, Batch], None] | None = None,
) -> list[Any]:
    """A task's output of each window, in their order.

    Args:
        model: in any mode; it is in evaluation mode inside.
        solver: the task.
        windows: with or without targets.
        pass_tokens: tokens of a forward pass; the result does not hang on it but for rounding.
        stage: name of the work in the Progress that `listen` hears.
        listen: hears Progress in tokens.
        each: called with the hidden states (W, L, D) of every batch.

    Raises:
        DivergedError: hidden states are not finite.
    """
    outputs: list[Any] = [None] * len(windows)
    share_rows = rows_may_be_shared(model)
    total = sum(map(len, windows))
    done = 0
    with evaluating(model):
        for numbers in passes(windows, pass_tokens=pass_tokens, share_rows=share_rows):
            batch = collate([windows[number] for number in numbers], share_rows=share_rows).to(model.device)
            hidden_WLD = batch.by_window(hidden_states(model, batch))
            if not bool(torch.isfinite(hidden_WLD).all()):
                raise DivergedError(
                    "the model gives figures that are not finite",
                    hint="Its training diverged; use an earlier checkpoint or a lower learning rate.",
                )
            for number, output in zip(numbers, solver.outputs(model, hidden_WLD, batch), strict=True):
                outputs[number] = output
            if each is not None:
                each(hidden_WLD, batch)
            done += batch.real_tokens
            listen(Progress(stage=stage, done=done, total=total, unit="tokens"))
    return outputs
