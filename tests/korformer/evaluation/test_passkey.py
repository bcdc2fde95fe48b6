"""Passkey retrieval: what is asked stands in the text, and a model that knows is told from one that guesses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from korformer.errors import UsageError
from korformer.evaluation import passkey
from korformer.evaluation.passkey import PasskeySettings, lengths_for, measure_passkeys
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

DIGITS = [f"{passkey.QUESTION} {number}" for number in [*range(10)] * 9 + [*range(10, 100)]]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    sentences = list(itertools.islice(passkey._sentences(9), 200))
    return train_vocabulary(DIGITS + sentences, VocabularySettings(size=700))


@pytest.fixture(scope="module")
def model(vocabulary: Vocabulary) -> ReformerModel:
    model = ReformerModel(ModelConfig(dim=16, depth=1, heads=2, max_seq_len=512, bucket_size=16), vocabulary.size)
    model.initialise(1)
    return model


class Knowing(ReformerModel):
    """Writes what stood behind the last token when it came before."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.known[:, -hidden.shape[1] :]

    def forward(self, tokens_BT: torch.Tensor, **_: object) -> torch.Tensor:  # type: ignore[override]
        tokens = tokens_BT[0].tolist()
        self.known = torch.zeros(1, len(tokens), self.vocabulary_size)
        last: dict[int, int] = {}
        for place, token in enumerate(tokens):
            if token in last:
                self.known[0, place, tokens[last[token] + 1]] = 50.0
            last[token] = place
        return torch.zeros(1, len(tokens), 1)


def test_a_model_that_guesses_is_at_chance(vocabulary: Vocabulary, model: ReformerModel) -> None:
    settings = PasskeySettings(lengths=(128, 256), depths=(0.0, 1.0), trials=6, digits=2)
    cells = measure_passkeys(model, vocabulary, settings, window=512, seed=0)
    assert [(cell.tokens, cell.depth, cell.trials) for cell in cells] == [
        (128, 0.0, 6),
        (128, 1.0, 6),
        (256, 0.0, 6),
        (256, 1.0, 6),
    ]
    assert sum(cell.recalled for cell in cells) == 0
    assert 4 <= sum(cell.preferred for cell in cells) <= 20
    # Weights as they were drawn: all tokens are about as likely.
    assert all(cell.bits_per_digit * 2 > math.log2(vocabulary.size) * 0.8 for cell in cells)
    assert measure_passkeys(model, vocabulary, settings, window=512, seed=0) == cells
    assert measure_passkeys(model, vocabulary, settings, window=512, seed=1) != cells


def test_a_model_that_copies_recalls_every_number(vocabulary: Vocabulary, model: ReformerModel) -> None:
    knowing = Knowing(model.config, vocabulary.size)
    # In needle and question the same word stands before the number.
    settings = PasskeySettings(lengths=(128, 400), depths=(0.0, 0.5, 1.0), trials=3, digits=1)
    cells = measure_passkeys(knowing, vocabulary, settings, window=512, seed=0)
    assert all((cell.recalled, cell.preferred) == (3, 3) for cell in cells)
    assert all(cell.bits_per_digit < 0.01 for cell in cells)
    assert all(cell.bits_per_digit_wrong > 10 for cell in cells)


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tokens", [128, 512])
def test_the_number_stands_at_its_depth_and_the_text_fills_its_length(
    vocabulary: Vocabulary, tokens: int, depth: float
) -> None:
    trial = passkey._trial(vocabulary, 5, tokens, depth, told="40718", asked="40718")
    text = vocabulary.decode(trial.ids.tolist(), skip_special_tokens=True)
    assert tokens - 60 <= len(trial.ids) <= tokens
    assert text.count("40718") == 2
    assert text.endswith(f"{passkey.QUESTION} 40718")
    assert vocabulary.decode(trial.ids[trial.first :].tolist()) == " 40718"
    needle = text.index("여기서 꼭")
    sentences_before = text[:needle].count(".")
    assert sentences_before / (text.count(".") - 1) == pytest.approx(depth, abs=0.2)
    other = passkey._trial(vocabulary, 5, tokens, depth, told="40718", asked="91234")
    assert np.array_equal(trial.ids[: trial.first], other.ids[: other.first])
    assert text.count("91234") == 0


def test_lengths_grow_to_the_window_and_no_further(vocabulary: Vocabulary, model: ReformerModel) -> None:
    assert lengths_for(5120) == (256, 512, 1024, 2048, 4096, 5120)
    assert lengths_for(256) == (256,)
    assert lengths_for(200) == (200,)
    with pytest.raises(UsageError, match="too short"):
        lengths_for(64)
    with pytest.raises(UsageError, match="at most 512"):
        measure_passkeys(model, vocabulary, PasskeySettings(lengths=(1024,)), window=512, seed=0)


def test_sentences_hold_no_digits_and_do_not_end() -> None:
    sentences = passkey._sentences(1)
    first = [next(sentences) for _ in range(500)]
    assert not any(character.isdigit() for sentence in first for character in sentence)
    assert len(set(first)) > 300
