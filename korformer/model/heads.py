"""What stands on a model's hidden states beside its output layer: a small network for each task, by name.

Legend: D model width, O outputs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from korformer.config import Settings, build
from korformer.errors import UsageError

MOST_HEADS = 32
"""Heads that a model may have."""


class HeadSpec(Settings):
    """The shape of a head; it stands in config.json."""

    reads: Literal["tokens", "first"]
    """tokens: each token by itself (ELECTRA's discriminator); first: the first token of a document, [CLS], for all of
    it (BERT's pooler)."""
    outputs: Annotated[int, Field(ge=1, le=2**16)]
    """Numbers that it gives."""


class Head(nn.Module):
    """Linear, nonlinearity (tanh for `first`, GELU for `tokens`), linear; (…, D) -> (…, O).

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
        scores: Tensor = self.out(torch.tanh(x) if self.spec.reads == "first" else nn.functional.gelu(x))
        return scores


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
