from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from korformer.data.packing import Packs
from korformer.data.token_store import TokenStore
from korformer.errors import UsageError
from korformer.events import Event, Step, Validation, ignore
from korformer.model.backbone import TrainingDraw
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model
from korformer.objectives.rtd import OBJECTIVE, RtdLearner, RtdSettings, detection_figures, generator_config
from korformer.storage.tensors import load_tensors
from korformer.text.vocabulary import Vocabulary
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.optimizer import trained_parameters
from korformer.training.settings import run_settings

SHAPE: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 2, "max_seq_len": 48, "bucket_size": 8}


def learner(vocabulary: Vocabulary, model: dict[str, Any] | None = None, **section: Any) -> RtdLearner:
    settings = run_settings("rtd", {"model": {**SHAPE, **(model or {})}, "rtd": section})
    assert isinstance(settings.objective_settings, RtdSettings)
    made = OBJECTIVE.learner(settings.model, settings.objective_settings, vocabulary)
    made.initialise(0)
    return made


@pytest.fixture
def packs(vocabulary: Vocabulary, store: TokenStore) -> Packs:
    return learner(vocabulary).sampler(store, pack_tokens=48, seed=0).next_packs(4)


DRAW = TrainingDraw(seed=0, step=1, samples=range(4))


def test_what_does_not_fit_is_told_at_once() -> None:
    wrong = {"model": {"causal": True, "segments": 0, "weight_tie_embedding": False}}
    with pytest.raises(UsageError, match=r"needs an encoder.*; objective rtd shares embeddings.*embedding = true"):
        run_settings("rtd", wrong)


@pytest.mark.parametrize(
    "options", [{}, {"emb_dim": 16}, {"axial_position_emb": False}], ids=["axial", "factorised", "rotary"]
)
def test_generator_and_model_share_embeddings(vocabulary: Vocabulary, options: dict[str, Any]) -> None:
    made = learner(vocabulary, options)
    model, generator = made.model.lm, made.generator.lm
    assert generator.token_emb.weight is model.token_emb.weight
    assert generator.out[1].tensor is model.token_emb.weight
    assert generator.segment_emb.weight is model.segment_emb.weight
    assert list(generator.pos_emb.parameters()) == list(model.pos_emb.parameters())
    names = [name for name, _ in made.module.named_parameters()]
    assert len({id(parameter) for parameter in made.module.parameters()}) == len(names)
    assert "generator.token_emb.weight" not in names
    assert made.generator.config.dim == 8
    assert made.generator.config.emb_dim == options.get("emb_dim", 32)


def test_the_generator_is_as_wide_as_asked_and_legal() -> None:
    model = ModelConfig(dim=768, depth=12, heads=12, causal=False, attention="lsh")
    assert generator_config(model, 0.25).dim == 192
    assert generator_config(model, 1 / 3).dim == 264
    assert generator_config(model, 1.0).dim == 768
    rotary = ModelConfig(dim=30, depth=1, heads=3, dim_head=4, axial_position_emb=False, causal=False, attention="lsh")
    for width in (0.01, 0.2, 0.5, 0.9):
        config = generator_config(rotary, width)
        assert config.dim % (2 * config.heads) == 0
        assert abs(config.dim - max(6, 30 * width)) <= 3


def test_only_hidden_tokens_are_replaced_and_right_guesses_count_as_original(
    vocabulary: Vocabulary, packs: Packs, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(vocabulary)
    masked = made.masked(packs, DRAW)
    hidden = masked.targets >= 0
    states = torch.zeros(masked.count, made.generator.config.dim)
    replaced = made._replace(packs, masked, states, DRAW)
    assert not replaced.is_replaced[~hidden].any()
    assert np.array_equal(replaced.is_replaced, replaced.tokens != packs.tokens)
    assert (replaced.tokens[hidden] >= 5).all()
    assert len(set(replaced.tokens[hidden].tolist())) > masked.count / 2  # equal scores: drawn, not the highest
    again = made._replace(packs, masked, states, DRAW)
    assert np.array_equal(again.tokens, replaced.tokens)
    truth = torch.from_numpy(masked.targets[hidden])

    def knows(states: torch.Tensor) -> torch.Tensor:
        return 1000.0 * torch.nn.functional.one_hot(truth[states[:, 0].long()], vocabulary.size).float()

    monkeypatch.setattr(made.generator, "logits", knows)
    states[:, 0] = torch.arange(masked.count)
    assert not made._replace(packs, masked, states, DRAW).is_replaced.any()


def test_samples_are_those_of_the_distribution(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(vocabulary)
    odds = torch.full((vocabulary.size,), -torch.inf)
    odds[7], odds[9], odds[3] = np.log(3.0), 0.0, 9.0
    monkeypatch.setattr(made.generator, "logits", lambda states: odds.expand(len(states), -1).clone())
    drawn = made._sample(torch.zeros(4000, 8), torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {7, 9}
    assert float((drawn == 7).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_samples_hang_on_step_and_sample_alone(vocabulary: Vocabulary, packs: Packs) -> None:
    made = learner(vocabulary)
    masked = made.masked(packs, DRAW)
    states = torch.zeros(masked.count, 8)
    whole = made._replace(packs, masked, states, DRAW)
    one = Packs(**{name: getattr(packs, name)[2:3] for name in packs.__dataclass_fields__})
    draw = TrainingDraw(seed=0, step=1, samples=range(2, 3))
    part = made.masked(one, draw)
    alone = made._replace(one, part, torch.zeros(part.count, 8), draw)
    assert np.array_equal(alone.tokens[0], whole.tokens[2])
    other = TrainingDraw(seed=0, step=2, samples=range(4))
    assert not np.array_equal(made._replace(packs, masked, states, other).tokens, whole.tokens)


def test_the_loss_is_the_generators_and_fifty_times_the_discriminators(vocabulary: Vocabulary, packs: Packs) -> None:
    made = learner(vocabulary)
    batch = made.loss(packs, DRAW)
    generator, discriminator = batch.terms["generator"], batch.terms["discriminator"]
    assert (generator.weight, discriminator.weight) == (1.0, 50.0)
    assert discriminator.count == packs.real_tokens
    assert {name: term.count for name, term in batch.terms.items()} == made.predicted(packs, DRAW)
    assert float(batch.mean.detach()) == pytest.approx(
        float(generator.mean.detach()) + 50 * float(discriminator.mean.detach()), rel=1e-6
    )
    assert float(discriminator.mean.detach()) == pytest.approx(np.log(2), abs=0.05)


def gradients(made: RtdLearner, packs: Packs, *, reversible: bool, terms: tuple[str, ...]) -> dict[str, torch.Tensor]:
    made.module.zero_grad(set_to_none=True)
    batch = made.loss(packs, DRAW, reversible=reversible)
    sum(batch.terms[name].mean * batch.terms[name].weight for name in terms).backward()  # type: ignore[union-attr]
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in trained_parameters(made.module).items()
    }


def test_two_networks_before_one_backward_keep_their_buckets_apart(vocabulary: Vocabulary, packs: Packs) -> None:
    """Both forwards come before either backward; what each layer hashed must still be its own (float64)."""
    made = learner(vocabulary, {"n_hashes": 2})
    made.module.double()
    both = ("generator", "discriminator")
    together = gradients(made, packs, reversible=True, terms=both)
    ordinary = gradients(made, packs, reversible=False, terms=both)
    one, other = (gradients(made, packs, reversible=True, terms=(name,)) for name in both)
    for name, gradient in together.items():
        assert gradient.any(), name
        torch.testing.assert_close(gradient, ordinary[name], atol=1e-9, rtol=1e-6, msg=name)
        torch.testing.assert_close(gradient, one[name] + other[name], atol=1e-9, rtol=1e-6, msg=name)


def test_nothing_flows_from_the_discriminator_into_the_generator(vocabulary: Vocabulary, packs: Packs) -> None:
    found = gradients(learner(vocabulary), packs, reversible=False, terms=("discriminator",))
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("generator."))
    assert found["discriminator.heads.replaced.out.weight"].any()


def test_figures_of_detection() -> None:
    figures = detection_figures(np.array([[80, 5], [6, 9]]))
    assert figures["replaced_precision"] == pytest.approx(9 / 14)
    assert figures["replaced_recall"] == pytest.approx(9 / 15)
    assert figures["replaced_f1"] == pytest.approx(18 / 29)
    assert figures["discriminator_accuracy"] == pytest.approx(0.89)
    assert figures["always_original_accuracy"] == pytest.approx(0.85)
    assert detection_figures(np.array([[9, 0], [1, 0]]))["replaced_f1"] == 0.0


def test_validation_is_repeatable(vocabulary: Vocabulary, store: TokenStore) -> None:
    made = learner(vocabulary)
    first = made.validate(store, vocabulary, max_tokens=400, listen=ignore)
    assert first == made.validate(store, vocabulary, max_tokens=400, listen=ignore)
    assert first["generator_perplexity"] == pytest.approx(vocabulary.size, rel=0.3)
    assert 0.8 < first["always_original_accuracy"] < 0.9


def test_a_run_learns_and_its_model_is_the_discriminator(
    vocabulary: Vocabulary, store: TokenStore, tmp_path: Path
) -> None:
    values = {
        "model": {**SHAPE, "attention": "full", "axial_position_emb": False},
        "training": {
            "steps": 60, "batch_size": 8, "warmup_steps": 5, "save_every": 60, "eval_every": 60, "threads": 1,
            "learning_rate": 0.02, "eval_tokens": 1000,
        },
    }  # fmt: skip
    heard: list[Event] = []
    data = TrainingData(store=store, valid=store, vocabulary=vocabulary)
    path = pretrain(run_settings("rtd", values), data, tmp_path / "run", listen=heard.append)
    (figures,) = [event.metrics for event in heard if isinstance(event, Validation)]
    assert figures["generator_accuracy"] > 0.1
    assert figures["generator_perplexity"] < vocabulary.size / 5
    steps = [event.loss for event in heard if isinstance(event, Step)]
    assert steps[-1] < 0.65 * steps[0]
    loaded = load_model(path)
    assert set(loaded.model.heads) == {"replaced"}
    saved = load_tensors(path / "model.safetensors")[0]
    step = load_tensors(path / "steps" / "00000060" / "model.safetensors")[0]
    assert {"segment_emb.weight", "heads.replaced.out.weight"} < set(saved)
    assert {f"discriminator.{name}" for name in saved} < set(step)
    assert all(name.startswith(("discriminator.", "generator.")) for name in step)
    assert all(torch.equal(tensor, step[f"discriminator.{name}"]) for name, tensor in saved.items())
