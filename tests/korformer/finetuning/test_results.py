import math
from pathlib import Path

import pytest

from korformer.finetuning.results import Outcome, Results, card
from korformer.finetuning.settings import finetune_settings


def outcome(seed: int, **metrics: float) -> Outcome:
    headline = next(iter(metrics))
    return Outcome(
        seed=seed, data="d", headline=headline, best_step=5, metrics=metrics, step=9, steps=10, tokens=100, seconds=1.5
    )


def test_an_outcome_comes_back_from_its_file(tmp_path: Path) -> None:
    one = outcome(3, spearman=0.5, pearson=math.nan)
    one.write(tmp_path)
    again = Outcome.read(tmp_path)
    assert again is not None
    assert math.isnan(again.metrics["pearson"])
    assert (again.seed, again.metrics["spearman"], again.score) == (3, 0.5, 0.5)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"metrics": {"a": "b"}}', '{"metrics": null}'])
def test_a_file_that_is_no_outcome_is_none(tmp_path: Path, content: str) -> None:
    assert Outcome.read(tmp_path) is None
    (tmp_path / "results.json").write_text(content, encoding="utf-8")
    assert Outcome.read(tmp_path) is None


def test_the_best_is_the_highest_or_the_lowest_by_the_figures_name() -> None:
    assert Results(outcomes=[outcome(0, accuracy=0.5), outcome(1, accuracy=0.75)]).best.seed == 1
    assert Results(outcomes=[outcome(0, perplexity=9.0), outcome(1, perplexity=12.0)]).best.seed == 0
    assert Results(outcomes=[outcome(0, pearson=math.nan), outcome(1, pearson=-0.5)]).best.seed == 1


def test_mean_and_sample_deviation() -> None:
    results = Results(outcomes=[outcome(seed, accuracy=value) for seed, value in enumerate((0.7, 0.8, 0.9))])
    mean, deviation = results.summary()["accuracy"]
    assert mean == pytest.approx(0.8)
    assert deviation == pytest.approx(0.1)
    assert results.rows() == [("accuracy", "0.8000 ± 0.1000")]
    assert Results(outcomes=[outcome(0, accuracy=0.7)]).rows() == [("accuracy", "0.7000")]


def test_the_card_tells_where_the_weights_came_from_and_what_came_of_it() -> None:
    settings = finetune_settings("classify", {})
    data = {"training": ["/somewhere/train.tsv"], "validation": ["valid.tsv"]}
    text = card(settings, data, {"training_examples": 1234}, Results(outcomes=[outcome(0, accuracy=0.7)]))
    for words in ("new weights (not pretrained)", "train.tsv", "Training examples: 1,234", "| accuracy | 0.7000 |"):
        assert words in text
    assert "/somewhere" not in text


def test_a_figure_that_is_no_number_in_one_seed_has_no_mean() -> None:
    results = Results(outcomes=[outcome(0, spearman=math.nan, loss=1.0), outcome(1, spearman=0.5, loss=2.0)])
    assert all(math.isnan(value) for value in results.summary()["spearman"] if value is not None)
    assert results.rows() == [("spearman", "nan ± nan"), ("loss", "1.5000 ± 0.7071")]
