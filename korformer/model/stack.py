"""The layers one after another over two residual streams, with or without remembering what lies between.

A layer adds attention of the second stream to the first, then feed-forward of the first to the second:
y1 = x1 + f(x2), y2 = x2 + g(y1) (Gomez et al. 2017). So x2 = y2 - g(y1) and x1 = y1 - f(x2): the reversible form keeps
the last streams only and computes the others again in backward, a third more arithmetic for activations that do
not grow with depth. What attention decided by hashing is kept, not hashed again: streams that come back differ in
their last bits, and a hash may flip on those.

Legend: B samples, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from korformer.model.attention.ordered import whole_sums
from korformer.model.blocks import FEED_FORWARD_TOKENS


class Layer(Protocol):
    """One layer, as the stack sees it."""

    def attend(self, x_BTD: Tensor, buckets: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Attention block and the buckets it used; those given are used instead of hashing."""
        ...

    def feed_forward(self, x_BTD: Tensor, first: int) -> Tensor:
        """Feed-forward block of tokens of which the first has number `first` in its row."""
        ...

    def attention_parameters(self) -> list[Tensor]:
        """Parameters of the attention block."""
        ...

    def feed_forward_parameters(self) -> list[Tensor]:
        """Parameters of the feed-forward block."""
        ...


def run_layers(layers: Sequence[Layer], x_BTD: Tensor, *, reversible: bool) -> Tensor:
    """Mean of the two residual streams after all layers, (B, T, D).

    Args:
        layers: from the first to the last.
        x_BTD: what both streams begin with.
        reversible: keep nothing but the last streams for backward, which uses up the gradient of the result. Without
            gradients this is how it is done anyway.
    """
    if not torch.is_grad_enabled():
        x1, x2 = _without_graph(layers, x_BTD, keep=None)
        return x1.add_(x2).div_(2)
    if reversible:
        parameters = _distinct(p for layer in layers for p in _parameters(layer))
        mean: Tensor = _Reversible.apply(layers, x_BTD, *parameters)  # type: ignore[no-untyped-call]
        return mean
    x1 = x2 = x_BTD
    for layer in layers:
        x1 = x1 + layer.attend(x2, None)[0]
        x2 = x2 + layer.feed_forward(x1, 0)
    return (x1 + x2) / 2


def layer_means(layers: Sequence[Layer], x_BTD: Tensor) -> Iterator[Tensor]:
    """Mean of the two streams before the first layer and after each, (B, T, D); without gradients."""
    yield x_BTD
    x1 = x2 = x_BTD
    for layer in layers:
        x1 = x1 + layer.attend(x2, None)[0]
        x2 = x2 + layer.feed_forward(x1, 0)
        yield (x1 + x2) / 2


def _parameters(layer: Layer) -> list[Tensor]:
    return [*layer.attention_parameters(), *layer.feed_forward_parameters()]


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _token_blocks(tokens: int) -> list[slice]:
    return [slice(first, first + FEED_FORWARD_TOKENS) for first in range(0, tokens, FEED_FORWARD_TOKENS)]


def _without_graph(layers: Sequence[Layer], x_BTD: Tensor, keep: list[Tensor | None] | None) -> tuple[Tensor, Tensor]:
    """The last streams; the buckets of each layer are appended to `keep`."""
    x1, x2 = x_BTD.clone(), x_BTD.clone()
    for layer in layers:
        y, buckets = layer.attend(x2, None)
        x1 += y
        del y
        for block in _token_blocks(x1.shape[1]):
            x2[:, block] += layer.feed_forward(x1[:, block], block.start)
        if keep is not None:
            keep.append(buckets)
    return x1, x2


class _Gradients:
    """Sums of gradients by parameter, and the precision that recomputation must have: that of the forward.

    The sums are one piece of memory from the beginning: taken as they come, they would settle in the holes that each
    layer's freed activations leave, and the next layer's would need new memory.
    """

    def __init__(self, parameters: Sequence[Tensor], wanted: Sequence[bool], autocast: dict[str, Any]) -> None:
        self.autocast = autocast
        chosen = [parameter for parameter, want in zip(parameters, wanted, strict=True) if want]
        kinds = {(parameter.dtype, parameter.device) for parameter in chosen}
        self._sums: dict[int, Tensor] = {}
        for dtype, device in kinds:
            alike = [parameter for parameter in chosen if (parameter.dtype, parameter.device) == (dtype, device)]
            sizes = [parameter.numel() for parameter in alike]
            pieces = torch.zeros(sum(sizes), dtype=dtype, device=device).split(sizes)
            self._sums |= {id(p): piece.view(p.shape) for p, piece in zip(alike, pieces, strict=True)}

    def wanted(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        return [parameter for parameter in parameters if id(parameter) in self._sums]

    def add(self, parameter: Tensor, gradient: Tensor) -> None:
        self._sums[id(parameter)] += gradient

    def of(self, parameter: Tensor) -> Tensor | None:
        return self._sums.pop(id(parameter), None)


def _back_through(
    run: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor, parameters: Sequence[Tensor], gradients: _Gradients
) -> tuple[Tensor, Tensor]:
    """Compute run(x) again; its value, and the gradient of x. Those of `parameters` are added to `gradients`."""
    wanted = gradients.wanted(parameters)
    with torch.enable_grad(), torch.autocast(**gradients.autocast):
        x = x.detach().requires_grad_()
        y = run(x)
    dx, *others = torch.autograd.grad(y, [x, *wanted], grad.to(y.dtype))
    for parameter, gradient in zip(wanted, others, strict=True):
        gradients.add(parameter, gradient)
    return y.detach(), dx


class _Reversible(torch.autograd.Function):
    """All layers as one node of the graph. Its state lies in the node, so any number of forwards may precede a
    backward; parameters are inputs, so they get their gradients whether or not the embedding needs one.
    """

    @staticmethod
    def forward(ctx: Any, layers: Sequence[Layer], x_BTD: Tensor, *parameters: Tensor) -> Tensor:
        ctx.layers, ctx.buckets = layers, []
        ctx.autocast = _autocast_state(x_BTD.device.type)
        with whole_sums():
            ctx.streams = _without_graph(layers, x_BTD, keep=ctx.buckets)
        ctx.save_for_backward(*parameters)
        y1, y2 = ctx.streams
        mean: Tensor = (y1 + y2).div_(2)
        return mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.streams is None:
            raise RuntimeError("a reversible forward keeps its streams for one backward; run the forward again")
        (y1, y2), ctx.streams = ctx.streams, None
        dy1 = grads[0].div_(2) if _is_whole(grads[0]) else grads[0] / 2
        dy2 = dy1.clone()
        gradients = _Gradients(ctx.saved_tensors, ctx.needs_input_grad[2:], ctx.autocast)
        for layer, buckets in zip(reversed(ctx.layers), reversed(ctx.buckets), strict=True):
            for block in _token_blocks(y1.shape[1]):

                def feed_forward(x: Tensor, layer: Layer = layer, first: int = block.start) -> Tensor:
                    return layer.feed_forward(x, first)

                g, dx = _back_through(
                    feed_forward, y1[:, block], dy2[:, block], layer.feed_forward_parameters(), gradients
                )
                y2[:, block] -= g
                dy1[:, block] += dx

            def attend(x: Tensor, layer: Layer = layer, buckets: Tensor | None = buckets) -> Tensor:
                return layer.attend(x, buckets)[0]

            f, dx = _back_through(attend, y2, dy1, layer.attention_parameters(), gradients)
            y1 -= f
            dy2 += dx
            del f, dx  # not to stand beside the next layer's activations
        return None, dy1.add_(dy2), *(gradients.of(parameter) for parameter in ctx.saved_tensors)


def _is_whole(x: Tensor) -> bool:
    """Whether every element has memory of its own."""
    return x.is_contiguous() and x.untyped_storage().nbytes() == x.nbytes


def _autocast_state(device_type: str) -> dict[str, Any]:
    """The arguments of `torch.autocast` that bring back what is in force now."""
    return {
        "device_type": device_type,
        "enabled": torch.is_autocast_enabled(device_type),
        "dtype": torch.get_autocast_dtype(device_type),
    }
