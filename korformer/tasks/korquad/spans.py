"""From a model's scores to answers: the likeliest spans of a window, and of all windows of a question.

A window's scores are, for each of its tokens, how well an answer begins there, how well it ends there, and how many
characters are cut off in front and behind. The probability of a span is the product of four: of its first token and of
its last token among all tokens of the text and [CLS], which means "not in this window", and of its two cuts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from korformer.supervised.batches import Batch
from korformer.tasks.korquad.windows import NO_CUT, SpanTarget, Stretch

_NEVER = -1e30


@dataclass(frozen=True, kw_only=True)
class Span:
    """A possible answer.

    Attributes:
        begin, end: its characters in the NFC of the text.
        probability: that the model gives it in the window where it gives it most.
    """

    begin: int
    end: int
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanScores:
    """Scores of W windows of L tokens, C = longest cut + 1.

    Attributes:
        start_WL, end_WL: log-probability of each token as the first and the last of the answer.
        cut_start_WLC, cut_end_WLC: log-probability of each cut of it.
    """

    start_WL: Tensor
    end_WL: Tensor
    cut_start_WLC: Tensor
    cut_end_WLC: Tensor


def outputs_of(longest_cut: int) -> int:
    """Numbers that a head must give for each token."""
    return 2 + 2 * (longest_cut + 1)


def span_scores(scores_WLO: Tensor, batch: Batch) -> SpanScores:
    """Log-probabilities from the head's numbers; nothing falls on the question, padding and lone white space."""
    scores = scores_WLO.float()
    allowed = torch.from_numpy(_allowed(batch)).to(scores.device)
    start, end = (scores[..., index].masked_fill(~allowed, _NEVER).log_softmax(dim=-1) for index in (0, 1))
    cuts = scores[..., 2:].unflatten(-1, (2, -1)).log_softmax(dim=-1)
    return SpanScores(start_WL=start, end_WL=end, cut_start_WLC=cuts[..., 0, :], cut_end_WLC=cuts[..., 1, :])


def _allowed(batch: Batch) -> NDArray[np.bool_]:
    allowed = np.zeros(batch.mask_WL.shape, dtype=np.bool_)
    allowed[:, 0] = True
    for row, window in zip(allowed, batch.windows, strict=True):
        stretch: Stretch = window.origin
        row[stretch.first : stretch.first + len(stretch.begins)] = stretch.ends > stretch.begins
    return allowed


def span_loss(scores: SpanScores, batch: Batch) -> Tensor:
    """Mean over the windows of the negative log-probability of both ends, halved, and of both cuts, halved."""
    device = scores.start_WL.device
    targets: list[SpanTarget] = [window.target for window in batch.windows]

    def gold(name: str) -> Tensor:
        return torch.tensor([getattr(target, name) for target in targets], device=device)

    rows = torch.arange(len(targets), device=device)
    start, end = gold("start"), gold("end")
    ends = scores.start_WL[rows, start] + scores.end_WL[rows, end]
    cuts = torch.nn.functional.nll_loss(
        scores.cut_start_WLC[rows, start], gold("cut_start"), ignore_index=NO_CUT, reduction="none"
    ) + torch.nn.functional.nll_loss(
        scores.cut_end_WLC[rows, end], gold("cut_end"), ignore_index=NO_CUT, reduction="none"
    )
    return ((cuts - ends) / 2).mean()


def best_spans(scores: SpanScores, batch: Batch, *, longest_tokens: int, n_best: int) -> list[list[Span]]:
    """The likeliest spans of each window, best first.

    Args:
        scores: of the batch.
        batch: the windows.
        longest_tokens: most tokens of an answer.
        n_best: most spans of a window.
    """
    arrays = [
        tensor.detach().to("cpu", torch.float64).numpy()
        for tensor in (scores.start_WL, scores.end_WL, scores.cut_start_WLC, scores.cut_end_WLC)
    ]
    found = []
    for number, window in enumerate(batch.windows):
        stretch: Stretch = window.origin
        here = slice(stretch.first, stretch.first + len(stretch.begins))
        start, end, cut_start, cut_end = (array[number, here] for array in arrays)
        found.append(_of_window(start, end, cut_start, cut_end, stretch, longest_tokens, n_best))
    return found


def _of_window(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    cut_start: NDArray[np.float64],
    cut_end: NDArray[np.float64],
    stretch: Stretch,
    longest_tokens: int,
    n_best: int,
) -> list[Span]:
    """The same of one stretch of n tokens: (n,), (n,), (n, C), (n, C)."""
    size = len(start)
    if not size:  # a text that the vocabulary has no token for
        return []
    lengths = stretch.ends - stretch.begins
    # A token of k characters can lose at most k - 1 of them at one end.
    too_much = np.arange(cut_start.shape[1]) >= lengths[:, None]
    cut_start, cut_end = np.where(too_much, _NEVER, cut_start), np.where(too_much, _NEVER, cut_end)
    best_start, best_end = start + cut_start.max(axis=1), end + cut_end.max(axis=1)
    totals = np.full((min(longest_tokens, size), size), 2 * _NEVER)
    for further in range(1, len(totals)):
        totals[further, : size - further] = best_start[: size - further] + best_end[further:]
    # Of an answer within one token something must be left between the cuts.
    cuts = np.arange(cut_start.shape[1])
    nothing_left = cuts[:, None] + cuts[None, :] >= lengths[:, None, None]
    within = np.where(nothing_left, _NEVER, cut_start[:, :, None] + cut_end[:, None, :])
    totals[0] = start + end + within.max(axis=(1, 2))
    flat = totals.ravel()
    chosen = np.argpartition(-flat, min(n_best, flat.size) - 1)[:n_best]
    spans: dict[tuple[int, int], float] = {}
    for further, first in zip(*np.unravel_index(chosen, totals.shape), strict=True):
        last = first + further
        if last >= size:  # fewer spans than are wanted: the others of them lie outside of the text
            continue
        pairs = start[first] + end[last] + cut_start[first][:, None] + cut_end[last][None, :]
        for front, back in zip(*np.unravel_index(np.argsort(-pairs, axis=None)[:n_best], pairs.shape), strict=True):
            begin, after = int(stretch.begins[first] + front), int(stretch.ends[last] - back)
            score = float(pairs[front, back])
            if begin < after and score > _NEVER / 2:
                spans[begin, after] = max(spans.get((begin, after), _NEVER), score)
    best = sorted(spans, key=lambda span: (-spans[span], span))[:n_best]
    return [Span(begin=begin, end=after, probability=float(np.exp(spans[begin, after]))) for begin, after in best]


def merged(windows: list[list[Span]], *, n_best: int) -> list[Span]:
    """The likeliest spans of several windows of one text, each once with its highest probability, best first."""
    best: dict[tuple[int, int], Span] = {}
    for span in (span for spans in windows for span in spans):
        known = best.get((span.begin, span.end))
        if known is None or span.probability > known.probability:
            best[span.begin, span.end] = span
    return sorted(best.values(), key=lambda span: (-span.probability, span.begin, span.end))[:n_best]
