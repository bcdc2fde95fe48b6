import pytest
import torch

from korformer.model.draws import MASKED_TOKENS, Dropout, TrainingDraw, kept_layers

DRAW = TrainingDraw(seed=3, step=7, samples=range(4, 6))


@pytest.mark.parametrize("cuts", [[600], [100, 500], [MASKED_TOKENS, 600 - MASKED_TOKENS], [1, 1, 598]])
def test_a_token_loses_the_same_units_whatever_it_is_computed_with(cuts: list[int]) -> None:
    drop = Dropout(DRAW, 0.3, "feed forward", 2)
    x = torch.ones(2, 600, 5)
    parts, first = [], 0
    for count in cuts:
        parts.append(drop(x[:, first : first + count], first=first))
        first += count
    assert torch.equal(torch.cat(parts, dim=1), drop(x))


def test_units_are_dropped_at_the_rate_and_the_others_grow() -> None:
    dropped = Dropout(DRAW, 0.25, "feed forward", 0)(torch.ones(2, 500, 40))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_every_key_has_masks_of_its_own() -> None:
    x = torch.ones(2, 64, 8)
    masks = [
        Dropout(DRAW, 0.5, "feed forward", 0)(x),
        Dropout(DRAW, 0.5, "feed forward", 1)(x),
        Dropout(DRAW, 0.5, "attention", 0)(x),
        Dropout(TrainingDraw(seed=3, step=8, samples=range(4, 6)), 0.5, "feed forward", 0)(x),
        Dropout(TrainingDraw(seed=4, step=7, samples=range(4, 6)), 0.5, "feed forward", 0)(x),
    ]
    different = {tuple(row.flatten().tolist()) for mask in masks for row in mask}
    assert len(different) == 10


def test_without_a_draw_or_a_rate_nothing_changes() -> None:
    x = torch.ones(2, 8, 4)
    for drop in (Dropout(None, 0.5, "feed forward"), Dropout(DRAW, 0.0, "feed forward")):
        assert not drop
        assert drop(x) is x


def test_skipped_layers_are_a_function_of_seed_and_step() -> None:
    assert kept_layers(None, 4, 0.5) == kept_layers(DRAW, 4, 0.0) == [0, 1, 2, 3]
    assert kept_layers(DRAW, 50, 0.5) == kept_layers(DRAW, 50, 0.5)
    assert 10 < len(kept_layers(DRAW, 50, 0.5)) < 40
    assert kept_layers(DRAW, 3, 0.999) == [0]
