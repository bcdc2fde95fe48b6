"""Which examples a run uses, what identifies them, and whether it is measured on what it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from korformer.data.order import Order
from korformer.events import Listener, Notice
from korformer.randomness import seed_of
from korformer.supervised.batches import Window

if TYPE_CHECKING:
    from korformer.supervised.task import Example

SELECTION_SEED = 0
"""Key of which examples are used where not all are: the same for every run."""

MOST_SHARED = 0.02
"""Share of the validation data that may be in the training data without a warning."""


def chosen_examples(examples: list[Any], most: int | None) -> list[Any]:
    """All examples, or `most` of them chosen at random, in their order."""
    if most is None or len(examples) <= most:
        return examples
    order = Order(len(examples), seed=seed_of("chosen examples", SELECTION_SEED), epoch=0)
    return [examples[number] for number in np.sort(order(np.arange(most))).tolist()]


def tell_shared(train: Sequence[Window], valid: Sequence[Window], listen: Listener) -> None:
    """Warn where what is validated on is trained on too; a few short texts come twice in any data."""
    known = {window.tokens.tobytes() for window in train}
    shared = sum(window.tokens.tobytes() in known for window in valid)
    if shared > MOST_SHARED * len(valid):
        share = f"{shared:,} of {len(valid):,} windows ({shared / len(valid):.0%})"
        text = f"{share} of the validation data are in the training data too; its figures tell what was learnt by heart"
        listen(Notice(text=text, level="warning"))


def fingerprint_of(train: Sequence[Window], valid: Sequence[Example]) -> str:
    """Identity of what a run learns and is measured on, wherever the files lie.

    Args:
        train: the windows that it learns, with their targets.
        valid: the examples that it is measured on.
    """
    digest = hashlib.sha256()
    for window in train:
        digest.update(np.ascontiguousarray(window.tokens, np.int64).tobytes())
        target = window.target
        whole = target.tolist() if isinstance(target, np.ndarray) else target  # an array's repr leaves its middle out
        digest.update(repr(whole).encode("utf-8", "surrogatepass"))
    for example in valid:
        content = {name: value for name, value in vars(example).items() if name != "place"}
        digest.update(repr(content).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
