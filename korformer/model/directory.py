"""A model on disk: config.json, model.safetensors, the vocabulary's files, and a manifest that vouches for them.

The tensors carry reformer-pytorch's parameter names, each once: `ReformerLM(...).load_state_dict` takes them after its
own duplicates (`irrev_blocks`, the tied output) are filled in from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from reformer_pytorch.reformer_pytorch import FixedPositionalEmbedding
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from korformer.config import build
from korformer.errors import KorformerError, ModelDirectoryError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import MOST_ROUNDS, ModelConfig
from korformer.model.devices import choose_device
from korformer.model.found import CONFIG_NAME, WEIGHTS_NAME
from korformer.model.heads import HeadSpec, read_head_specs
from korformer.storage import read_json, update_directory, verify_manifest, write_json, write_text
from korformer.storage.tensors import load_tensors, save_tensors
from korformer.text.vocabulary import Vocabulary

CARD_NAME = "README.md"
VOCABULARY_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
MODEL_FILES = (CONFIG_NAME, WEIGHTS_NAME, "generation_config.json", CARD_NAME, *VOCABULARY_FILES)
"""Every file of a model directory but the manifest, which lists them."""

_FORMAT = "korformer"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is ready to be used.

    Attributes:
        model: in evaluation mode.
        vocabulary: the one it was trained with.
        path: its directory.
        config_json: the whole of config.json.
    """

    model: ReformerModel
    vocabulary: Vocabulary
    path: Path
    config_json: Mapping[str, Any] = field(default_factory=dict)


def parameters_to_save(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters under reformer-pytorch's names, each shared one once; or those of any other module."""
    return {name: parameter.detach() for name, parameter in _named_parameters(model).items()}


def load_parameters(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy saved parameters into a model.

    Raises:
        ModelDirectoryError: names or shapes are not those of the model; all that differ are named.
    """
    check_parameters(model, tensors, where=where)
    with torch.no_grad():
        for name, parameter in _named_parameters(model).items():
            parameter.copy_(tensors[name])


def check_parameters(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse saved parameters that are not those of the model, which may hold no memory yet. Errors as above."""
    own = _named_parameters(model)
    problems = [f"lacks {name}" for name in own if name not in tensors]
    problems += [f"has an unknown tensor {name}" for name in tensors if name not in own]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(parameter.shape)}"
        for name, parameter in own.items()
        if name in tensors and tensors[name].shape != parameter.shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ModelDirectoryError(f"does not fit its config.json: {shown}", where=where)


def _named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict((model.lm if isinstance(model, ReformerModel) else model).named_parameters())


def write_description(
    directory: Path,
    model: ReformerModel,
    vocabulary: Vocabulary,
    *,
    objective: str,
    training: Mapping[str, Any],
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of a model directory that do not change while it is trained.

    Args:
        directory: an existing folder.
        model, vocabulary: what is described.
        objective: what the model was trained for, "ar".
        training: facts for readers, such as the objective's settings.
        task: what it was fine-tuned for (`korformer.supervised.task.TaskDescription`), or None.
    """
    vocabulary.save_files(directory)
    write_json(
        directory / CONFIG_NAME,
        {
            "format": _FORMAT,
            "version": _VERSION,
            "objective": objective,
            "model": model.config.model_dump(mode="json"),
            "heads": {name: head.spec.model_dump(mode="json") for name, head in model.heads.items()},
            "vocabulary": {
                "size": vocabulary.size,
                "scheme": vocabulary.scheme,
                "fingerprint": vocabulary.fingerprint,
            },
            "training": dict(training),
            **({"task": dict(task)} if task is not None else {}),
        },
    )
    write_json(directory / "generation_config.json", {"temperature": 1.0, "top_p": 0.9, "eos_token_id": 3})


def publish(directory: Path, tensors: Mapping[str, Tensor], card: str) -> None:
    """Replace weights and model card beside the description, together, with a manifest of the whole."""
    with update_directory(directory, MODEL_FILES) as staged:
        save_tensors(staged / WEIGHTS_NAME, tensors, {"format": "pt"})
        write_text(staged / CARD_NAME, card)


def load_model(directory: Path, *, n_hashes: int | None = None, device: str = "cpu") -> LoadedModel:
    """Open a model directory that may come from anyone.

    Args:
        directory: the folder.
        n_hashes: rounds of hashing to use instead of those it was trained with.
        device: where to put the weights: "auto", "cpu" or "cuda".

    Raises:
        PathError: it does not exist or may not be read.
        ModelDirectoryError: it is not a model directory, damaged, or its parts do not belong together.
        UsageError: `n_hashes` is not a number of rounds, or there is no such device.
    """
    place = choose_device(device)
    if place.index is not None:
        torch.cuda.set_device(place)  # kernels of our own and recorded steps run on the current one
    verify_manifest(directory, required=MODEL_FILES)
    config_json = read_json(directory, CONFIG_NAME)
    config, heads = _read_config(config_json, str(directory / CONFIG_NAME))
    if n_hashes is not None:
        if not 1 <= n_hashes <= MOST_ROUNDS:
            raise UsageError(f"the number of hash rounds is 1 to {MOST_ROUNDS}, not {n_hashes}", where="--hashes")
        config = config.model_copy(update={"n_hashes": n_hashes})
    vocabulary = Vocabulary.load(directory)
    described = config_json.get("vocabulary")
    if not isinstance(described, dict) or described.get("fingerprint") != vocabulary.fingerprint:
        raise ModelDirectoryError(
            "the vocabulary is not the one the model was trained with",
            where=str(directory),
            hint="Copy the whole directory from where the model was trained.",
        )
    tensors, _ = load_tensors(directory / WEIGHTS_NAME)
    model = _filled_model(config, vocabulary.size, heads, tensors, where=str(directory / WEIGHTS_NAME))
    return LoadedModel(model=model.to(place).eval(), vocabulary=vocabulary, path=directory, config_json=config_json)


def _read_config(config_json: Mapping[str, Any], where: str) -> tuple[ModelConfig, dict[str, HeadSpec]]:
    if config_json.get("format") != _FORMAT or not isinstance(config_json.get("model"), dict):
        raise ModelDirectoryError("is not the configuration of a korformer model", where=where)
    if config_json.get("version") != _VERSION:
        raise ModelDirectoryError(
            f"has version {config_json.get('version')!r}, this korformer reads {_VERSION}",
            where=where,
            hint="Install the korformer that wrote it, or a newer one.",
        )
    try:
        heads = read_head_specs(config_json.get("heads", {}), where=where)
        return build(ModelConfig, config_json["model"]), heads
    except KorformerError as error:
        raise ModelDirectoryError(error.what, where=where) from error


class _Undrawn(TorchFunctionMode):
    """Inside, weights have a shape but no memory of their own, and are not drawn.

    So they are on torch's "meta" device; but what is done to tensors there imports torch's compiler, which takes longer
    than all the rest of opening a model.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`func`; one number as often as asked for where it makes a tensor to be filled, nothing where it draws."""
        named = dict(kwargs or {})
        if func is torch.empty:
            shaped = func(*args, **{**named, "device": "meta"})
            return torch.zeros((), dtype=shaped.dtype).expand(shaped.shape)
        if getattr(func, "__module__", None) == nn.init.__name__ or func in {Tensor.normal_, Tensor.uniform_}:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _filled_model(
    config: ModelConfig,
    vocabulary_size: int,
    heads: Mapping[str, HeadSpec],
    tensors: Mapping[str, Tensor],
    *,
    where: str,
) -> ReformerModel:
    """A model with the given parameters; none are drawn, and no memory is taken before they are known to fit."""
    with _Undrawn():
        model = ReformerModel(config, vocabulary_size, heads)
    check_parameters(model, tensors, where=where)
    model.to_empty(device="cpu")
    if config.weight_tie_embedding:
        model.lm.out[1].tensor = model.lm.token_emb.weight
    for module in model.modules():
        if isinstance(module, FixedPositionalEmbedding):  # the only buffers; their content is not saved
            width = module.inv_freq.shape[0] * 2
            module.inv_freq.copy_(1.0 / 10000 ** (torch.arange(0, width, 2).float() / width))
    load_parameters(model, tensors, where=where)
    return model
