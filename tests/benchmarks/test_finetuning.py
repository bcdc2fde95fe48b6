import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from dense_bert import DenseBert
from finetuning import DATA, all_rows, cell, chosen_rows, measured, settings_of, table

from korformer import tasks
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import LoadedModel
from korformer.model.draws import TrainingDraw
from korformer.model.heads import HeadSpec
from korformer.supervised.batches import Window, collate
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SHAPE = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=1024, bucket_size=8, causal=False, attention="lsh")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary(["바람이 센 날에는 종을 울렸다."] * 3, VocabularySettings(size=440))


def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        data=tmp_path, model=tmp_path / "base", decoder=tmp_path / "decoder", out=tmp_path / "out", seeds=3,
        examples=2000, valid_examples=1000, budget_tokens=500_000, learning_rate=None,
    )  # fmt: skip


def test_rows_are_of_tasks_that_there_are() -> None:
    assert {data.task for data in DATA.values()} <= set(tasks.names())
    assert chosen_rows([]) == all_rows()
    assert chosen_rows(["korsts", "nsmc/svm"]) == [
        "nsmc/svm", "korsts/pretrained", "korsts/scratch", "korsts/dense", "korsts/decoder",
    ]  # fmt: skip
    with pytest.raises(SystemExit, match="no such row"):
        chosen_rows(["nsmc/svn"])


def test_every_row_has_legal_settings_and_equal_data(tmp_path: Path, vocabulary: Vocabulary) -> None:
    base = LoadedModel(model=ReformerModel(SHAPE, vocabulary.size), vocabulary=vocabulary, path=tmp_path)
    for name in DATA:
        one, other, dense = (settings_of(options(tmp_path), f"{name}/{system}", base) for system in
                             ("pretrained", "scratch", "dense"))  # fmt: skip
        assert [Path(settings.base).name for settings in (one, other, dense)] == (
            ["pretrained", "scratch", ""] if name == "longqa" else ["base", "", ""]
        )
        assert one.training == other.training
        assert dense.training.budget_tokens == one.training.budget_tokens
        if "decoder" in DATA[name].more:
            decoder = settings_of(options(tmp_path), f"{name}/decoder", base)
            assert (Path(decoder.base).name, decoder.training) == ("decoder", one.training)
        assert one.data == other.data
        assert dense.data.max_tokens == 512
        assert (dense.data.max_train, dense.training.budget_tokens) == (2000, 500_000)


def test_a_dense_bert_keeps_windows_of_a_row_apart_and_draws_by_key(vocabulary: Vocabulary) -> None:
    model = DenseBert(SHAPE, vocabulary.size, {"classify": HeadSpec(reads="first", outputs=2)})
    model.initialise(3)
    first = {name: value.clone() for name, value in model.named_parameters()}
    model.initialise(3)
    assert all(torch.equal(value, first[name]) for name, value in model.named_parameters())
    windows = [Window(example=n, tokens=np.arange(5 + n, 20 + 3 * n)) for n in range(3)]

    def read(some: list[Window], draw: TrainingDraw | None = None) -> torch.Tensor:
        batch = collate(some, share_rows=True)
        with torch.no_grad():
            hidden = model(
                batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT,
                segments_BT=batch.segments_BT, draw=draw,
            )  # fmt: skip
        return batch.by_window(hidden)

    model.eval()
    together = read(windows)
    for number, window in enumerate(windows):
        torch.testing.assert_close(together[number, : len(window)], read([window])[0], rtol=1e-4, atol=1e-5)
    model.train()
    draw = TrainingDraw(seed=0, step=1, samples=range(1))
    assert torch.equal(read(windows, draw), read(windows, draw))
    assert not torch.equal(read(windows, draw), together)


def test_the_table_has_means_deviations_and_gaps(tmp_path: Path) -> None:
    chosen = options(tmp_path)
    place = chosen.out / "nsmc" / "scratch"
    place.mkdir(parents=True)
    several = {"seeds": [], "mean": {"accuracy": 0.71234}, "deviation": {"accuracy": 0.0123}}
    (place / "results.json").write_text(json.dumps(several), encoding="utf-8")
    (chosen.out / "nsmc" / "svm.json").write_text('{"accuracy": 0.8}', encoding="utf-8")
    assert cell(measured(chosen, "nsmc/scratch"), DATA["nsmc"]) == "71.2 ± 1.2"
    assert cell({"mean": {"f1": 61.25, "exact_match": 0.5}, "deviation": {}}, DATA["korquad"]) == "61.2 / 0.5"
    row = next(
        line
        for line in table({row: measured(chosen, row) for row in all_rows()}).splitlines()
        if line.startswith("| nsmc")
    )
    assert row == "| nsmc | accuracy | - | 71.2 ± 1.2 | - | - | 80.0 | - |"


def test_the_table_in_the_docs_is_that_of_the_figures() -> None:
    root = Path(__file__).parents[2]
    figures = json.loads((root / "benchmarks" / "results" / "finetuning.json").read_text(encoding="utf-8"))
    text = (root / "docs" / "finetuning.md").read_text(encoding="utf-8")
    assert all(block in text for block in table(figures["rows"]).split("\n\n"))
