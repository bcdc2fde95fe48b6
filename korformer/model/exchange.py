"""Weights to and from `reformer_pytorch.ReformerLM`.

A model of kind `lsh` (or `full`) is one of reformer-pytorch computed otherwise: the same parameters, and with the same
hash buckets the same outputs. What korformer adds to it has a configuration field each, and none of these can be
exported. Two things differ even so: ReformerLM draws new hash rotations at every forward, evaluation included, and
makes its number of buckets from the length it is given, where korformer takes max_seq_len.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from reformer_pytorch.reformer_pytorch import ReformerLM
from torch import Tensor, nn

from korformer.errors import ModelDirectoryError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.blocks import inner_attention, inner_feed_forward
from korformer.model.config import ModelConfig

_PROBLEMS_SHOWN = 3


def inexpressible(config: ModelConfig) -> dict[str, str]:
    """Fields of a configuration that ReformerLM has no form for, each with the reason; none for a model of its kind."""
    kinds = set(config.layer_kinds)
    reasons: dict[str, str] = {}
    own = sorted(kinds - {"lsh", "full"})
    if own:
        field = "attention" if config.attention_layers is None else "attention_layers"
        reasons[field] = f"ReformerLM has no layers of kind {' or '.join(own)}"
    elif len(kinds) > 1:
        reasons["attention_layers"] = "all layers of a ReformerLM are of one kind"
    if config.window is not None:
        reasons["window"] = "it belongs to causal_lsh"
    if config.local_window is not None:
        reasons["local_window"] = "its local heads always have blocks of 2 x bucket_size tokens"
    if config.bucket_factors is not None:
        reasons["bucket_factors"] = "it hashes with one factor"
    if not config.rehash:
        reasons["rehash"] = "it draws new rotations at every forward"
    if config.rotary and config.rotary_everywhere and ("full" in kinds or config.n_local_attn_heads):
        reasons["rotary_everywhere"] = "it turns the queries and keys of hashed heads only"
    if config.segments:
        reasons["segments"] = "it has no segment embeddings"
    if config.post_attn_dropout:
        reasons["post_attn_dropout"] = "it ignores its argument of that name"
    if not config.final_norm:
        reasons["final_norm"] = "it always has that norm"
    return reasons


def to_reformer_lm(model: ReformerModel) -> ReformerLM:
    """A ReformerLM of its own with a copy of the model's weights.

    With the same hash buckets its logits are the model's, for sequences of max_seq_len tokens and without padding.
    Heads are left out.

    Raises:
        UsageError: the configuration has fields that ReformerLM cannot express; all of them are named.
    """
    config = model.config
    reasons = inexpressible(config)
    if reasons:
        raise UsageError(
            "cannot become a ReformerLM: "
            + "; ".join(f"{field} = {getattr(config, field)!r} ({reason})" for field, reason in reasons.items()),
            where="model",
        )
    lm = copy.deepcopy(model.lm)
    if hasattr(lm, "heads"):
        del lm.heads
    lm.reformer.layers.layer_dropout = config.layer_dropout
    for block in lm.reformer.layers.blocks:
        attention, feed_forward = inner_attention(block.f.net), inner_feed_forward(block.g.net)
        feed_forward.dropout.p = config.ff_dropout
        if "full" in config.layer_kinds:
            attention.use_full_attn, attention.n_local_attn_heads = True, 0
    return lm


def from_reformer_lm(weights: Mapping[str, Tensor], config: ModelConfig, *, where: str = "weights") -> ReformerModel:
    """The model of a ReformerLM's `state_dict`, in evaluation mode and in the weights' precision.

    Args:
        weights: by ReformerLM's names; of the several names of a shared parameter at least one.
        config: the model's shape and the meaning of its weights.
        where: what to call the weights in messages.

    Raises:
        ModelDirectoryError: names or shapes are not those of the configuration, or two names of one parameter differ.
    """
    embedding = weights.get("token_emb.weight")
    if embedding is None or embedding.dim() != 2:
        raise ModelDirectoryError("has no token_emb.weight, so it is not of a ReformerLM", where=where)
    model = ReformerModel(config, embedding.shape[0]).to(embedding.dtype)
    fill(model.lm, weights, where=where)
    return model.eval()


def fill(lm: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Copy a `state_dict` into a module whose parameters may have several names. Errors as `from_reformer_lm`."""
    names: dict[Tensor, list[str]] = {parameter: [] for parameter in lm.parameters()}
    unknown = set(weights)
    for name, tensor in lm.state_dict(keep_vars=True).items():
        unknown.discard(name)
        if tensor in names:
            names[tensor].append(name)
    problems = [f"has an unknown tensor {name}" for name in sorted(unknown) if not name.endswith(".inv_freq")]
    for parameter, aliases in names.items():
        given = [name for name in aliases if name in weights]
        if not given:
            problems.append(f"lacks {aliases[0]}")
        for name in given:
            if weights[name].shape != parameter.shape:
                problems.append(f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(parameter.shape)}")
            elif weights[name].shape == weights[given[0]].shape and not torch.equal(weights[name], weights[given[0]]):
                problems.append(f"{name} and {given[0]} are one parameter and differ")
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        shown = "; ".join(problems[:_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise ModelDirectoryError(f"does not fit the configuration: {shown}", where=where)
    with torch.no_grad():
        for parameter, aliases in names.items():
            parameter.copy_(next(weights[name] for name in aliases if name in weights))
