"""`korformer eval` on tasks with labels: files of predictions, and small models with drawn weights."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from korformer.commands.app import main
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.model.heads import HeadSpec
from korformer.supervised.task import Reader, SupervisedTask, TaskDescription
from korformer.tasks.classify import TASK as CLASSIFY
from korformer.tasks.korquad import TASK as KORQUAD
from korformer.tasks.ner import TASK as NER
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

CONTEXT = "섬마을 등대지기 한도윤은 1975년 3월에 반달섬으로 왔다. 그는 《등대의 밤》이라는 책을 썼다."
ANSWERS = {"a1": "한도윤", "a2": "1975년 3월", "a3": "반달섬", "a4": "《등대의 밤》"}
GOLD = {
    "version": "KorQuAD_v1.0_made",
    "data": [
        {
            "title": f"반달섬 {name}",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": name,
                            "question": "무엇인가?",
                            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}],
                        }
                    ],
                }
            ],
        }
        for name, answer in ANSWERS.items()
    ],
}
TEXTS = ["한도윤은 반달섬에 산다.", "반달섬은 멀다.", "눈이 왔다."]
ENTITIES = [[[0, 3, "PS"], [5, 8, "LC"]], [[0, 3, "LC"]], []]


def model_of(directory: Path, task: SupervisedTask[Any], facts: dict[str, Any], *, max_tokens: int = 64) -> Path:
    """A directory as fine-tuning leaves it, with weights that know nothing."""
    vocabulary = train_vocabulary([CONTEXT, *TEXTS] * 3, VocabularySettings(size=560))
    shape = {
        "dim": 16,
        "depth": 1,
        "heads": 2,
        "max_seq_len": 64,
        "bucket_size": 8,
        "causal": False,
        "attention": "full",
    }
    settings = task.settings()
    reader = Reader(vocabulary=vocabulary, max_tokens=max_tokens)
    heads: dict[str, HeadSpec] = dict(task.solver(settings, facts, reader).heads)
    model = ReformerModel(ModelConfig.model_validate(shape), vocabulary.size, heads)
    model.initialise(1)
    directory.mkdir()
    write_description(directory, model, vocabulary, objective="mlm", training={})
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    description = TaskDescription(
        name=task.name, settings=settings.model_dump(mode="json"), facts=facts, max_tokens=max_tokens
    )
    config["task"] = description.as_json()
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    publish(directory, parameters_to_save(model), "# a model for tests\n")
    return directory


@pytest.fixture(scope="module")
def korquad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("korquad") / "model", KORQUAD, {})


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("ner") / "model", NER, {"labels": ["LC", "PS"]})


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(GOLD, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    path = tmp_path / "gold.jsonl"
    lines = [{"text": text, "entities": entities} for text, entities in zip(TEXTS, ENTITIES, strict=True)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def figures(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = run(capsys, "--json", *arguments)
    assert code == 0, err
    value: dict[str, Any] = json.loads(out)
    return value


def predictions(tmp_path: Path, value: object, name: str = "given.json") -> Path:
    (tmp_path / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return tmp_path / name


def test_answers_are_scored_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path) -> None:
    given = predictions(tmp_path, {**ANSWERS, "a1": "한도윤은", "a3": "", "other": "x"})
    metrics = figures(capsys, "--task", "korquad", "--data", gold, "--score", given)
    assert metrics["exact_match"] == 50.0
    assert metrics["f1"] == 100.0 * (2 * 0.75 / 1.75 + 1 + 0 + 1) / 4
    assert (metrics["examples"], metrics["answered"], metrics["extra_predictions"]) == (4, 4, 1)
    low, high = metrics["f1_interval"]
    assert low <= metrics["f1"] <= high


def test_people_are_told_what_is_missing_and_see_the_worst_in_context(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path
) -> None:
    given = predictions(tmp_path, {"a1": "왔다\x1b[31m", "a2": unicodedata.normalize("NFD", ANSWERS["a2"]), "zz": "?"})
    code, out, err = run(capsys, "--task", "korquad", "--data", gold, "--score", given, "--worst", 3)
    assert code == 0
    assert "2 of 4 questions have no answer" in err
    assert "1 answers are wrong only by their Unicode normal form" in err
    assert "1 predictions have an id that the data does not have" in err
    assert "question: 무엇인가?" in out
    assert "섬마을 등대지기 [한도윤]은 1975년" in out
    assert "answered: [왔다\\x1b[31m]" in out
    assert "\x1b" not in out
    assert out.count("gold:") == 3
    assert "The worst" not in run(capsys, "--task", "korquad", "--data", gold, "--score", given, "--worst", 0)[1]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", 3, "not JSON"),
        ("[]", 3, "no predictions"),
        ('{"a1": "한도윤"', 3, "line 1"),
        ('{"a1": null, "a2": 3, "a3": ["반달섬"]}', 3, "3 bad places"),
        ('{"a1": "한도윤"}\n{"a2": "왔다"}\n', 3, 'lacks "id"'),
    ],
)
def test_a_file_that_holds_no_answers_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path, text: str, code: int, words: str
) -> None:
    (tmp_path / "given.json").write_text(text, encoding="utf-8")
    left, out, err = run(capsys, "--task", "korquad", "--data", gold, "--score", tmp_path / "given.json")
    assert (left, out) == (code, "")
    assert words in err


def test_a_model_answers_and_its_predictions_score_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path, korquad: Path
) -> None:
    out = tmp_path / "out.json"
    metrics = figures(capsys, "--task", "korquad", "-m", korquad, "--data", gold, "--predictions", out)
    assert metrics["windows"] == 4
    assert metrics["window"] == 64
    assert metrics["examples_per_second"] > 0
    answers = json.loads(out.read_text(encoding="utf-8"))
    assert set(answers) == set(ANSWERS)
    assert all(answer in CONTEXT and answer for answer in answers.values())
    scored = figures(capsys, "--task", "korquad", "--data", gold, "--score", out)
    assert (scored["f1"], scored["exact_match"]) == (metrics["f1"], metrics["exact_match"])
    assert scored["f1_interval"] == metrics["f1_interval"]


def test_shorter_windows_and_settings_of_the_task(
    capsys: pytest.CaptureFixture[str], gold: Path, korquad: Path
) -> None:
    common = ("--task", "korquad", "-m", korquad, "--data", gold, "--window", 24)
    halves = figures(capsys, *common)
    assert halves["window"] == 24
    assert halves["windows"] > 4
    small_steps = figures(capsys, *common, "--set", "doc_stride=2")
    assert small_steps["windows"] > halves["windows"]
    assert figures(capsys, *common, "--set", "korquad.doc_stride=2")["windows"] == small_steps["windows"]
    assert run(capsys, *common, "--set", "stride=2")[0] == 2
    left, _, err = run(capsys, *common, "--set", "doc_stride=2", "--set", "longest_cut=3")
    assert left == 2
    assert "--set: longest_cut cannot be other than in training" in err
    assert "finetune --set korquad.longest_cut" in err
    left, _, err = run(capsys, *common[:-1], 15)
    assert left == 2
    assert "--window: 15 is too short to read in; at least 16" in err
    assert run(capsys, "--task", "korquad", "-m", korquad, "--data", gold, "--window", 65)[0] == 2
    assert figures(capsys, *common, "--max-examples", 2)["examples"] == 2


def test_predictions_are_never_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path, korquad: Path
) -> None:
    out = tmp_path / "out.json"
    out.write_text("kept", encoding="utf-8")
    left, printed, err = run(capsys, "--task", "korquad", "-m", korquad, "--data", gold, "--predictions", out)
    assert (left, printed) == (1, "")
    assert "never overwritten" in err
    assert out.read_text(encoding="utf-8") == "kept"
    missing = tmp_path / "none" / "out.json"
    assert run(capsys, "--task", "korquad", "-m", korquad, "--data", gold, "--predictions", missing)[0] == 1
    assert sorted(os.listdir(tmp_path)) == ["gold.json", "out.json"]


def test_entities_come_back_as_they_were_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sentences: Path, ner: Path
) -> None:
    out = tmp_path / "out.jsonl"
    metrics = figures(capsys, "--task", "ner", "-m", ner, "--data", sentences, "--predictions", out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    assert all(line["text"][one["start"] : one["end"]] == one["text"] for line in lines for one in line["entities"])
    scored = figures(capsys, "--task", "ner", "--data", sentences, "--score", out)
    same = ["entity_f1", "entity_f1_macro", "character_f1", "character_f1_with_o", "by_label", "taken_for", "outcomes"]
    assert [scored[name] for name in same] == [metrics[name] for name in same]


def test_entities_are_scored_alone_in_any_layout(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sentences: Path
) -> None:
    (tmp_path / "given.tsv").write_text(
        "".join(
            "".join(f"{letter}\t{tag}\n" for letter, tag in zip(text, tags, strict=True)) + "\n"
            for text, tags in zip(
                TEXTS,
                [
                    ["B-PS", "I-PS", "I-PS", "O", "O", "B-LC", "I-LC", *["O"] * 6],
                    ["I-LC", "I-LC", "I-LC", *["O"] * 5],
                    ["O"] * 6,
                ],
                strict=True,
            )
        ),
        encoding="utf-8",
    )
    metrics = figures(capsys, "--task", "ner", "--data", sentences, "--score", tmp_path / "given.tsv")
    # Two entities are predicted, one of them right; the I without its B is none. The data has three.
    assert metrics["entity_f1"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert metrics["outcomes"] == {"right": 1, "boundary": 1, "label": 0, "missed": 1, "invented": 0}
    assert metrics["by_label"]["PS"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    code, out, _ = run(capsys, "--task", "ner", "--data", sentences, "--score", tmp_path / "given.tsv")
    assert code == 0
    assert "<한도윤:PS>은 <반달:LC>섬에 산다." in out
    assert max(map(len, out.splitlines())) <= 80


def test_predictions_of_other_texts_or_of_too_few_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sentences: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": 1, "text": "다른 글"}\n{"id": 2, "text": "반달섬은 멀다."}\n', encoding="utf-8")
    left, _, err = run(capsys, "--task", "ner", "--data", sentences, "--score", other)
    assert left == 3
    assert "line 1: its text is not that of 1 in the data" in err
    other.write_text('{"text": "반달섬은 멀다."}\n', encoding="utf-8")
    left, _, err = run(capsys, "--task", "ner", "--data", sentences, "--score", other)
    assert left == 3
    assert "1 sentences without ids, where the data has 3" in err
    other.write_text('{"id": 2, "text": "반달섬은 멀다."}\n', encoding="utf-8")
    left, _, err = run(capsys, "--task", "ner", "--data", sentences, "--score", other)
    assert left == 0
    assert "2 of 3 texts have no prediction" in err


def test_bad_data_is_told_before_anything_is_computed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, ner: Path, korquad: Path
) -> None:
    (tmp_path / "bad.tsv").write_text("한\tB-PS\n강\tI-LC\n은\n", encoding="utf-8")
    left, out, err = run(capsys, "--task", "ner", "-m", ner, "--data", tmp_path / "bad.tsv")
    assert (left, out) == (3, "")
    assert "bad.tsv, line 3: 1 columns instead of 2" in err
    (tmp_path / "label.tsv").write_text("한\tB-PSS\n강\tI-PSS\n", encoding="utf-8")
    left, out, err = run(capsys, "--task", "ner", "-m", ner, "--data", tmp_path / "label.tsv")
    assert (left, out) == (3, "")
    assert "did you mean PS?" in err
    moved = json.loads(json.dumps(GOLD))
    moved["data"][2]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] -= 1
    left, out, err = run(capsys, "--task", "korquad", "-m", korquad, "--data", predictions(tmp_path, moved))
    assert (left, out) == (3, "")
    assert "question a3: the answer '반달섬' is not at character 23" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "ner", "-m", "KORQUAD", "--data", "GOLD"], (4, "was fine-tuned for the task korquad, not ner")),
        (["--task", "korquad", "-m", "KORQUAD", "--data", "GOLD", "--score", "GOLD"], (2, "-m make")),
        (["--task", "korquad", "--data", "GOLD", "--score", "GOLD", "--predictions", "new"], (2, "exclude each other")),
        (["--task", "lm", "-m", "KORQUAD", "--data", "GOLD", "--score", "GOLD"], (2, "lm has no predictions")),
        (["--task", "lm", "-m", "KORQUAD", "--data", "GOLD", "--predictions", "new"], (2, "lm has no predictions")),
        (["--task", "korquad", "--data", "-", "--score", "-"], (2, "only once")),
        (["--task", "korquad", "--data", "GOLD", "--score", "none.json"], (1, "none.json")),
        (["--task", "passkey", "-m", "KORQUAD"], (2, "an encoder does not write on")),
        (["--task", "passkey", "-m", "KORQUAD", "--data", "GOLD"], (2, "makes its texts itself")),
    ],
)
def test_what_makes_no_sense_is_told(
    capsys: pytest.CaptureFixture[str],
    korquad: Path,
    gold: Path,
    arguments: list[str],
    words: tuple[int, str],
) -> None:
    names = {"KORQUAD": str(korquad), "GOLD": str(gold)}
    left, out, err = run(capsys, *(names.get(argument, argument) for argument in arguments))
    assert (left, out) == (words[0], "")
    assert words[1] in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("task", "option"),
    [
        *(("korquad", option) for option in ("--weights=int9", "--errors=skip", "--document=file", "--no-context")),
        *(("lm", option) for option in ("--worst=2", "--resamples=5", "--seed=1")),
        *(("passkey", option) for option in ("--max-examples=2", "--worst=2", "--resamples=5", "--errors=skip")),
    ],
)
def test_an_option_that_says_nothing_to_a_task_is_refused(
    capsys: pytest.CaptureFixture[str], korquad: Path, gold: Path, task: str, option: str
) -> None:
    data = [] if task == "passkey" else ["--data", gold]
    left, out, err = run(capsys, "--task", task, "-m", korquad, *data, option)
    assert (left, out) == (2, "")
    assert f"--task {task}: does not use --" in err
    assert option.split("=", maxsplit=1)[0] in err


@pytest.mark.parametrize("setting", ["lengths=[]", "depths=[]", "depths=[2]"])
def test_passkeys_need_a_length_and_a_depth(capsys: pytest.CaptureFixture[str], korquad: Path, setting: str) -> None:
    left, out, err = run(capsys, "--task", "passkey", "-m", korquad, "--set", setting)
    assert (left, out) == (2, "")
    assert setting.partition("=")[0] in err
    assert "encoder" not in err


def test_every_file_behind_an_option_is_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gold: Path, sentences: Path
) -> None:
    (tmp_path / "given.jsonl").write_text(sentences.read_text(encoding="utf-8") * 2, encoding="utf-8")
    given = ("--score", tmp_path / "given.jsonl", "--resamples", 0)
    metrics = figures(capsys, "--task", "ner", "--data", sentences, sentences, *given)
    assert metrics["data"] == [str(sentences)] * 2
    assert metrics["entity_f1"] == 1.0
    assert run(capsys, "--task", "ner", "--score", sentences, sentences, "--data", sentences)[0] == 2


def test_predictions_over_two_files_score_as_they_were_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = model_of(tmp_path / "model", CLASSIFY, {"labels": ["가깝다", "멀다"]})
    files = []
    for name, labels in (("a.tsv", ("멀다", "가깝다")), ("b.tsv", ("가깝다", "멀다"))):
        rows = "".join(f"{text}\t{label}\n" for text, label in zip(TEXTS, labels * 2, strict=False))
        (tmp_path / name).write_text(rows, encoding="utf-8")
        files.append(tmp_path / name)
    out = tmp_path / "out.jsonl"
    metrics = figures(capsys, "--task", "classify", "-m", model, "--data", *files, "--predictions", out)
    scored = figures(capsys, "--task", "classify", "--data", *files, "--score", out)
    same = ["accuracy", "macro_f1", "accuracy_interval", "macro_f1_interval", "by_label", "taken_for", "examples"]
    assert [scored[name] for name in same] == [metrics[name] for name in same]
    assert scored["extra_predictions"] == 0
    headed = tmp_path / "c.tsv"
    headed.write_text("id\ttext\tlabel\n7\t멀다\t멀다\n7\t가깝다\t가깝다\n", encoding="utf-8")
    code, _, err = run(capsys, "--task", "classify", "--data", headed, "--score", out)
    assert code == 0
    assert "1 examples have the id of another one" in err
    assert "7#2 for the second 7" in err


def test_a_correlation_that_there_is_not_is_null(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        "".join(f'{{"id": "k{n}", "sentence1": "가", "sentence2": "나", "score": {n}}}\n' for n in range(3)),
        encoding="utf-8",
    )
    given = predictions(tmp_path, {f"k{n}": 2.0 for n in range(3)})
    metrics = figures(capsys, "--task", "pair", "--data", tmp_path / "pairs.jsonl", "--score", given)
    assert (metrics["spearman"], metrics["pearson"], metrics["spearman_interval"]) == (None, None, None)
    code, out, err = run(capsys, "--task", "pair", "--data", tmp_path / "pairs.jsonl", "--score", given)
    assert code == 0
    assert "all scores of the predictions are the same" in err
    assert "nan" in out
