"""A state as tensors that can be kept in a file, and back.

tokens                      (T,) int64
keys_values.<layer>         (T, H, 2d)
buckets.<layer>             (T, H x R) int16 or int32, of hashed layers
fingerprint                 (32,) uint8: SHA-256 of the model's configuration and of a sample of its weights
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from korformer.errors import InputError

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel
    from korformer.model.decode.context import Context, LayerPlan

_SAMPLE = 64
"""Numbers of each parameter that the fingerprint looks at."""

_HINT = "Read the text again; a saved state belongs to one model, its weights and its number of hash rounds."


def fingerprint(model: ReformerModel) -> Tensor:
    """SHA-256 of the configuration and of a sample of the weights, (32,) uint8."""
    digest = hashlib.sha256(f"{model.config.model_dump_json()} {model.vocabulary_size}".encode())
    for name, parameter in model.lm.named_parameters():
        flat = parameter.detach().flatten()
        sample = flat[:: max(1, flat.numel() // _SAMPLE)][:_SAMPLE]
        digest.update(
            f"{name} {tuple(parameter.shape)} ".encode() + sample.float().cpu().contiguous().numpy().tobytes()
        )
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def take(model: ReformerModel, tokens: list[int], context: Context, plans: tuple[LayerPlan, ...]) -> dict[str, Tensor]:
    """The tensors of a state."""
    length = len(tokens)
    tensors = {"fingerprint": fingerprint(model), "tokens": torch.tensor(tokens, dtype=torch.int64)}
    for plan in plans:
        tensors[f"keys_values.{plan.number}"] = context.key_values.span(plan.number, 0, length).clone()
        if plan.far in context.pages:
            history = context.pages[plan.far].history(plan.pages, length)
            tensors[f"buckets.{plan.number}"] = history.contiguous().clone()
    return tensors


def put_back(
    model: ReformerModel, tensors: Mapping[str, Tensor], context: Context, plans: tuple[LayerPlan, ...]
) -> list[int]:
    """Fill an empty context; its tokens.

    Raises:
        InputError: the tensors are of another model, or damaged.
    """
    mark = tensors.get("fingerprint")
    if mark is None or not torch.equal(mark.cpu(), fingerprint(model)):
        raise InputError("the saved state is not of this model", where="snapshot", hint=_HINT)
    tokens = _checked(tensors, "tokens", None, {torch.int64}).tolist()
    length = len(tokens)
    if length > model.config.max_seq_len or not all(0 <= token < model.vocabulary_size for token in tokens):
        raise InputError("holds tokens that the model has not", where="snapshot: tokens", hint=_HINT)
    context.reserve(length)
    rows = context.key_values.take(length)
    for plan in plans:
        into = context.key_values.layer(plan.number)[rows]
        into.copy_(_checked(tensors, f"keys_values.{plan.number}", tuple(into.shape), {into.dtype}))
        if plan.far in context.pages:
            pages = context.pages[plan.far]
            shape = (length, pages.rows)
            buckets = _checked(tensors, f"buckets.{plan.number}", shape, {torch.int16, torch.int32})
            if length and not 0 <= int(buckets.min()) <= int(buckets.max()) < pages.buckets:
                raise InputError(
                    "holds buckets that there are not", where=f"snapshot: buckets.{plan.number}", hint=_HINT
                )
            pages.extend(plan.pages, buckets.T.to(into.device))
    return tokens


def _checked(
    tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...] | None, dtypes: set[torch.dtype]
) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype not in dtypes or (tensor.dim() != 1 if shape is None else tensor.shape != shape):
        raise InputError("is missing or has another shape or type", where=f"snapshot: {name}", hint=_HINT)
    return tensor
