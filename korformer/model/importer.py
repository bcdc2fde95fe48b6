"""Checkpoints of older projects on reformer-pytorch, read into korformer models.

What such a project saved with `torch.save` is a `state_dict` of a ReformerLM from 1.1.3 on, bare or inside a dictionary
with optimizer and epoch, its names behind a prefix (`reformer.` in a module with a separate `lm_head`, `module.` from
data parallelism). Layers are there twice (`blocks`, `irrev_blocks`), axial positions as `weights_0` and `weights_1` or
as `weights.0` and `weights.1`, and before 1.2 there is no final norm. Files are read with `weights_only=True`: nothing
but tensors, numbers and strings comes out of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from korformer.config import build
from korformer.errors import ModelDirectoryError, PathError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.model.exchange import from_reformer_lm
from korformer.storage import staged_directory
from korformer.storage.untrusted import open_regular
from korformer.text.vocabulary import Vocabulary

EMBEDDING = "token_emb.weight"
ASSUMED: Mapping[str, Any] = {"attention": "lsh", "n_hashes": 4, "n_local_attn_heads": 0, "ff_activation": "gelu"}
"""Settings that leave no trace in the weights, as ReformerLM has them where nothing else is said."""

_OWN = ("token_emb.", "to_model_dim.", "pos_emb.", "layer_pos_emb.", "reformer.", "norm.", "out.")
_DEPTH_SEARCHED = 3
_BLOCK = re.compile(r"reformer\.layers\.blocks\.(\d+)\.")
_REFUSED = {
    r"\.mem_kv$": "memory key-values (num_mem_kv)",
    r"\.g\.net\.fn\.(keys|values)": "product-key memory (pkm_layers)",
    r"\.g\.net\.fn\.toqk": "twin attention (twin_attention)",
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights of one ReformerLM as they lay in a file.

    Attributes:
        where: the file, for messages.
        weights: float32, by ReformerLM's own names of 1.4; an output layer from outside it is among them.
        left_out: names of tensors that belong to something else.
    """

    where: str
    weights: Mapping[str, Tensor]
    left_out: tuple[str, ...]


def read_checkpoint(path: Path, *, prefix: str | None = None) -> Checkpoint:
    """Read what `torch.save` wrote.

    Args:
        path: the file.
        prefix: what stands before `token_emb.weight`, where a file holds several models.

    Raises:
        PathError: it is missing or unreadable.
        ModelDirectoryError: not such a file, or without a ReformerLM that korformer can compute.
        UsageError: it holds several models and `prefix` names none of them.
    """
    where = str(path)
    if not os.path.lexists(path):
        raise PathError("no such file", where=where)
    with open_regular(path) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a file that is none of ours makes the reader raise
            raise ModelDirectoryError(
                "is no checkpoint of tensors alone, so nothing of it was loaded",
                where=where,
                hint="Write its state_dict() with the program that made it: torch.save(model.state_dict(), FILE).",
            ) from error
    found = list(_state_dicts(content, _DEPTH_SEARCHED))
    if len(found) != 1:
        what = f"holds {len(found)} sets of weights" if found else f"has no tensor named {EMBEDDING}"
        raise ModelDirectoryError(f"{what}; one of a ReformerLM is wanted", where=where)
    tensors = found[0]
    prefix = _prefix(tensors, prefix, where)
    own = tuple(prefix + name for name in _OWN)
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(own)}
    outside = {name: tensor for name, tensor in tensors.items() if not name.startswith(own)}
    _refuse_unsupported(inside, where)
    weights = {_modern(name): tensor.float() for name, tensor in inside.items()}
    _refuse_infinite(weights, where)
    used = _add_output_layer(weights, outside, where)
    return Checkpoint(where=where, weights=weights, left_out=tuple(sorted(outside.keys() - used)))


def _state_dicts(content: object, depth: int) -> Iterator[Mapping[str, Tensor]]:
    if not isinstance(content, Mapping) or depth == 0:
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if any(name.endswith(EMBEDDING) for name in tensors):
        yield tensors
    else:
        for value in content.values():
            yield from _state_dicts(value, depth - 1)


def _prefix(tensors: Mapping[str, Tensor], wanted: str | None, where: str) -> str:
    prefixes = [name.removesuffix(EMBEDDING) for name in tensors if name.endswith(EMBEDDING)]
    if wanted is None and len(prefixes) == 1:
        return prefixes[0]
    if wanted is not None and wanted in prefixes:
        return wanted
    listed = ", ".join(repr(prefix) for prefix in prefixes)
    if wanted is None:
        raise UsageError(f"holds {len(prefixes)} models", where=where, hint=f"Choose one with --prefix: {listed}.")
    raise UsageError(f"has no {wanted + EMBEDDING!r}", where=where, hint=f"There is --prefix {listed}.")


def _modern(name: str) -> str:
    """The name that a parameter has in reformer-pytorch 1.4."""
    return re.sub(r"^pos_emb\.weights_(\d+)$", r"pos_emb.weights.\1", name)


def _refuse_unsupported(weights: Mapping[str, Tensor], where: str) -> None:
    found = [what for pattern, what in _REFUSED.items() if any(re.search(pattern, name) for name in weights)]
    if found:
        raise ModelDirectoryError(f"uses {' and '.join(found)}, which korformer does not compute", where=where)


def _refuse_infinite(weights: Mapping[str, Tensor], where: str) -> None:
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ModelDirectoryError(f"has values in {broken[0]} that are not finite", where=where)


def _add_output_layer(weights: dict[str, Tensor], outside: Mapping[str, Tensor], where: str) -> set[str]:
    """Take an output layer that lies beside a ReformerLM of embeddings into it; the names that were used."""
    if any(name.startswith("out.") for name in weights):
        return set()
    vocabulary, embedding_width = weights[EMBEDDING].shape
    width = weights["to_model_dim.weight"].shape[0] if "to_model_dim.weight" in weights else embedding_width
    heads = [name for name, tensor in outside.items() if tensor.shape == (vocabulary, width)]
    if len(heads) != 1 or not heads[0].endswith("weight"):
        raise ModelDirectoryError(
            f"has no output layer: neither out.1 nor one matrix of {vocabulary} x {width} beside the model",
            where=where,
            hint="The head of a fine-tuned task cannot be imported.",
        )
    if width != embedding_width:
        raise ModelDirectoryError(
            f"has an output layer of width {width} over a factorised embedding of width {embedding_width}, "
            "which ReformerLM has no form for",
            where=where,
        )
    bias = heads[0].removesuffix("weight") + "bias"
    weights["out.1.weight"] = outside[heads[0]].float()
    weights["out.1.bias"] = outside[bias].float() if bias in outside else torch.zeros(vocabulary)
    return {heads[0], bias}


def read_shapes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of ModelConfig that a ReformerLM's weights determine."""
    attention, feed_forward = "reformer.layers.blocks.0.f.net.", "reformer.layers.blocks.0.g.net."
    numbers = {int(match[1]) for match in map(_BLOCK.match, weights) if match}
    embedding_width = weights[EMBEDDING].shape[1]
    dim = weights[f"{attention}fn.toqk.weight"].shape[1]
    queries, values = (weights[f"{attention}fn.{name}.weight"].shape[0] for name in ("toqk", "tov"))
    hidden = weights[f"{feed_forward}fn.fn.w2.weight"].shape[1]
    shapes: dict[str, Any] = {
        "dim": dim,
        "depth": len(numbers),
        "one_value_head": values < queries,
        "ff_mult": hidden // dim,
        "ff_glu": weights[f"{feed_forward}fn.fn.w1.weight"].shape[0] == 2 * hidden,
        "use_rezero": f"{attention}g" in weights,
        "use_scale_norm": f"{attention}norm.g" in weights,
        "weight_tie": len(numbers) > 1 and all(_same_layer(weights, number) for number in numbers),
        "weight_tie_embedding": "out.1.tensor" in weights,
        "final_norm": "norm.weight" in weights,
        **_positions(weights),
    }
    if embedding_width != dim:
        shapes["emb_dim"] = embedding_width
    if values < queries:
        shapes["heads"] = queries // values
    elif "layer_pos_emb.inv_freq" in weights:
        shapes["heads"] = queries // (2 * weights["layer_pos_emb.inv_freq"].shape[0])
    return shapes


def _same_layer(weights: Mapping[str, Tensor], number: int) -> bool:
    pairs = ((name, name.replace("blocks.0.", f"blocks.{number}.", 1)) for name in weights if ".blocks.0." in name)
    return all(torch.equal(weights[one], weights[other]) for one, other in pairs if ".fn." in one)


def _positions(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    none = {"axial_position_emb": False, "absolute_position_emb": False, "fixed_position_emb": False}
    if "pos_emb.weights.0" in weights:
        rows, columns = weights["pos_emb.weights.0"].shape[1], weights["pos_emb.weights.1"].shape[2]
        shape = {"axial_position_shape": (rows, columns), "max_seq_len": rows * columns}
        # The usual shape has one column for each token of a bucket, and the usual bucket has 64.
        return {**none, "axial_position_emb": True, **shape, **({"bucket_size": 64} if columns == 64 else {})}
    if "pos_emb.emb.weight" in weights:
        return {**none, "absolute_position_emb": True, "max_seq_len": weights["pos_emb.emb.weight"].shape[0]}
    if "pos_emb.inv_freq" in weights:
        return {**none, "fixed_position_emb": True}
    return {**none, "rotary_everywhere": False}


def import_checkpoint(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> ReformerModel:
    """The model of a checkpoint.

    Args:
        checkpoint: from `read_checkpoint`.
        settings: values of ModelConfig that the weights do not determine.

    Raises:
        UsageError: settings are missing, unknown, illegal or contradict the weights; all of one sort are named.
        ModelDirectoryError: the weights are not those of a ReformerLM with these settings.
    """
    try:
        shapes = read_shapes(checkpoint.weights)
    except (KeyError, IndexError) as error:
        raise ModelDirectoryError(
            f"is not of a ReformerLM: nothing to read at {error}", where=checkpoint.where
        ) from error
    contradicted = [
        f"{key} = {value!r} (the weights say {shapes[key]!r})"
        for key, value in settings.items()
        if key in shapes
        and key != "bucket_size"
        and shapes[key] != (tuple(value) if isinstance(value, list) else value)
    ]
    if contradicted:
        raise UsageError("contradicts the checkpoint: " + "; ".join(contradicted), where="model")
    values = {**ASSUMED, **shapes, **settings}
    if "axial_position_shape" not in values:
        values.setdefault("bucket_size", 64)
    missing = [key for key in ("heads", "causal", "max_seq_len", "bucket_size") if key not in values]
    if missing:
        raise UsageError(
            f"the weights do not tell {', '.join(missing)}",
            where=checkpoint.where,
            hint="Say what the model was made with: " + " ".join(f"--set model.{key}=…" for key in missing) + ".",
        )
    values.setdefault("dim_head", _head_width(checkpoint, values))
    config = build(ModelConfig, values, where="model")
    return from_reformer_lm(checkpoint.weights, config, where=checkpoint.where)


def _head_width(checkpoint: Checkpoint, values: Mapping[str, Any]) -> int | None:
    """Width of a head where it is not dim / heads."""
    queries = checkpoint.weights["reformer.layers.blocks.0.f.net.fn.toqk.weight"].shape[0]
    heads = values["heads"]
    if not isinstance(heads, int) or heads < 1 or queries % heads:
        raise UsageError(f"heads = {heads!r} does not divide the {queries} rows of the query matrix", where="model")
    return None if queries == values["dim"] else queries // heads


def write_imported(directory: Path, model: ReformerModel, vocabulary: Vocabulary, *, source: str) -> None:
    """Write an imported model as a model directory.

    Args:
        directory: where to; it must not exist, or be empty.
        model: from `import_checkpoint`.
        vocabulary: the one it was trained with.
        source: name of the file it comes from, for the model card.

    Raises:
        ModelDirectoryError: the vocabulary is of another size than the model's.
        PathError, ResourceError: as `staged_directory`.
    """
    if vocabulary.size != model.vocabulary_size:
        raise ModelDirectoryError(
            f"the model has {model.vocabulary_size:,} tokens, the vocabulary {vocabulary.size:,}",
            where=source,
            hint="Give the vocabulary that it was trained with.",
        )
    config = model.config
    card = f"""---
language: ko
library_name: korformer
---

# An imported Reformer

From `{source}`, a checkpoint of reformer-pytorch: {"decoder" if config.causal else "encoder"}, {config.depth} layers of
width {config.dim}, {config.heads} heads, window of {config.max_seq_len:,} tokens.

Training data, licence and results are not in a checkpoint; whoever shares this model names them.
"""
    objective = "ar" if config.causal else "mlm"
    with staged_directory(directory) as staged:
        write_description(staged, model, vocabulary, objective=objective, training={"imported_from": source})
        publish(staged, parameters_to_save(model), card)
