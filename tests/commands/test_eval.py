"""`korformer eval --task lm`, as a person or a program calls it, on a small model with drawn weights."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from korformer.commands import checkpoint
from korformer.commands.app import main
from korformer.evaluation.language_model import evaluate_lm
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.model.heads import HeadSpec
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

DOCUMENTS = [
    "등대지기의 하루\n아침이면 그는 유리를 닦고, 저녁이면 불을 켰다.\n바람이 센 날에는 종을 울렸다.",
    "시장 골목\n생선 장수는 새벽마다 얼음을 깨고, 떡집에서는 김이 올랐다. " + "사람들은 천천히 걸었다. " * 40,
    "🙂 짧은 글",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    vocabulary = train_vocabulary(DOCUMENTS * 3, VocabularySettings(size=700))
    config = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8, n_hashes=2)
    reformer = ReformerModel(config, vocabulary.size)
    reformer.initialise(1)
    write_description(directory, reformer, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(reformer), "# a model for tests\n")
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "valid.txt"
    path.write_text("\n\n".join(DOCUMENTS) + "\n", encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def figures(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, _ = run(capsys, "--json", *arguments)
    assert code == 0
    value: dict[str, Any] = json.loads(out)
    return value


def encoder_in(directory: Path, objective: str = "mlm", **settings: str) -> Path:
    """An encoder with drawn weights, with the head of sentence pairs where its settings ask for it."""
    vocabulary = train_vocabulary(DOCUMENTS * 3, VocabularySettings(size=700))
    shape = {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "segments": 2}
    config = ModelConfig.model_validate({**shape, "causal": False, "attention": "full"})
    heads = {"nsp": HeadSpec(reads="first", outputs=2)} if "sentence_pair" in settings else {}
    model = ReformerModel(config, vocabulary.size, heads)
    model.initialise(1)
    write_description(directory, model, vocabulary, objective=objective, training={"objective": settings})
    publish(directory, parameters_to_save(model), "# an encoder for tests\n")
    return directory


def test_an_encoder_guesses_hidden_tokens(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path) -> None:
    encoder = encoder_in(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    metrics = figures(capsys, "-m", encoder, "--task", "lm", "--data", data)
    assert {"masked_accuracy", "masked_perplexity", "masked_tokens", "tokens", "device"} <= metrics.keys()
    assert "bits_per_character" not in metrics
    assert 300 < metrics["masked_perplexity"] < 1400  # weights that know nothing, of 700 tokens
    assert figures(capsys, "-m", encoder, "--task", "lm", "--data", data) == metrics
    fewer = figures(capsys, "-m", encoder, "--task", "lm", "--data", data, "--set", "max_tokens=64")
    one = figures(capsys, "-m", encoder, "--task", "lm", "--data", data, "--max-documents", 1)
    assert max(fewer["tokens"], one["tokens"]) < metrics["tokens"]
    code, out, _ = run(capsys, "-m", encoder, "--task", "lm", "--data", data)
    assert code == 0
    assert "masked accuracy" in out
    assert "not comparable" in out
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_an_encoder_that_learnt_pairs_is_asked_for_them_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    paired = encoder_in(tmp_path, sentence_pair="nsp")
    assert "pair_accuracy" in figures(capsys, "-m", paired, "--task", "lm", "--data", data)


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        ("rtd", [], "was trained for objective rtd, of which the directory does not hold all"),
        ("mlm", ["--window", "32"], "an encoder does not use --window"),
        ("mlm", ["--weights", "int8", "--no-context"], "an encoder does not use --weights and --no-context"),
        ("mlm", ["--set", "by_context=false"], "by_context"),
    ],
)
def test_what_an_encoder_cannot_be_asked_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, objective: str, options: list[str], words: str
) -> None:
    code, out, err = run(capsys, "-m", encoder_in(tmp_path, objective), "--task", "lm", "--data", data, *options)
    assert (code, out) == (2, "")
    assert words in err


def test_json_has_every_metric_by_its_name(capsys: pytest.CaptureFixture[str], model: Path, data: Path) -> None:
    metrics = figures(capsys, "-m", model, "--task", "lm", "--data", data)
    loaded = load_model(model)
    expected = evaluate_lm(loaded.model, loaded.vocabulary, DOCUMENTS)
    assert metrics["bits_per_character"] == pytest.approx(expected.bits_per_character, rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(expected.perplexity, rel=1e-6)
    assert metrics["characters"] == sum(map(len, DOCUMENTS))
    assert metrics["examples"] == len(DOCUMENTS)
    assert metrics["by_position"]
    assert metrics["by_context"]


def test_token_by_token_in_any_precision(capsys: pytest.CaptureFixture[str], model: Path, data: Path) -> None:
    parallel = figures(capsys, "-m", model, "--data", data, "--no-context")
    stepped = {
        weights: figures(capsys, "-m", model, "--data", data, "--no-context", "--weights", weights)
        for weights in ("fp32", "bf16", "int8")
    }
    bits = {weights: metrics["bits_per_character"] for weights, metrics in stepped.items()}
    assert bits["fp32"] == pytest.approx(parallel["bits_per_character"], rel=1e-5)
    assert bits["bf16"] == pytest.approx(bits["fp32"], rel=5e-3)
    assert bits["int8"] == pytest.approx(bits["fp32"], rel=5e-3)
    assert len(set(bits.values())) == 3
    assert (stepped["int8"]["weights"], stepped["int8"]["reading"]) == ("int8", "token by token")
    assert (parallel["weights"], parallel["reading"]) == ("fp32", "in parallel")


def test_an_unknown_precision_is_told(capsys: pytest.CaptureFixture[str], model: Path, data: Path) -> None:
    code, _, err = run(capsys, "-m", model, "--data", data, "--weights", "fp8")
    assert code == 2
    assert "--weights" in err
    assert "fp32, bf16, int8" in err


def test_people_get_tables_and_a_plot_and_programs_a_clean_stdout(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path
) -> None:
    code, out, err = run(capsys, "-m", model, "--data", data)
    assert code == 0
    for words in ("bits per character", "perplexity per token", "By position", "late tokens", "*"):
        assert words in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80
    assert "evaluating" in err
    code, out, err = run(capsys, "-m", model, "--data", data, "--quiet", "--no-plot", "--no-context")
    assert (code, err) == (0, "")
    assert "*" not in out
    assert "late tokens" not in out


def test_a_model_without_a_name_is_the_one_that_ships(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "shipped", lambda: model)
    assert figures(capsys, "--data", data)["model"] == str(model)
    monkeypatch.setattr(checkpoint, "shipped", lambda: None)
    code, out, err = run(capsys, "--data", data)
    assert (code, out) == (2, "")
    assert "-m" in err


def test_the_same_text_gives_the_same_figures_however_it_comes(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    expected = figures(capsys, "-m", model, "--data", data)["bits_per_character"]
    packed = tmp_path / "valid.xz"
    packed.write_bytes(lzma.compress(unicodedata.normalize("NFD", data.read_text(encoding="utf-8")).encode()))
    assert figures(capsys, "-m", model, "--data", packed)["bits_per_character"] == expected
    parts = []
    for number, text in enumerate(DOCUMENTS):
        parts.append(tmp_path / f"part-{number}.txt")
        parts[-1].write_text(text + "\n", encoding="utf-8")
    # As a shell expands `--data part-*.txt`.
    assert figures(capsys, "-m", model, "--data", *parts)["bits_per_character"] == pytest.approx(expected, rel=1e-9)
    piped = subprocess.run(
        [sys.executable, "-m", "korformer.commands.app", "eval", "-m", str(model), "--data", "-", "--json"],
        input=data.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(piped.stdout)["bits_per_character"] == pytest.approx(expected, rel=1e-9)


def test_options_reach_the_measurement(capsys: pytest.CaptureFixture[str], model: Path, data: Path) -> None:
    whole = figures(capsys, "-m", model, "--data", data)
    assert (whole["hashes"], whole["window"]) == (2, 64)
    other = figures(capsys, "-m", model, "--data", data, "--hashes", 1, "--window", 32, "--max-documents", 2)
    assert (other["hashes"], other["window"], other["examples"]) == (1, 32, 2)
    assert other["characters"] == len(DOCUMENTS[0]) + len(DOCUMENTS[1])
    one = figures(capsys, "-m", model, "--data", data, "--document", "file")
    assert one["examples"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "none.txt"], 1, "none.txt"),
        (["--data", "empty.txt"], 3, "no text"),
        (["--data", "folder"], 3, "folder"),
        (["--data", "cp949.txt"], 3, "cp949.txt"),
        (["--data", "valid.txt", "--task", "korqad"], 2, "Did you mean korquad?"),
        (["--data", "valid.txt", "--window", "65"], 2, "64"),
        (["--data", "valid.txt", "--window", "1"], 2, "--window"),
        (["--data", "valid.txt", "--document", "page"], 2, "document"),
        ([], 2, "--data"),
    ],
)
def test_a_fault_is_told_in_one_message_with_its_exit_code(
    capsys: pytest.CaptureFixture[str],
    model: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(data.parent)
    Path("empty.txt").write_text("\n \n", encoding="utf-8")
    Path("cp949.txt").write_bytes("한국어로 쓴 오래된 글".encode("cp949"))
    Path("folder").mkdir()
    left, out, err = run(capsys, "-m", model, *arguments)
    assert (left, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_what_is_not_a_model_is_refused(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    assert run(capsys, "-m", tmp_path / "none", "--data", data)[0] == 1
    assert run(capsys, "-m", data, "--data", data)[0] == 4
    assert run(capsys, "-m", tmp_path, "--data", data)[0] == 4
