from collections.abc import Callable

import numpy as np
import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.draws import TrainingDraw
from korformer.supervised.auxiliary import TERM, Auxiliary, next_tokens
from korformer.supervised.batches import Window, collate
from korformer.supervised.running import hidden_states
from korformer.text.vocabulary import Vocabulary

DRAW = TrainingDraw(seed=0, step=1, samples=range(1))


def batch_of(*texts: list[int]):  # noqa: ANN201
    return collate([Window(example=n, tokens=np.array(text)) for n, text in enumerate(texts)], share_rows=True)


def test_next_tokens_stay_in_their_window() -> None:
    batch = batch_of([2, 10, 11, 3], [2, 20, 3])
    assert next_tokens(batch).tolist() == [[10, 11, 3, -100, 20, 3, -100]]


@pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
def test_the_term_has_its_weight_its_count_and_a_gradient(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], causal: bool
) -> None:
    options = {"causal": True, "attention": "causal_lsh", "segments": 0} if causal else {}
    model = ReformerModel(shaped(**options), vocabulary.size)
    model.initialise(0)
    auxiliary = Auxiliary(vocabulary, causal=causal, weight=0.5)
    text = vocabulary.encode("등대지기는 아침이면 유리를 닦고 저녁이면 불을 켰다.", add_special_tokens=True)
    batch = batch_of(text, text)
    hidden = hidden_states(model, batch, draw=DRAW)
    term = auxiliary.terms(model, batch, hidden, DRAW, reversible=False)[TERM]
    assert term.weight == 0.5
    assert auxiliary.counts(batch, DRAW) == {TERM: term.count}
    assert (term.count == 2 * (len(text) - 1)) if causal else (0 < term.count < len(text))
    assert float(term.mean.detach()) == pytest.approx(np.log(vocabulary.size), rel=0.25)
    term.mean.backward()
    assert torch.isfinite(model.lm.token_emb.weight.grad).all()
    assert model.lm.token_emb.weight.grad.abs().sum() > 0
