"""Which windows each step of a run reads: a function of seed and step, in another order every epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from korformer.data.order import Order
from korformer.randomness import seed_of
from korformer.supervised.settings import LearningSettings


class Steps:
    """The steps of a run over windows of known lengths.

    Args:
        lengths: (n,) int64 tokens of each window, n at least 1.
        settings: how many windows or tokens a step has, and how many steps there are.
        seed: of the order.
    """

    def __init__(self, lengths: NDArray[np.int64], settings: LearningSettings, seed: int) -> None:
        assert len(lengths)
        self._lengths = lengths
        self._settings = settings
        self._seed = seed
        self._epochs: dict[int, list[NDArray[np.int64]]] = {}
        self.count = self._count()
        """Steps of the run, by steps, epochs or tokens; at least one."""

    @property
    def of_an_epoch(self) -> int:
        """Steps of the first epoch; others may have one more or less where tokens bound a step."""
        return len(self._epoch(0))

    def __getitem__(self, step: int) -> NDArray[np.int64]:
        """Numbers of the windows of a step, which is counted from 1."""
        epoch, before = 0, 0
        while before + len(self._epoch(epoch)) < step:
            before += len(self._epoch(epoch))
            epoch += 1
        return self._epoch(epoch)[step - before - 1]

    def _epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        if epoch not in self._epochs:
            count = len(self._lengths)
            order = Order(count, seed=seed_of("examples", self._seed), epoch=epoch)(np.arange(count))
            self._epochs[epoch] = self._cut(order)
        return self._epochs[epoch]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        size, limit = self._settings.batch_size, self._settings.batch_tokens
        if limit is None:
            return [order[begin : begin + size] for begin in range(0, len(order), size)]
        steps, begin, tokens = [], 0, 0
        for place, number in enumerate(order):
            length = int(self._lengths[number])
            if place > begin and (place - begin == size or tokens + length > limit):
                steps.append(order[begin:place])
                begin, tokens = place, 0
            tokens += length
        return [*steps, order[begin:]]

    def _count(self) -> int:
        settings = self._settings
        steps = settings.steps
        if steps is None:
            whole = int(settings.epochs)
            steps = sum(len(self._epoch(epoch)) for epoch in range(whole))
            steps += round((settings.epochs - whole) * len(self._epoch(whole))) if settings.epochs > whole else 0
        if settings.budget_tokens is not None:
            tokens = 0
            for step in range(1, steps + 1):
                tokens += int(self._lengths[self[step]].sum())
                if tokens >= settings.budget_tokens:
                    return step
        return max(1, steps)
