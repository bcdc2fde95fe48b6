from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from korformer.errors import DivergedError
from korformer.events import Event, Progress
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.heads import HeadSpec
from korformer.supervised.batches import Window, collate
from korformer.supervised.running import LAYER_MIX, hidden_states, run
from korformer.supervised.weights import begin_weights, heads_with_mix
from korformer.text.vocabulary import Vocabulary


class Sums:
    """A task that keeps the sum of each window's hidden states."""

    heads: Mapping[str, HeadSpec] = {}

    def outputs(self, model: ReformerModel, hidden_WLD: torch.Tensor, batch: Any) -> Sequence[float]:
        return [float(value) for value in hidden_WLD.sum(dim=(1, 2))]


def windows(*lengths: int) -> list[Window]:
    generator = np.random.default_rng(3)
    return [Window(example=n, tokens=generator.integers(5, 300, length)) for n, length in enumerate(lengths)]


def test_outputs_come_in_the_order_of_the_windows_whatever_the_passes(model: ReformerModel) -> None:
    given = windows(30, 4, 20, 11, 5)
    heard: list[Event] = []
    expected = run(model, Sums(), given, pass_tokens=1)  # type: ignore[arg-type]
    found = run(model, Sums(), given, pass_tokens=64, listen=heard.append)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, abs=1e-3)
    assert isinstance(heard[-1], Progress)
    assert (heard[-1].done, heard[-1].total) == (70, 70)


@pytest.mark.parametrize("attention", ["lsh", "full"])
def test_a_figure_does_not_hang_on_what_else_is_measured(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], attention: str
) -> None:
    model = ReformerModel(shaped(attention=attention, n_hashes=1), vocabulary.size)
    model.initialise(0)
    given = windows(40, 33, 12, 50)
    together = run(model, Sums(), given)  # type: ignore[arg-type]
    assert together == pytest.approx([run(model, Sums(), [one])[0] for one in given], abs=1e-3)  # type: ignore[arg-type]


def test_figures_that_are_not_finite_are_told(model: ReformerModel) -> None:
    with torch.no_grad():
        model.lm.norm.weight.fill_(float("nan"))
    with pytest.raises(DivergedError):
        run(model, Sums(), windows(5))  # type: ignore[arg-type]


def test_the_mix_reads_every_layer_and_trains_nothing_below_it(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig]
) -> None:
    config = shaped()
    model = ReformerModel(config, vocabulary.size, heads_with_mix({}, config, mix=True))
    begin_weights(model, None, 5)
    mix = model.heads[LAYER_MIX]
    batch = collate(windows(9, 4), share_rows=True)
    hidden = hidden_states(model, batch)
    states = model.layer_states(
        batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT,
        segments_BT=batch.segments_BT,
    )  # fmt: skip
    assert len(states) == config.depth + 1
    level = [torch.nn.functional.layer_norm(state, state.shape[-1:]) for state in states]
    torch.testing.assert_close(hidden, sum(level) / len(level))
    hidden.sum().backward()
    assert mix.weights.grad is not None
    assert {name for name, parameter in model.lm.named_parameters() if parameter.grad is not None} == {
        "heads.layer_mix.weights", "heads.layer_mix.scale",
    }  # fmt: skip


def test_the_last_layer_state_is_what_the_last_norm_reads(model: ReformerModel) -> None:
    batch = collate(windows(20), share_rows=True)
    with torch.no_grad():
        expected = model(batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT)
        last = model.layer_states(batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT)[-1]
        torch.testing.assert_close(model.lm.norm(last), expected, rtol=1e-4, atol=1e-5)
