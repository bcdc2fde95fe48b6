import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from korformer.config import build
from korformer.errors import InputError, ModelDirectoryError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.batches import collate
from korformer.supervised.task import Reader
from korformer.tasks.classify import TASK
from korformer.tasks.classify.solver import ClassifyExample, ClassifyPrediction, ClassifySettings, ClassifySolver
from korformer.text.records import DataError, Place, Problems

Written = Callable[[str, str], str]
PLAIN = ClassifySettings()
SEVERAL = ClassifySettings(multi_label=True)


def example(text: str, *labels: str) -> ClassifyExample:
    return ClassifyExample(id=text, place=Place(file="f", line=1), text=text, labels=labels)


def told(labels: Sequence[str], probabilities: Sequence[float] = ()) -> ClassifyPrediction:
    return ClassifyPrediction(labels=tuple(labels), probabilities=np.array(probabilities))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nsmc.tsv", "id\tdocument\tlabel\n7\t좋다\t1\n8\t나쁘다\t0\n"),
        ("turned.tsv", "label\ttext\tid\n1\t좋다\t7\n0\t나쁘다\t8\n"),
        ("plain.tsv", "좋다\t1\n\n나쁘다\t0\n"),
        ("lines.jsonl", '{"text": "좋다", "label": 1, "id": 7}\n{"text": "나쁘다", "label": "0"}\n'),
    ],
)
def test_every_layout_gives_the_same_examples(written: Written, name: str, content: str) -> None:
    examples = TASK.read([written(name, content)], PLAIN)
    assert [(e.text, e.labels) for e in examples] == [("좋다", ("1",)), ("나쁘다", ("0",))]


def test_several_labels_of_tables_and_lines(written: Written) -> None:
    one = written("a.tsv", "text\tlabel\n가\t기쁨,슬픔\n나\t\n")
    other = written("b.jsonl", '{"text": "다", "labels": ["슬픔"]}\n{"text": "라", "labels": []}\n')
    assert [e.labels for e in TASK.read([one, other], SEVERAL)] == [("기쁨", "슬픔"), (), ("슬픔",), ()]


def test_every_bad_place_is_told_at_once(written: Written) -> None:
    one = written("a.tsv", "id\tdocument\tlabel\n1\t좋다\t1\n2\t좋다\n3\t \t1\n4\t나쁘다\t \n")
    other = written("b.jsonl", '{"text": "가"}\nnot json\n{"text": 3, "label": 1}\n{"text": "나", "labels": [1, 2]}\n')
    with pytest.raises(DataError) as raised:
        TASK.read([one, other], PLAIN)
    message = str(raised.value)
    assert raised.value.exit_code == 3
    for place, what in [
        (f"{one}, line 3", "2 columns instead of 3"),
        (f"{one}, line 4", "the text is empty"),
        (f"{one}, line 5", "the label is empty"),
        (f"{other}, line 1", 'lacks "label"'),
        (f"{other}, line 2", "not JSON"),
        (f"{other}, line 3", '"text" is not text'),
        (f"{other}, line 4", "multi_label"),
    ]:
        assert any(place in line and what in line for line in message.splitlines()), (place, what)
    assert "classify.empty" in message


def test_empty_texts_may_be_kept_or_left_out(written: Written) -> None:
    path = written("a.tsv", "id\tdocument\tlabel\n1\t\t1\n2\t좋다\t0\n")
    assert [e.text for e in TASK.read([path], ClassifySettings(empty="skip"))] == ["좋다"]
    assert [e.text for e in TASK.read([path], ClassifySettings(empty="keep"))] == ["", "좋다"]


def test_a_file_without_examples_and_one_label_alone_are_refused(written: Written) -> None:
    with pytest.raises(InputError, match="no examples"):
        TASK.read([written("a.tsv", "text\tlabel\n")], PLAIN)
    with pytest.raises(InputError, match="nothing to tell apart"):
        TASK.learn([example("가", "1"), example("나", "1")], PLAIN)


def test_labels_are_in_the_order_of_numbers_and_those_that_training_has_not_are_told(reader: Reader) -> None:
    facts = TASK.learn([example("가", "10"), example("나", "9"), example("다", "9")], PLAIN)
    assert facts == {"labels": ["9", "10"]}
    problems = Problems()
    TASK.solver(PLAIN, facts, reader).check([example("라", "11"), example("마", "9")], problems)
    assert [what for _, what in problems.found] == ["the label '11' is not in the training data, which has 9, 10"]


@pytest.mark.parametrize("labels", [None, [], "ab", [1, 2], ["a", "a"]])
def test_facts_of_a_stranger_are_checked(labels: object, reader: Reader) -> None:
    with pytest.raises(ModelDirectoryError):
        TASK.solver(PLAIN, {"labels": labels}, reader)


def test_figures_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    gold = generator.choice(["가", "나", "다"], 60).tolist()
    given = generator.choice(["가", "나", "다", "라"], 60).tolist()
    solver = ClassifySolver(PLAIN, ["가", "나", "다", "라"], None)
    figures = solver.metrics([example("t", label) for label in gold], [told([label]) for label in given])
    assert list(figures) == ["accuracy", "macro_f1"]
    assert figures["accuracy"] == accuracy_score(gold, given)
    assert figures["macro_f1"] == pytest.approx(f1_score(gold, given, average="macro"), abs=1e-15)


def test_figures_of_several_labels_are_scikit_learns() -> None:
    generator = np.random.default_rng(1)
    gold, given = generator.integers(0, 2, (40, 3)), generator.integers(0, 2, (40, 3))
    labels = ["가", "나", "다"]
    solver = ClassifySolver(SEVERAL, labels, None)

    def names(row: np.ndarray) -> list[str]:
        return [label for label, has in zip(labels, row, strict=True) if has]

    figures = solver.metrics([example("t", *names(row)) for row in gold], [told(names(row)) for row in given])
    assert next(iter(figures)) == solver.headline == "micro_f1"
    assert figures["micro_f1"] == pytest.approx(f1_score(gold, given, average="micro"), abs=1e-15)
    assert figures["macro_f1"] == pytest.approx(f1_score(gold, given, average="macro"), abs=1e-15)
    assert figures["exact_labels"] == accuracy_score(gold, given)


@pytest.mark.parametrize("settings", [PLAIN, SEVERAL], ids=["one label", "several"])
def test_a_long_text_is_the_mean_of_its_windows(reader: Reader, settings: ClassifySettings) -> None:
    solver = ClassifySolver(settings, ["가", "나"], reader)
    examples = [example("길은 멀었다. " * 30, "가"), example("조용하다", "나")]
    windows = solver.windows(examples)
    count = sum(window.example == 0 for window in windows)
    assert count > 3
    assert {window.target for window in windows if window.example == 0} == {(0,) if settings.multi_label else 0}
    scores = [np.array([2.0, 1.0])] * count + [np.array([-3.0, 1.0])]
    long, short = solver.predictions(examples, windows, scores)
    if settings.multi_label:
        expected = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))]
        assert long.labels == ("가", "나")
    else:
        expected = [math.e / (1 + math.e), 1 / (1 + math.e)]
        assert long.labels == ("가",)
    assert long.probabilities == pytest.approx(expected)
    assert short.labels == ("나",)


@pytest.mark.parametrize("settings", [PLAIN, SEVERAL], ids=["one label", "several"])
def test_the_loss_is_that_of_torch(reader: Reader, vocabulary: object, settings: ClassifySettings) -> None:
    assert reader.vocabulary is not None
    solver = ClassifySolver(settings, ["가", "나"], reader)
    config = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=32, bucket_size=8, causal=False, attention="full")
    model = ReformerModel(config, reader.vocabulary.size, solver.heads)
    model.initialise(0)
    windows = solver.windows([example("바람", "나"), example("종", "가"), example("골목", "나")])
    batch = collate(windows, share_rows=True)
    hidden = torch.randn(3, int(batch.lengths.max()), 16)
    loss = solver.loss(model, hidden, batch)
    with torch.no_grad():
        scores = torch.tensor(np.stack(solver.outputs(model, hidden, batch)))
    truth = torch.tensor([1, 0, 1])
    if settings.multi_label:
        expected = (
            torch.nn.functional.binary_cross_entropy_with_logits(
                scores, torch.nn.functional.one_hot(truth, 2).double(), reduction="none"
            )
            .sum(dim=1)
            .mean()
        )
    else:
        expected = torch.nn.functional.cross_entropy(scores, truth)
    assert float(loss.mean.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert {name: term.count for name, term in loss.terms.items()} == solver.counts(windows) == {"windows": 3}


def test_predictions_tell_label_and_probabilities_and_come_back_from_a_file() -> None:
    solver = ClassifySolver(PLAIN, ["0", "1"], None)
    examples = [example("가", "1"), example("나", "0")]
    predictions = [told(["1"], [0.2, 0.8]), told(["1"], [0.4, 0.6])]
    assert solver.describe(examples[0], predictions[0]) == {
        "text": "가", "label": "1", "probability": 0.8, "probabilities": {"0": 0.2, "1": 0.8},
    }  # fmt: skip
    assert solver.scores(examples, predictions) == [0.8, 0.4]
    written = solver.predictions_file(examples, predictions).value
    assert all("text" not in record for record in written)
    records = {record["id"]: json.loads(json.dumps(record)) for record in written}
    problems = Problems()
    again = solver.read_predictions(examples, records, problems)
    assert not problems
    assert solver.metrics(examples, again) == solver.metrics(examples, predictions)
    missing = solver.read_predictions(examples, {}, problems)
    assert solver.metrics(examples, missing)["accuracy"] == 0.0


def test_one_s_own_text_is_a_line_or_an_object() -> None:
    problems = Problems()
    place = Place(file="-", line=1)
    assert TASK.parse(place, "바람이 분다", PLAIN, problems) == ClassifyExample(
        place=place, text="바람이 분다", labels=None
    )
    parsed = TASK.parse(place, '{"text": "종", "id": 5}', PLAIN, problems)
    assert parsed is not None
    assert (parsed.given_id, parsed.text) == ("5", "종")
    assert not problems
    assert TASK.parse(place, "[]{", PLAIN, problems) is not None
    assert TASK.parse(place, '{"txt": 1}', PLAIN, problems) is None
    assert problems


def test_settings_are_checked() -> None:
    with pytest.raises(Exception, match="threshold"):
        build(ClassifySettings, {"threshold": 2})


def test_ids_are_different_over_files_and_a_file_may_be_named_twice(written: Written) -> None:
    headed = written("hd.tsv", "\nid\tdocument\tlabel\n7\t좋다\t1\n8\t나쁘다\t0\n")
    plain = written("plain.tsv", "재미있다\t1\n지루하다\t0\n")
    examples = TASK.read([headed, headed, plain, plain], PLAIN)
    assert [example.labels for example in examples] == [("1",), ("0",)] * 4
    assert [example.id for example in examples] == ["7", "8", "7#2", "8#2", "5", "6", "7#3", "8#3"]


def test_a_missing_prediction_is_wrong_and_told() -> None:
    examples = [example("가", "1"), example("나", "0")]
    solver = ClassifySolver(PLAIN, ["0", "1"], None)
    problems = Problems()
    given = solver.read_predictions(examples, {"가": {"label": 1}}, problems)
    assert not problems
    assert solver.metrics(examples, given)["accuracy"] == 0.5
    assert solver.scores(examples, given) == [1.0, 0.0]
    assert solver.remarks(examples, given) == ["1 of 2 examples have no prediction and count as wrong"]
    assert "taken for nothing" in solver.context(examples[1], given[1])
    solver.read_predictions(examples, {"가": {"label": 1}, "나": {}}, problems)
    assert [what for _, what in problems.found] == ['the prediction of id 나 lacks "label"']
    several = ClassifySolver(SEVERAL, ["0", "1"], None)
    without = [example("가"), example("나", "0")]
    missing = several.read_predictions(without, {"나": {"labels": ["0"]}}, Problems())
    assert several.metrics(without, missing)["exact_labels"] == 0.5
    assert several.scores(without, missing) == [0.0, 1.0]


def test_of_a_long_text_beginning_and_end_are_shown() -> None:
    solver = ClassifySolver(PLAIN, ["0", "1"], None)
    shown = solver.context(example("처음" + "가" * 50_000 + "끝", "1"), told(["0"], [0.9, 0.1]))
    assert len(shown) < 600
    assert "처음" in shown
    assert shown.endswith("끝")
    assert "49,603 characters" in shown
