import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from korformer.data.packing import Packs
from korformer.data.store import build_store
from korformer.data.token_store import TokenStore
from korformer.errors import UsageError
from korformer.events import Event, Progress, Sample, Validation, ignore
from korformer.model.backbone import TrainingDraw
from korformer.model.directory import load_model
from korformer.objectives.mlm import OBJECTIVE, MlmLearner, MlmSettings
from korformer.text.vocabulary import Vocabulary
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.settings import RunSettings, run_settings

SHAPE: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 48, "bucket_size": 8}


def learner(vocabulary: Vocabulary, model: dict[str, Any] | None = None, **section: Any) -> MlmLearner:
    settings = run_settings("mlm", {"model": {**SHAPE, **(model or {})}, "mlm": section})
    assert isinstance(settings.objective_settings, MlmSettings)
    made = OBJECTIVE.learner(settings.model, settings.objective_settings, vocabulary)
    made.initialise(0)
    return made


def packs_of(made: MlmLearner, store: TokenStore, batch: int = 4) -> Packs:
    return made.sampler(store, pack_tokens=48, seed=0).next_packs(batch)


def draw_of(packs: Packs, step: int = 1) -> TrainingDraw:
    return TrainingDraw(seed=0, step=step, samples=range(len(packs.tokens)))


def test_an_encoder_is_the_default_and_a_decoder_is_refused() -> None:
    model = run_settings("mlm", {}).model
    assert (model.causal, model.attention, model.segments) == (False, "lsh", 2)
    wrong = {"model": {"causal": True, "segments": 0}, "data": {"pack_tokens": 9000}}
    with pytest.raises(UsageError, match=r"pack_tokens = 9000 .*; objective mlm needs an encoder.*causal = false"):
        run_settings("mlm", wrong)
    with pytest.raises(UsageError, match=r"sentence_pair = 'nsp' needs segments .* set model.segments = 2"):
        run_settings("mlm", {"model": {"segments": 0}, "mlm": {"sentence_pair": "nsp"}})
    with pytest.raises(UsageError, match=r"mlm.masking: .*; unknown key mlm.mask_rat \(did you mean mlm.mask_rate"):
        run_settings("mlm", {"mlm": {"mask_rat": 0.2, "masking": "phrase"}})


def test_the_loss_is_the_mean_over_hidden_tokens_alone(vocabulary: Vocabulary, store: TokenStore) -> None:
    made = learner(vocabulary)
    packs = packs_of(made, store)
    draw = draw_of(packs)
    masked = made.masked(packs, draw)
    batch = made.loss(packs, draw)
    assert made.predicted(packs, draw) == {"masked": masked.count} == {"masked": batch.terms["masked"].count}
    with torch.no_grad():
        hidden = made.model(
            torch.from_numpy(masked.tokens),
            documents_BT=torch.from_numpy(packs.documents).long(),
            positions_BT=torch.from_numpy(packs.positions).long(),
            draw=draw,
        )
        each = -torch.log_softmax(made.model.logits(hidden), dim=-1)
    rows, columns = np.nonzero(masked.targets >= 0)
    losses = each[rows, columns, masked.targets[rows, columns]]
    assert float(batch.mean.detach()) == pytest.approx(float(losses.mean()), rel=1e-5)
    assert 0.1 < masked.count / packs.real_tokens < 0.2


def test_only_hidden_tokens_reach_the_output_layer(
    vocabulary: Vocabulary, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(vocabulary)
    packs = packs_of(made, store)
    seen = []
    real = made.model.loss
    monkeypatch.setattr(made.model, "loss", lambda hidden, targets: seen.append(hidden.shape) or real(hidden, targets))
    made.loss(packs, draw_of(packs))
    assert seen == [(1, made.predicted(packs, draw_of(packs))["masked"], 16)]


@pytest.mark.parametrize("pair", ["none", "nsp", "sop"])
def test_micro_batches_add_up_to_the_step(vocabulary: Vocabulary, store: TokenStore, pair: str) -> None:
    made = learner(vocabulary, sentence_pair=pair)
    sampler = made.sampler(store, pack_tokens=48, seed=0)
    whole = sampler.next_packs(6)
    expected = made.loss(whole, draw_of(whole))
    assert set(expected.terms) == ({"masked"} if pair == "none" else {"masked", "pairs"})
    gradient = torch.autograd.grad(expected.mean, made.model.lm.token_emb.weight)[0]
    again = made.sampler(store, pack_tokens=48, seed=0)
    parts = [(again.next_packs(size), first) for size, first in ((1, 0), (2, 1), (3, 3))]
    draws = [TrainingDraw(seed=0, step=1, samples=range(first, first + len(p.tokens))) for p, first in parts]
    totals: Counter[str] = Counter()
    for (packs, _), draw in zip(parts, draws, strict=True):
        totals.update(made.predicted(packs, draw))
    shares = [made.loss(packs, draw).share(totals) for (packs, _), draw in zip(parts, draws, strict=True)]
    assert sum(value for _, value in shares) == pytest.approx(float(expected.mean.detach()), rel=1e-5)
    summed = torch.autograd.grad(sum(share for share, _ in shares), made.model.lm.token_emb.weight)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(summed, gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("pair", ["none", "sop"])
def test_all_that_is_trained_gets_a_gradient(vocabulary: Vocabulary, store: TokenStore, pair: str) -> None:
    made = learner(vocabulary, sentence_pair=pair)
    packs = packs_of(made, store)
    made.loss(packs, draw_of(packs), reversible=True).mean.backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_validation_measures_the_same_tokens_every_time(vocabulary: Vocabulary, store: TokenStore) -> None:
    made = learner(vocabulary, sentence_pair="nsp")
    heard: list[Event] = []
    first = made.validate(store, vocabulary, max_tokens=500, listen=heard.append)
    assert first == made.validate(store, vocabulary, max_tokens=500, listen=ignore)
    assert set(first) == {
        "masked_accuracy", "masked_perplexity", "masked_tokens", "pair_accuracy", "always_the_same_accuracy", "pairs",
        "tokens",
    }  # fmt: skip
    assert 0.5 <= first["always_the_same_accuracy"] < 1
    assert first["masked_perplexity"] == pytest.approx(vocabulary.size, rel=0.3)
    assert 500 <= first["tokens"] < 600
    assert isinstance(heard[-1], Progress)
    assert heard[-1].done == heard[-1].total
    everything = made.validate(store, vocabulary, max_tokens=10**9, listen=ignore)
    assert everything["tokens"] > 500
    assert math.isfinite(everything["pair_accuracy"])


def test_one_held_out_text_has_no_pairs_but_tokens(vocabulary: Vocabulary, tmp_path: Path) -> None:
    one = build_store(["고양이가 마당에서 오래 쉬었다."], vocabulary, tmp_path / "one")
    figures = learner(vocabulary, sentence_pair="nsp").validate(one, vocabulary, max_tokens=100, listen=ignore)
    assert set(figures) == {"masked_accuracy", "masked_perplexity", "masked_tokens", "tokens"}


def test_a_perfect_guesser_has_accuracy_one(
    vocabulary: Vocabulary, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(vocabulary)
    truth: list[np.ndarray] = []
    real = made.masked

    def masked(packs: Packs, draw: TrainingDraw) -> Any:
        found = real(packs, draw)
        truth.append(found.targets[found.targets >= 0])
        return found

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        return 1000.0 * torch.nn.functional.one_hot(torch.from_numpy(truth[-1]), vocabulary.size).float()

    monkeypatch.setattr(made, "masked", masked)
    monkeypatch.setattr(made.model, "logits", logits)
    figures = made.validate(store, vocabulary, max_tokens=300, listen=ignore)
    assert figures["masked_accuracy"] == 1.0
    assert figures["masked_perplexity"] == pytest.approx(1.0)


def training(**section: Any) -> RunSettings:
    values = {
        "model": {**SHAPE, "dim": 32, "attention": "full", "axial_position_emb": False},
        "training": {
            "steps": 60, "batch_size": 8, "warmup_steps": 5, "save_every": 60, "eval_every": 60, "threads": 1,
            "learning_rate": 0.02, "eval_tokens": 1000,
        },
    }  # fmt: skip
    return run_settings("mlm", {**values, "mlm": section})


def test_a_run_learns_and_leaves_an_encoder(vocabulary: Vocabulary, store: TokenStore, tmp_path: Path) -> None:
    data = TrainingData(store=store, valid=store, vocabulary=vocabulary)
    heard: list[Event] = []
    path = pretrain(training(sentence_pair="sop", masking="word"), data, tmp_path / "run", listen=heard.append)
    (figures,) = [event.metrics for event in heard if isinstance(event, Validation)]
    assert figures["masked_accuracy"] > 0.1
    assert figures["masked_perplexity"] < vocabulary.size / 10
    assert not any(isinstance(event, Sample) for event in heard)
    loaded = load_model(path)
    assert loaded.config_json["objective"] == "mlm"
    assert set(loaded.model.heads) == {"sop"}
    with pytest.raises(UsageError, match="an encoder sees both sides"):
        loaded.model.new_state()
