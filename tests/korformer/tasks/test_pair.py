import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from korformer.errors import InputError, ModelDirectoryError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.batches import collate
from korformer.supervised.task import Reader
from korformer.tasks.pair import TASK
from korformer.tasks.pair.labels import LabelSolver
from korformer.tasks.pair.pairs import PairExample, PairSettings
from korformer.tasks.pair.scores import ScoreSolver
from korformer.text.records import DataError, Place, Problems

Written = Callable[[str, str], str]
AUTO = PairSettings()
KORSTS = (
    "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
    "자막\t영상\t2012\t0001\t5.000\t비행기가 뜬다.\t비행기가 이륙한다.\n"
    "자막\t영상\t2012\t0002\t0.5\t바람이 분다.\t고양이가 잔다.\n"
)


def pair(first: str, second: str, *, label: str | None = None, score: float | None = None) -> PairExample:
    place = Place(file="f", line=1)
    return PairExample(id=first, place=place, first=first, second=second, label=label, score=score)


def test_scores_in_the_columns_of_korsts(written: Written) -> None:
    one, other = TASK.read([written("sts.tsv", KORSTS)], AUTO)
    assert (one.first, one.second, one.score, one.label) == ("비행기가 뜬다.", "비행기가 이륙한다.", 5.0, None)
    assert other.score == 0.5
    assert one.id != other.id


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nli.tsv", "sentence1\tsentence2\tgold_label\n가\t나\tentailment\n다\t라\tneutral\n마\t바\t-\n"),
        ("turned.tsv", "label\thypothesis\tpremise\nentailment\t나\t가\nneutral\t라\t다\n"),
        ("plain.tsv", "가\t나\tentailment\n다\t라\tneutral\n"),
        ("nli.jsonl", '{"premise": "가", "hypothesis": "나", "label": "entailment"}\n'
         '{"sentence1": "다", "sentence2": "라", "gold_label": "neutral"}\n'),
    ],
)  # fmt: skip
def test_labels_in_every_layout(written: Written, name: str, content: str) -> None:
    examples = TASK.read([written(name, content)], AUTO)
    assert [(e.first, e.second, e.label, e.score) for e in examples] == [
        ("가", "나", "entailment", None), ("다", "라", "neutral", None),
    ]  # fmt: skip


def test_what_is_learnt_may_be_said(written: Written) -> None:
    path = written("plain.tsv", "가\t나\t3\n다\t라\t4\n")
    assert [e.label for e in TASK.read([path], AUTO)] == ["3", "4"]
    assert [e.score for e in TASK.read([path], PairSettings(kind="score"))] == [3.0, 4.0]


def test_every_bad_place_is_told_at_once(written: Written) -> None:
    path = written("a.tsv", "sentence1\tsentence2\tscore\n가\t나\t다섯\n \t나\t1\n가\t나\n가\t나\tnan\n")
    lines = written("b.jsonl", '{"sentence1": "가", "score": 1}\n{"sentence1": "가", "sentence2": "나"}\n[1]\n')
    with pytest.raises(DataError) as raised:
        TASK.read([path, lines], AUTO)
    message = str(raised.value)
    for place, what in [
        (f"{path}, line 2", "'다섯' is not a number"),
        (f"{path}, line 3", "sentence1 is empty"),
        (f"{path}, line 4", "2 columns instead of 3"),
        (f"{path}, line 5", "is not a number"),
        (f"{lines}, line 1", "sentence2 is missing"),
        (f"{lines}, line 2", "lacks a label or a score"),
        (f"{lines}, line 3", "not a JSON object"),
    ]:
        assert any(place in line and what in line for line in message.splitlines()), (place, what)


def test_labels_and_scores_do_not_mix(reader: Reader) -> None:
    with pytest.raises(InputError, match="one kind"):
        TASK.learn([pair("가", "나", label="a"), pair("다", "라", score=1.0)], AUTO)
    problems = Problems()
    TASK.solver(AUTO, {"labels": ["a", "b"]}, reader).check(
        [pair("가", "나", label="c"), pair("가", "나", score=1.0), pair("가", "나", label="a")], problems
    )
    assert len(problems.found) == 2
    for scores in ([1.0, 1.0], [2.0]):
        with pytest.raises(InputError, match="nothing to tell apart"):
            TASK.learn([pair("가", "나", score=score) for score in scores], AUTO)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"labels": ["a"]},
        {"labels": ["a", "a"]},
        {"labels": "ab"},
        {"lowest": 0, "highest": 5, "mean": 2},
        {"lowest": 0, "highest": 5, "mean": 2, "deviation": 0},
        {"lowest": 0, "highest": math.inf, "mean": 2, "deviation": 1},
    ],
)
def test_facts_of_a_stranger_are_checked(facts: dict[str, object], reader: Reader) -> None:
    with pytest.raises(ModelDirectoryError):
        TASK.solver(AUTO, facts, reader)


def test_regression_is_on_the_scale_of_the_training_data(reader: Reader) -> None:
    examples = [pair(f"가{n}", "나", score=float(n)) for n in range(6)]
    facts = TASK.learn(examples, AUTO)
    solver = TASK.solver(AUTO, facts, reader)
    assert isinstance(solver, ScoreSolver)
    windows = solver.windows(examples)
    standard = np.array([window.target for window in windows])
    assert standard.mean() == pytest.approx(0.0)
    assert standard.std() == pytest.approx(1.0)
    predictions = solver.predictions(examples, windows, [np.array([target]) for target in standard])
    assert predictions == pytest.approx(range(6))
    assert solver.predictions(examples[:1], windows[:1], [np.array([99.0])]) == [5.0]
    generator = np.random.default_rng(0)
    noisy = (np.arange(6) + generator.normal(size=6)).tolist()
    figures = solver.metrics(examples, noisy)
    assert next(iter(figures)) == solver.headline == "spearman"
    assert figures["spearman"] == pytest.approx(stats.spearmanr(range(6), noisy).statistic)
    assert figures["pearson"] == pytest.approx(stats.pearsonr(range(6), noisy).statistic)
    assert solver.describe(examples[0], 2.5) == {"sentence1": "가0", "sentence2": "나", "score": 2.5}


@pytest.mark.parametrize("kind", ["labels", "score"])
def test_the_loss_is_that_of_torch(reader: Reader, kind: str) -> None:
    assert reader.vocabulary is not None
    labelled = [pair("바람", "종", label="b", score=1.0), pair("길", "골목", label="a", score=3.0)]
    examples = [
        pair(e.first, e.second, **{kind.removesuffix("s"): getattr(e, kind.removesuffix("s"))}) for e in labelled
    ]
    solver = TASK.solver(AUTO, TASK.learn(examples, AUTO), reader)
    config = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=32, bucket_size=8, causal=False, attention="full")
    model = ReformerModel(config, reader.vocabulary.size, solver.heads)
    model.initialise(0)
    batch = collate(solver.windows(examples), share_rows=True)
    hidden = torch.randn(2, int(batch.lengths.max()), 16)
    with torch.no_grad():
        scores = torch.tensor(np.stack(solver.outputs(model, hidden, batch)))
    if kind == "labels":
        expected = torch.nn.functional.cross_entropy(scores, torch.tensor([1, 0]))
    else:
        expected = torch.nn.functional.mse_loss(scores[:, 0], torch.tensor([-1.0, 1.0]).double())
    assert float(solver.loss(model, hidden, batch).mean.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_labels_of_pairs_are_told_and_come_back_from_a_file() -> None:
    solver = LabelSolver(["a", "b"], None)
    examples = [pair("가", "나", label="a"), pair("다", "라", label="b")]
    predictions = solver.predictions(examples, [], [np.array([1.0, 0.0]), np.array([2.0, 0.0])])
    assert solver.metrics(examples, predictions)["accuracy"] == 0.5
    records = {record["id"]: record for record in solver.predictions_file(examples, predictions).value}
    again = solver.read_predictions(examples, records, Problems())
    assert [prediction.label for prediction in again] == ["a", "a"]
    assert solver.metrics(examples, solver.read_predictions(examples, {}, Problems()))["accuracy"] == 0.0


def test_one_s_own_pairs() -> None:
    problems = Problems()
    place = Place(file="-", line=1)
    parsed = TASK.parse(place, "비가 온다\t땅이 젖는다", AUTO, problems)
    assert parsed is not None
    assert (parsed.first, parsed.second, parsed.label) == ("비가 온다", "땅이 젖는다", None)
    assert TASK.parse(place, '{"premise": "가", "hypothesis": "나"}', AUTO, problems) is not None
    assert not problems
    assert TASK.parse(place, "혼자", AUTO, problems) is None
    assert "1 texts instead of two" in problems.found[0][1]


def test_json_lines_have_ids_and_the_id_of_korsts_is_none(written: Written) -> None:
    lines = "".join(f'{{"id": "k{n}", "sentence1": "가", "sentence2": "나", "label": {n % 2}}}\n' for n in range(3))
    assert [example.id for example in TASK.read([written("a.jsonl", lines)], AUTO)] == ["k0", "k1", "k2"]
    assert [example.id for example in TASK.read([written("sts.tsv", KORSTS.replace("0002", "0001"))], AUTO)] == [
        "1",
        "2",
    ]


def test_a_number_beyond_measure_is_told(written: Written) -> None:
    path = written("a.jsonl", f'{{"sentence1": "가", "sentence2": "나", "score": 1{"0" * 400}}}\n')
    with pytest.raises(DataError, match="is not a number"):
        TASK.read([path], AUTO)


def test_missing_labels_are_wrong_and_missing_scores_are_told() -> None:
    pairs = [pair(str(n), "나", label="yn"[n % 2]) for n in range(16)]
    solver = LabelSolver(["n", "y"], None)
    given = solver.read_predictions(pairs, {p.id: {"label": p.label} for p in pairs[1:]}, Problems())
    assert solver.metrics(pairs, given) == {"accuracy": 15 / 16, "macro_f1": pytest.approx((14 / 15 + 1) / 2)}
    assert "1 of 16" in solver.remarks(pairs, given)[0]
    problems = Problems()
    solver.read_predictions(pairs, {"3": {"label": None}, "4": {}}, problems)
    assert len(problems.found) == 2
    scored = [pair(str(n), "나", score=float(n)) for n in range(4)]
    scores = TASK.solver(AUTO, TASK.learn(scored, AUTO), None)
    assert isinstance(scores, ScoreSolver)
    some = scores.read_predictions(scored, {"0": 0.0, "3": {"score": 3}}, Problems())
    assert some == [0.0, None, None, 3.0]
    assert scores.metrics(scored, some)["pearson"] == pytest.approx(
        stats.pearsonr([0, 1, 2, 3], [0, 1.5, 1.5, 3]).statistic
    )
    assert scores.remarks(scored, some) == [
        "2 of 4 pairs have no prediction; each counts as 1.5, the mean of the scores"
    ]
    assert scores.remarks(scored, [2.0] * 4) == [
        "all scores of the predictions are the same, so there is no correlation"
    ]
    for wrong in (True, "1", math.nan, math.inf, 10**400, None):
        problems = Problems()
        scores.read_predictions(scored, {"1": {"score": wrong}}, problems)
        assert [what for _, what in problems.found] == ["the prediction of id 1 is no number"], wrong


def test_every_figure_of_pairs_has_an_interval() -> None:
    scored = [pair(str(n), "나", score=float(n % 7)) for n in range(40)]
    solver = TASK.solver(AUTO, TASK.learn(scored, AUTO), None)
    given = [(n * 5 % 11) / 2 + n % 7 for n in range(40)]
    figures = solver.metrics(scored, given)
    found = solver.intervals(scored, given, resamples=200, seed=0)
    assert found.keys() == figures.keys()
    for name, span in found.items():
        assert span is not None
        assert span[0] < figures[name] < span[1]
    labels = LabelSolver(["n", "y"], None)
    pairs = [pair(str(n), "나", label="yn"[n % 2]) for n in range(16)]
    assert labels.intervals(pairs, labels.read_predictions(pairs, {}, Problems()), resamples=50, seed=0).keys() == {
        "accuracy", "macro_f1",
    }  # fmt: skip
