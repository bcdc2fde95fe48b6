"""Files of predictions are scored against data that could not be trained on."""

from __future__ import annotations

import math

from korformer.tasks.classify import TASK as CLASSIFY
from korformer.tasks.classify.solver import ClassifyExample
from korformer.tasks.ner import TASK as NER
from korformer.tasks.ner.reading import NerExample
from korformer.tasks.pair import TASK as PAIR
from korformer.tasks.pair.pairs import PairExample
from korformer.text.records import Place, Problems


def test_predictions_are_scored_against_data_that_has_nothing_to_learn() -> None:
    place = Place(file="f", line=1)
    text = ClassifyExample(id="1", place=place, text="가", labels=("1",))
    solver = CLASSIFY.scorer([text], CLASSIFY.settings())
    given = solver.read_predictions([text], {"1": "1"}, Problems())
    assert solver.metrics([text], given)["accuracy"] == 1.0
    sentence = NerExample(id="1", place=place, text="한강")
    entities = NER.scorer([sentence], NER.settings())
    found = entities.read_predictions([sentence], {"1": sentence}, Problems())
    assert entities.metrics([sentence], found)["entity_f1"] == 0.0
    assert entities.scores([sentence], found) == [1.0]
    alike = [PairExample(id=str(n), place=place, first="가", second="나", score=2.0) for n in range(2)]
    scores = PAIR.scorer(alike, PAIR.settings())
    told = scores.read_predictions(alike, {"0": 2.0, "1": 3.0}, Problems())
    assert math.isnan(scores.metrics(alike, told)["pearson"])
    assert "all scores of the data are the same, so there is no correlation" in scores.remarks(alike, told)
    pair = PairExample(id="1", place=place, first="가", second="나", label="y")
    assert PAIR.scorer([pair], PAIR.settings()).read_predictions([pair], {"1": "n"}, Problems())[0].label == "n"
