import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from objectives import VARIANTS, Unigram, compared, unigram

from korformer.objectives import objectives
from korformer.training.settings import run_settings


def test_every_objective_is_shown_and_every_variant_is_legal() -> None:
    assert {objective for objective, _ in VARIANTS.values()} == set(objectives())
    for objective, section in VARIANTS.values():
        run_settings(objective, {objective: section})


def test_frequencies_of_two_tokens() -> None:
    train = np.array([0, 0, 10, 10, 0, 59, 19])
    valid = np.array([0, 0, 5, 5, 0, 10, 30])
    known = unigram(train, valid, characters=90)
    assert known.accuracy == pytest.approx(0.25)
    assert known.perplexity == pytest.approx(math.exp(-(10 * math.log(0.75) + 30 * math.log(0.25)) / 40))
    total = 1 + 1 + 11 + 1 + 60 + 20
    bits = -5 * math.log2(11 / total) - 10 * math.log2(60 / total) - 30 * math.log2(20 / total)
    assert known.bits_per_character == pytest.approx(bits / 90)


def test_only_figures_that_a_run_has_are_compared() -> None:
    known = Unigram(bits_per_character=5.0, accuracy=0.03, perplexity=900.0)
    assert compared({"bits_per_character": 2.0}, known) == [("bits_per_character", 2.0, 5.0)]
    rtd = {
        "generator_accuracy": 0.2,
        "discriminator_accuracy": 0.93,
        "always_original_accuracy": 0.88,
        "replaced_f1": 0.6,
    }
    found = {name: baseline for name, _, baseline in compared(rtd, known)}
    assert found["discriminator_accuracy"] == 0.88
    assert found["replaced_f1"] == pytest.approx(2 * 0.12 / 1.12)
