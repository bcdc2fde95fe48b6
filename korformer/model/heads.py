"""What stands on a model's hidden states beside its output layer: a small network for each task, by name.

Legend: D model width, O outputs, N layers' outputs that are mixed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from korformer.config import Settings, build
from korformer.errors import UsageError
from korformer.model.crf import TagTransitions

MOST_HEADS = 32
"""Heads that a model may have."""


class HeadSpec(Settings):
    """The shape of a head; it stands in config.json."""

    reads: Literal["tokens", "first", "mean", "layers", "tags"]
    """tokens: each token by itself (ELECTRA's discriminator); first: one token of a document, [CLS], for all of it
    (BERT's pooler); mean: the mean of a document's tokens; layers: the outputs of all layers, of which it makes one
    (ELMo's mix); tags: the scores of tags in a row, of which it scores sequences (a conditional random field)."""
    outputs: Annotated[int, Field(ge=1, le=2**16)]
    """Numbers that it gives; of `layers` the number of outputs that it reads."""


class Head(nn.Module):
    """Linear, nonlinearity (GELU for `tokens`, else tanh), linear; (…, D) -> (…, O).

    Args:
        spec: its shape.
        dim: D.
    """

    def __init__(self, spec: HeadSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.dense = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, spec.outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores (…, O) in the precision of the hidden states (…, D)."""
        x = self.dense(hidden)
        scores: Tensor = self.out(nn.functional.gelu(x) if self.spec.reads == "tokens" else torch.tanh(x))
        return scores


class LayerMix(nn.Module):
    """A learnt mix of the outputs of all layers, scale · Σ softmax(weights)ₙ · LayerNorm(hidden)ₙ (Peters et al. 2018);
    (N, …, D) -> (…, D).

    Args:
        spec: its shape.
        dim: D.
    """

    def __init__(self, spec: HeadSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.weights = nn.Parameter(torch.zeros(spec.outputs))
        self.scale = nn.Parameter(torch.ones(1))

    @torch.no_grad()
    def reset(self) -> None:
        """Begin with all layers alike."""
        self.weights.zero_()
        self.scale.fill_(1.0)

    def forward(self, hidden: Tensor) -> Tensor:
        """The mix (…, D) of hidden states (N, …, D)."""
        level = nn.functional.layer_norm(hidden, hidden.shape[-1:])
        mixed: Tensor = self.scale * torch.tensordot(self.weights.softmax(dim=0), level, dims=1)
        return mixed


HEADS: Mapping[str, Any] = MappingProxyType(
    {"tokens": Head, "first": Head, "mean": Head, "layers": LayerMix, "tags": TagTransitions}
)
"""The module of each kind of head; those that have a `reset` set their new parameters themselves."""


def make_head(spec: HeadSpec, dim: int) -> Head:
    """A head of this shape for a model of width `dim`."""
    head: Head = HEADS[spec.reads](spec, dim)
    return head


def read_head_specs(value: Any, *, where: str) -> dict[str, HeadSpec]:
    """The heads that a config.json from anyone describes.

    Raises:
        UsageError: it describes none in this way.
    """
    if not isinstance(value, dict) or len(value) > MOST_HEADS:
        raise UsageError(f"heads must be a table of at most {MOST_HEADS}", where=where)
    for name in value:
        if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name) or hasattr(nn.ModuleDict(), name):
            raise UsageError(f"no head can have the name {name[:40]!r}", where=where)
    return {
        name: build(HeadSpec, spec if isinstance(spec, dict) else {}, where=f"{where}, head {name}")
        for name, spec in value.items()
    }
