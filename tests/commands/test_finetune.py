"""`korformer finetune` and `korformer predict`, as a person calls them, on tiny models."""

from __future__ import annotations

import io
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from korformer.commands.app import main
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

GOOD, BAD = ("좋다", "재미있다"), ("나쁘다", "지루하다")
REVIEWS = [(f"{who} {word}", label) for who in ("영화가", "배우가", "노래가", "끝이") for label, words in
           (("1", GOOD), ("0", BAD)) for word in words]  # fmt: skip
SHAPE: dict[str, Any] = {
    "dim": 16, "depth": 1, "heads": 2, "max_seq_len": 32, "bucket_size": 8, "axial_position_emb": False,
}  # fmt: skip
FAST = ["--set", "training.device=cpu", "--set", "training.batch_size=8", "--set", "training.learning_rate=0.01"]


def checkpoint(path: Path, **shape: Any) -> Path:
    path.mkdir()
    vocabulary = train_vocabulary([text for text, _ in REVIEWS], VocabularySettings(size=440))
    model = ReformerModel(ModelConfig.model_validate({**SHAPE, **shape}), vocabulary.size)
    model.initialise(1)
    write_description(path, model, vocabulary, objective="ar" if model.config.causal else "mlm", training={})
    publish(path, parameters_to_save(model), "# a model for tests\n")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "encoder", causal=False, attention="full", segments=2)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "decoder")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data."""
    monkeypatch.chdir(tmp_path)
    rows = "id\tdocument\tlabel\n" + "".join(f"{n}\t{text}\t{label}\n" for n, (text, label) in enumerate(REVIEWS))
    Path("train.tsv.xz").write_bytes(lzma.compress(rows.encode()))
    Path("valid.jsonl").write_text(
        "".join(json.dumps({"text": f"정말 {text}", "label": label}) + "\n" for text, label in REVIEWS[::3]),
        encoding="utf-8",
    )
    Path("bad.tsv").write_text("text\tlabel\n좋다\t1\n나쁘다\n\t0\n", encoding="utf-8")
    Path("text.txt").write_text("\n\n".join(text for text, _ in REVIEWS), encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def finetune(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "finetune", *arguments, *FAST)


CLASSIFY = ["--task", "classify", "--train", "train.tsv.xz", "--valid", "valid.jsonl"]


def test_from_a_checkpoint_to_answers(
    capsys: pytest.CaptureFixture[str], encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = finetune(capsys, "-m", encoder, *CLASSIFY, "-o", "run", "--epochs", 20, "--json")
    assert code == 0, err
    results = json.loads(out)
    assert (results["headline"], results["path"]) == ("accuracy", "run")
    assert results["mean"]["accuracy"] > 0.9
    assert "validation accuracy" in err

    code, out, _ = run(capsys, "eval", "-m", "run", "--task", "classify", "--data", "valid.jsonl", "--json", "-q")
    assert code == 0
    assert json.loads(out)["accuracy"] == results["mean"]["accuracy"]

    Path("own.txt").write_text("노래가 재미있다\n\n끝이 지루하다\n", encoding="utf-8")
    code, out, err = run(capsys, "predict", "-m", "run", "own.txt")
    assert (code, err) == (0, "")
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["1", "0"]
    assert "재미있다" in out

    code, out, err = run(capsys, "runs", "run")
    assert "classify" in out
    assert "finished" in out


def test_several_seeds_are_told_as_mean_and_deviation(capsys: pytest.CaptureFixture[str], encoder: Path) -> None:
    code, out, _ = finetune(capsys, "-m", encoder, *CLASSIFY, "--epochs", 1, "--seeds", 2, "-o", "run", "-q")
    assert code == 0
    accuracy, *_, path = out.splitlines()
    assert accuracy.split()[0] == "accuracy"
    assert accuracy.split()[2] == "+-"
    assert path == "run"
    assert load_model(Path("run")).config_json["task"]["name"] == "classify"


def test_new_weights_with_the_shape_of_a_checkpoint_or_of_a_file(
    capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    short = [*CLASSIFY, "--set", "training.steps=1", "-q"]
    code, out, err = finetune(capsys, "-m", encoder, "--scratch", *short)
    assert (code, err) == (0, "")
    made = Path(out.splitlines()[-1])
    assert made == Path("checkpoints/classify-encoder-scratch")
    assert load_model(made).model.config == load_model(encoder).model.config
    assert "new weights" in (made / "README.md").read_text(encoding="utf-8")
    model = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**SHAPE, "causal": False}.items())
    Path("tiny.toml").write_text(f'[model]\n{model}attention = "local"\n', encoding="utf-8")
    code, out, err = finetune(capsys, "--vocab", encoder, "--config", "tiny.toml", *short)
    assert (code, err) == (0, "")
    assert load_model(Path(out.splitlines()[-1])).model.config.attention == "local"


def test_going_on_with_a_language_model(capsys: pytest.CaptureFixture[str], decoder: Path) -> None:
    data = ["--task", "lm", "--train", "text.txt", "--valid", "text.txt", "--cache", "cache"]
    code, out, err = finetune(capsys, "-m", decoder, *data, "--epochs", 2, "-o", "run")
    assert code == 0, err
    assert out.split()[0] == "bits_per_character"
    code, out, err = run(capsys, "predict", "-m", "run", "text.txt")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(REVIEWS)
    assert json.loads(out.splitlines()[0]).keys() == {"text", "bits_per_character", "perplexity", "tokens"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--task and --train and --valid missing"),
        (["--task", "clasify", "--train", "a", "--valid", "b"], 2, "unknown task 'clasify'"),
        ([*CLASSIFY], 2, "-m"),
        (["-m", "ENCODER", *CLASSIFY, "--vocab", "ENCODER"], 2, "vocabulary"),
        (["-m", "ENCODER", *CLASSIFY, "--set", "training.epoch=3"], 2, "did you mean training.epochs"),
        (["-m", "ENCODER", *CLASSIFY, "--set", "model.depth=3"], 2, "--scratch"),
        (["-m", "ENCODER", *CLASSIFY, "--set", "data.max_tokens=64"], 2, "at most 32"),
        (["-m", "ENCODER", *CLASSIFY, "--set", "training.layer_mix=true"], 2, "training.frozen = true"),
        (["-m", "nowhere", *CLASSIFY], 1, "nowhere"),
        (["-m", "ENCODER", *CLASSIFY, "bad.tsv"], 3, "bad.tsv, line 3: 1 columns"),
        (["-m", "ENCODER", *CLASSIFY, "-q", "bad.tsv"], 2, "bad.tsv"),
        (["-m", "ENCODER", *CLASSIFY, "--plot", "--seeds", "2"], 2, "--plot, --seeds"),
        (["-m", "text.txt", *CLASSIFY], 4, "text.txt"),
        (["-m", "ENCODER", "--task", "classify", "--train", "none.tsv", "--valid", "valid.jsonl"], 1, "none.tsv"),
        (
            ["-m", "ENCODER", "--task", "classify", "--train", "bad.tsv", "--valid", "valid.jsonl"],
            3,
            "line 3: 1 columns",
        ),
        (
            ["-m", "ENCODER", "--task", "classify", "--train", "train.tsv.xz", "--valid", "bad.tsv"],
            3,
            "line 4: the text",
        ),
    ],
)
def test_a_fault_is_told_in_one_message_and_nothing_is_made(
    capsys: pytest.CaptureFixture[str], encoder: Path, arguments: list[str], code: int, words: str
) -> None:
    given = [str(encoder) if argument == "ENCODER" else argument for argument in arguments]
    left, out, err = finetune(capsys, *given, "-o", "run")
    assert (left, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
    assert not Path("run").exists()


def test_settings_can_be_printed_and_given_again(capsys: pytest.CaptureFixture[str], encoder: Path) -> None:
    code, out, _ = finetune(capsys, "-m", encoder, "--task", "classify", "--print-config", "--epochs", 7)
    assert code == 0
    assert "epochs = 7.0" in out
    Path("given.toml").write_text(out, encoding="utf-8")
    code, again, err = finetune(capsys, "-m", encoder, "--task", "classify", "--print-config", "--config", "given.toml")
    assert (code, err) == (0, "")
    assert again == out


@pytest.fixture(scope="module")
def fine_tuned(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    rows = "".join(f"{text}\t{label}\n" for text, label in REVIEWS)
    (folder / "train.tsv").write_text(rows, encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main([
            "finetune", "-m", str(encoder), "--task", "classify", "--train", str(folder / "train.tsv"),
            "--valid", str(folder / "train.tsv"), "-o", str(folder / "run"), "-q", "--set", "training.steps=1", *FAST,
        ])  # fmt: skip
    assert not left.value.code
    return folder / "run"


def test_lines_are_answered_as_they_come(fine_tuned: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "korformer.commands.app", "predict", "-m", str(fine_tuned)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert program.stdin is not None
    assert program.stdout is not None
    for text in ("노래가 좋다", "끝이 나쁘다"):
        program.stdin.write(f"{text}\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline())["text"] == text  # before anything else comes
    program.stdin.close()
    assert program.wait() == 0
    program.stdout.close()


def test_answers_are_given_by_other_settings_than_in_training(
    capsys: pytest.CaptureFixture[str], fine_tuned: Path, decoder: Path
) -> None:
    Path("own.jsonl").write_text('{"text": ""}\n', encoding="utf-8")
    assert run(capsys, "predict", "-m", fine_tuned, "own.jsonl")[0] == 3
    for name in ("empty", "classify.empty"):
        code, out, err = run(capsys, "predict", "-m", fine_tuned, "own.jsonl", "--set", f"{name}=keep")
        assert (code, json.loads(out)["text"]) == (0, ""), err
    for wrong in (("--set", "n_best=2"), ("--set", "multi_label=true"), ("--window", "8"), ("--window", "100000")):
        code, out, err = run(capsys, "predict", "-m", fine_tuned, "own.jsonl", *wrong)
        assert (code, out) == (2, "")
        assert wrong[1].partition("=")[0] in err
    Path("long.txt").write_text("등대지기는 아침이면 유리를 닦고 저녁이면 불을 켰다. " * 4 + "\n", encoding="utf-8")
    whole, short = (
        json.loads(run(capsys, "predict", "-m", decoder, "long.txt", *window)[1]) for window in ((), ("--window", "16"))
    )
    assert whole["tokens"] == short["tokens"]
    assert whole["bits_per_character"] != short["bits_per_character"]
    code, _, err = run(capsys, "predict", "-m", decoder, "long.txt", "--set", "n_best=2")
    assert code == 2
    assert "n_best" in err


def test_what_cannot_be_answered_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], fine_tuned: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.jsonl").write_text('{"text": "좋다"}\n{"txt": "좋다"}\n', encoding="utf-8")
    code, _, err = run(capsys, "predict", "-m", fine_tuned, "own.jsonl")
    assert code == 3
    assert "own.jsonl, line 2" in err
    Path("cp949.txt").write_bytes("오래된 글".encode("cp949"))
    code, out, err = run(capsys, "predict", "-m", fine_tuned, "cp949.txt")
    assert (code, out) == (3, "")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO("오래된 글".encode("cp949")))))  # type: ignore[arg-type]
    code, _, err = run(capsys, "predict", "-m", fine_tuned)
    assert code == 3
    assert "<stdin>, line 1" in err
    code, _, err = run(capsys, "predict", "-m", encoder, "own.jsonl")
    assert code == 2
    assert "finetune" in err
    assert run(capsys, "predict", "-m", fine_tuned, "none.txt")[0] == 1
    code, _, err = run(capsys, "eval", "-m", encoder, "--task", "classify", "--data", "valid.jsonl")
    assert code == 4
    assert "for no task" in err


def test_files_behind_valid_are_validated_on(capsys: pytest.CaptureFixture[str], encoder: Path) -> None:
    Path("more.tsv").write_text("노래가 정말 좋다\t1\n끝이 정말 나쁘다\t0\n", encoding="utf-8")
    short = ["--set", "training.steps=1", "-q", "-o", "run"]
    code, _, err = finetune(capsys, "-m", encoder, *CLASSIFY, "more.tsv", *short)
    assert code == 0, err
    card = Path("run/README.md").read_text(encoding="utf-8")
    assert "- Data, training: train.tsv.xz\n- Data, validation: valid.jsonl, more.tsv\n" in card
    assert f"Training examples: {len(REVIEWS)}\n" in card


def test_entities_are_validated_on_a_text_with_windows_of_white_space(
    capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    long = f"영화가{chr(10) + chr(9)}" + " \n\t" * 100 + "배우가"
    for name, texts in (("train.jsonl", ["영화가 좋다", "배우가 나쁘다"]), ("long.jsonl", [long])):
        lines = [json.dumps({"text": text, "entities": [[0, 2, "LC"]]}) + "\n" for text in texts]
        Path(name).write_text("".join(lines), encoding="utf-8")
    data = ["--task", "ner", "--train", "train.jsonl", "--valid", "long.jsonl"]
    code, out, err = finetune(capsys, "-m", encoder, *data, "--epochs", 1, "-o", "run", "-q")
    assert (code, err) == (0, "")
    assert "entity_f1 " in out
