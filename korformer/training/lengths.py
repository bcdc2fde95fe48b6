"""Sequences that grow with the run: short ones first, the tokens of a step always as many.

Short sequences cost less attention, and what they teach is needed first (Li, Zhang and He, "The stability-efficiency
dilemma: investigating sequence length warmup for training GPT models", NeurIPS 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepShape:
    """How the sequences of a step are cut in one process.

    Attributes:
        pack_tokens: tokens of a sequence.
        rows: sequences of a pass.
        passes: how many of them.
    """

    pack_tokens: int
    rows: int
    passes: int


def length_at(step: int, *, steps: int, pack_tokens: int, warmup_lengths: Sequence[int], warmup_share: float) -> int:
    """Tokens of a sequence in a step (from 1): the warm-up lengths in turn, for equal parts of their share of a run."""
    warmup_steps = warmup_share * steps
    place = int((step - 1) / warmup_steps * len(warmup_lengths)) if warmup_steps else len(warmup_lengths)
    return warmup_lengths[place] if place < len(warmup_lengths) else pack_tokens


def step_shape(length: int, *, pack_tokens: int, micro_batch: int, passes: int) -> StepShape:
    """As many tokens in sequences of `length` as `passes` of `micro_batch` sequences of `pack_tokens` have.

    A pass has at most as many tokens as one of those. `length` divides the tokens of a step.
    """
    if length == pack_tokens:
        return StepShape(pack_tokens, micro_batch, passes)
    sequences = micro_batch * passes * pack_tokens // length
    most = min(sequences, micro_batch * pack_tokens // length)
    rows = next(rows for rows in range(max(1, most), 0, -1) if sequences % rows == 0)
    return StepShape(length, rows, sequences // rows)


def length_problems(lengths: Sequence[int], *, pack_tokens: int, step_sequences: int) -> list[str]:
    """What is wrong with warm-up lengths, each with the nearest that would do.

    Args:
        lengths: in their order.
        pack_tokens: the full length.
        step_sequences: sequences of that length in a step, of one process.
    """
    tokens = step_sequences * pack_tokens
    problems = []
    for length in lengths:
        if length >= pack_tokens:
            problems.append(f"{length} is not shorter than the full length (pack_tokens or max_seq_len), {pack_tokens}")
        elif tokens % length:
            legal = [size for size in range(16, pack_tokens) if tokens % size == 0]
            nearest = min(legal, key=lambda size: abs(size - length), default=None)
            step = f"{tokens:,} tokens of a step (batch_size x accumulate x max_seq_len)"
            problems.append(f"{length} does not divide the {step}" + (f"; nearest: {nearest}" if nearest else ""))
    if list(lengths) != sorted(set(lengths)):
        problems.append(f"they do not grow; in order: {', '.join(map(str, sorted(set(lengths))))}")
    return [f"data.warmup_lengths: {problem}" for problem in problems]
