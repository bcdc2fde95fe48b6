"""What a state knows of a text: keys, values and buckets of every layer.

Legend: H heads, d head width, R rounds, W window, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from korformer.model.config import ModelConfig
from korformer.model.decode.pages import BucketPages
from korformer.model.decode.store import KeyValues

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel

Far = Literal["causal_lsh", "lsh", "full", "none"]


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """How the heads of a layer attend.

    Attributes:
        number: of the layer.
        near: heads that attend by distance alone; they come first.
        blocks: whether those have reformer-pytorch's windows, blocks and the block before.
        far: how the others attend.
        pages: number of the layer among those of its kind that hash.
        turned: heads from which on queries and keys are turned by their position; as many as there are for none.
    """

    number: int
    near: int
    blocks: bool
    far: Far
    pages: int
    turned: int

    def near_begin(self, position: int, window: int) -> int:
        """The first position that a near head sees from `position`."""
        return max(0, (position // window - 1) * window if self.blocks else position - window)


def layer_plans(model: ReformerModel) -> tuple[LayerPlan, ...]:
    """The plan of every layer of a model."""
    config = model.config
    plans: list[LayerPlan] = []
    for number, kind in enumerate(config.layer_kinds):
        near = model.near_heads(number)
        far: Far = "none" if kind == "local" else kind
        hashed = far in {"causal_lsh", "lsh"}
        if not config.rotary:
            turned = config.heads
        elif config.rotary_everywhere:
            turned = 0
        else:
            turned = near if hashed else config.heads
        plans.append(
            LayerPlan(
                number=number,
                near=near,
                blocks=kind == "lsh" and config.local_window is None,
                far=far,
                pages=sum(plan.far == far for plan in plans) if hashed else 0,
                turned=turned,
            )
        )
    return tuple(plans)


class Context:
    """Keys, values and buckets of the tokens so far.

    Args:
        config: the model's shape.
        plans: of its layers.
        dtype, device: of keys and values.
    """

    def __init__(
        self, config: ModelConfig, plans: tuple[LayerPlan, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.key_values = KeyValues(config.depth, config.heads, config.head_width, dtype, device)
        self.pages: dict[Far, BucketPages] = {}
        rows = (config.heads - config.n_local_attn_heads) * config.n_hashes
        page_sizes: dict[Far, int] = {"causal_lsh": config.bucket_window, "lsh": 2 * config.bucket_size}
        for far, page in page_sizes.items():
            layers = sum(plan.far == far for plan in plans)
            if layers:
                self.pages[far] = BucketPages(layers, rows, config.buckets, page, device)

    @property
    def capacities(self) -> tuple[int, ...]:
        """Tokens that each part has memory for; while these numbers stay the same the memory does."""
        return self.key_values.capacity, *(pages.capacity for pages in self.pages.values())

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more."""
        length = self.key_values.length
        self.key_values.reserve(tokens)
        for pages in self.pages.values():
            pages.reserve(length + tokens)

    def shorten(self, length: int) -> None:
        """Forget the tokens from position `length` on, whether all layers have read them or not."""
        self.key_values.shorten(length)
        for pages in self.pages.values():
            pages.shorten(length)

    def fork(self) -> Context:
        """The same for another continuation; keys and values are shared."""
        twin = object.__new__(Context)
        twin.key_values = self.key_values.fork()
        twin.pages = {far: pages.copy() for far, pages in self.pages.items()}
        return twin
