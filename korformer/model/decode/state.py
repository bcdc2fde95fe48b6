"""The state of a text that is read or written token by token.

Legend: T tokens so far, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from korformer.errors import UsageError
from korformer.model.decode import snapshots
from korformer.model.decode.context import Context, LayerPlan, layer_plans
from korformer.model.decode.matrices import PRECISIONS, Precision
from korformer.model.decode.reading import ChunkReader
from korformer.model.decode.recorded import FixedStep, RecordedStepper
from korformer.model.decode.step import Stepper
from korformer.model.decode.weights import decode_weights
from korformer.model.positions import position_table
from korformer.model.products import fast_products

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel

CHUNK_TOKENS = 8192
"""Most tokens that are read in parallel at a time; progress is told, and can stop the reading, after every layer."""

STEP_AT_MOST = 16
"""New tokens up to which a state that is not empty takes them one by one: that is faster than one parallel pass."""

RECORDED_ON = {"cuda"}
"""Devices on which single steps are recorded and replayed; there launching them takes longer than running them."""

Progress = Callable[[int, int], None]


class DecodeState:
    """The context of one text being read or written. It is a function of the token sequence alone.

    States that were forked from one another share memory: use them from one thread at a time.

    Args:
        model: a decoder; its weights must not change while the state lives.
        weights: precision of the matrices in single steps: fp32, bf16 or int8. Parallel reading stays in fp32.

    Attributes:
        length: tokens so far.
        max_tokens: most tokens, the model's window.
        watch: while true, every `append` keeps the attention of its last token for `attention`.

    Raises:
        UsageError: the model is an encoder, or there is no such precision.
    """

    def __init__(self, model: ReformerModel, weights: Precision = "fp32") -> None:
        if not model.config.causal:
            raise UsageError(
                "an encoder sees both sides of a token and cannot write",
                where="model",
                hint="Use a model with model.causal = true.",
            )
        if weights not in PRECISIONS:
            raise UsageError(f"no such precision: {weights}", where="weights", hint=f"Use {', '.join(PRECISIONS)}.")
        self._model = model
        self.max_tokens = model.config.max_seq_len
        self.watch = False
        self._tokens: list[int] = []
        plans = layer_plans(model)
        with torch.inference_mode():
            self._weights = decode_weights(model, weights)
            self._reader = ChunkReader(
                model, plans, self._weights.positions, position_table(model.lm.layer_pos_emb, self.max_tokens)
            )
            self._context = Context(model.config, plans, model.lm.token_emb.weight.dtype, model.device)
            self._prepare_steps(plans)

    def _prepare_steps(self, plans: tuple[LayerPlan, ...]) -> None:
        config, weights = self._model.config, self._weights
        self._stepper = Stepper(config=config, weights=weights, plans=plans)
        step = FixedStep(config=config, weights=weights, plans=plans, context=self._context)
        self._recorded = RecordedStepper(step) if self._model.device.type in RECORDED_ON else None

    @property
    def length(self) -> int:
        """Tokens so far."""
        return len(self._tokens)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids so far."""
        return tuple(self._tokens)

    @torch.inference_mode()
    def append(self, token_ids: Sequence[int], *, progress: Progress | None = None) -> Tensor:
        """Read tokens; give the scores of the token that follows the last of them, (V,) float32.

        Args:
            token_ids: at least one; with those before at most `max_tokens`.
            progress: called with (tokens read, tokens to read); it may raise to stop the reading, and the state then
                holds the tokens before those, or before the part of them that it was busy with.

        Raises:
            ValueError: no token, or more than the window holds.
        """
        return self._weights.logits(self.advance(token_ids, progress=progress))

    @torch.inference_mode()
    def advance(self, token_ids: Sequence[int], *, progress: Progress | None = None) -> Tensor:
        """As `append`, without the output layer: the mean of the residual streams at the last token, (1, D)."""
        tokens = list(token_ids)
        if not tokens:
            raise ValueError("append needs at least one token")
        if self.length + len(tokens) > self.max_tokens:
            raise ValueError(f"{self.length + len(tokens)} tokens do not fit the window of {self.max_tokens}")
        self._context.reserve(len(tokens))
        try:
            return self._read(tokens, progress)
        except BaseException:
            self._context.shorten(self.length)
            raise

    def _read(self, tokens: list[int], progress: Progress | None) -> Tensor:
        """The mean of the residual streams at the last token, (1, D)."""
        total, done = len(tokens), 0
        steps = total if total == 1 or (self.length and total <= STEP_AT_MOST) else int(self.watch)
        while done < total - steps:
            chunk = tokens[done : min(done + CHUNK_TOKENS, total - steps)]
            with fast_products():
                mean_1D = self._reader.read(self._context, chunk, self._told(progress, done, len(chunk), total))
            self._tokens += chunk
            done += len(chunk)
        self._stepper.seen = [] if self.watch else None
        with self._weights.stepping():
            for token in tokens[done:]:
                mean_1D = self._step(token)
                self._tokens.append(token)
                done += 1
                if progress is not None:
                    progress(done, total)
        return mean_1D

    def _step(self, token: int) -> Tensor:
        """The mean of the residual streams at the next token, (1, D)."""
        if self._recorded is not None and not self.watch and self._context.key_values.alone:
            return self._recorded.step(self._context, token)
        return self._stepper.step(self._context, token)

    def _told(self, progress: Progress | None, done: int, count: int, total: int) -> Callable[[int], None]:
        def layers_done(layers: int) -> None:
            if progress is not None:
                progress(done + count * layers // self._model.config.depth, total)

        return layers_done

    @torch.inference_mode()
    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens without reading them again.

        Raises:
            ValueError: there are fewer tokens than that.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind {self.length} tokens to {length}")
        del self._tokens[length:]
        self._context.shorten(length)

    @torch.inference_mode()
    def fork(self) -> DecodeState:
        """An independent state with the same tokens, for another continuation; the prefix is not copied."""
        twin = object.__new__(DecodeState)
        twin.__dict__.update(self.__dict__)
        twin._tokens = list(self._tokens)
        twin._context = self._context.fork()
        twin._prepare_steps(self._stepper.plans)
        return twin

    def attention(self, layer: int) -> Tensor:
        """The weights that each head of a layer gave to every position at the last token read, (H, T) float32.

        Rows sum to 1; what several hash rounds found counts for each of them, as in the model. A token that has nothing
        to attend to gives all weight to itself.

        Raises:
            ValueError: `watch` was not set when the last token was read.
        """
        seen = self._stepper.seen
        if not seen or seen[0].shape[1] != self.length:
            raise ValueError("set `watch` before the token whose attention is wanted is read")
        return seen[layer].float()

    @torch.inference_mode()
    def snapshot(self) -> dict[str, Tensor]:
        """All that a later `restore` needs, as contiguous tensors that share no memory with the state."""
        return snapshots.take(self._model, self._tokens, self._context, self._stepper.plans)

    @classmethod
    @torch.inference_mode()
    def restore(cls, model: ReformerModel, snapshot: Mapping[str, Tensor], weights: Precision = "fp32") -> DecodeState:
        """The state that `snapshot` was taken of, for further tokens.

        Raises:
            InputError: the snapshot is of another model, or damaged.
        """
        state = cls(model, weights)
        state._tokens = snapshots.put_back(model, snapshot, state._context, state._stepper.plans)
        return state


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A model whose new states have weights of one precision.

    Attributes:
        model: the model.
        weights: precision of the matrices in single steps.
    """

    model: ReformerModel
    weights: Precision

    def new_state(self) -> DecodeState:
        """A state that has read nothing."""
        return DecodeState(self.model, self.weights)
