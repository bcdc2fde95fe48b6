"""The benchmarks of vocabularies run, measure every row and write what they print."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from korformer.text.wordpiece import VocabularySettings, train_vocabulary

DOCUMENTS = [f"{number}번 버스는 언덕을 넘어 바다로 간다.\n종점에는 빨간 등대가 있다." for number in range(40)]


def _load(name: str) -> ModuleType:
    # benchmarks/ is a folder of scripts, not a package.
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"korformer_benchmarks_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(DOCUMENTS), encoding="utf-8")
    return path


def test_tokenizing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    tokenizing = _load("tokenizing")
    monkeypatch.setattr(tokenizing, "unbroken", lambda: {"short": "가" * 100})
    train_vocabulary(DOCUMENTS, VocabularySettings(size=450)).save_files(tmp_path)
    output = tmp_path / "result.json"
    assert tokenizing.main([str(tmp_path), str(corpus), "--rounds", "2", "--output", str(output)]) == 0
    result = json.loads(output.read_bytes())
    rows = {*tokenizing.PEERS, tokenizing.OURS, tokenizing.STORE}
    assert set(result["median_seconds"]) == set(result["speed_of_the_fastest_peer"]) == rows
    assert result["bytes"] == sum(len(text.encode("utf-8")) for text in DOCUMENTS)
    printed = capsys.readouterr().out
    assert all(row in printed for row in rows)
    assert "short" in printed


def test_tokenizing_tells_what_is_wrong(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    assert _load("tokenizing").main([str(tmp_path), str(corpus)]) == 4
    assert "tokenizer.json" in capsys.readouterr().err


def test_training(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    vocabulary = _load("vocabulary")
    output = tmp_path / "result.json"
    assert vocabulary.main([str(corpus), "--size", "460", "--runs", "2", "--output", str(output)]) == 0
    rows = json.loads(output.read_bytes())["rows"]
    assert [row["name"].split()[-1] for row in rows] == ["lossless", "bert", "BertWordPieceTokenizer"]
    assert all(row["same_every_time"] for row in rows[:2])
    assert all(row["peak_bytes"] > 1 << 20 for row in rows)
    assert all(row["name"] in capsys.readouterr().out for row in rows[:1])
