"""Nothing but the same run is written over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import UsageError
from korformer.finetuning.folders import check_output
from korformer.finetuning.runs import finetune
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.directory import load_model
from korformer.text.vocabulary import Vocabulary

Settled = Callable[..., FinetuneSettings]
Files = dict[str, list[str]]
SHORT = {"steps": 1}


def begun(folder: Path, *lines: str) -> Path:
    """A folder with a run of these settings and weights that must stay."""
    folder.mkdir(parents=True, exist_ok=True)
    if lines:
        (folder / "run.toml").write_text("\n".join(lines), encoding="utf-8")
    (folder / "model.safetensors").write_text("weights", encoding="utf-8")
    return folder


def tried(settings: FinetuneSettings, path: Path, base: Path | None = None, seeds: int = 1, **how: Any) -> None:
    check_output(path, settings, base, seeds=seeds, **{"resume": True, **how})


def test_a_new_folder_and_one_with_other_things_may_be_used(settled: Settled, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for seeds in (1, 2):
        tried(settled(), tmp_path, seeds=seeds)
        tried(settled(), tmp_path / "new", seeds=seeds)


@pytest.mark.parametrize("seeds", [1, 2])
def test_other_models_are_refused(settled: Settled, tmp_path: Path, seeds: int) -> None:
    pretrained = begun(tmp_path / "pretrained", "[model]", "dim = 16")
    with pytest.raises(UsageError, match="holds a run of pretraining"):
        tried(settled(), pretrained, seeds=seeds)
    copied = begun(tmp_path / "copied")
    with pytest.raises(UsageError, match="holds no run, but model.safetensors, which a run would overwrite"):
        tried(settled(), copied, seeds=seeds)
    (tmp_path / "link").symlink_to(copied)
    with pytest.raises(UsageError, match="is the model to begin with"):
        tried(settled(), tmp_path / "link", base=copied, seeds=seeds)


def test_the_folder_of_a_seed_may_not_be_the_base_either(settled: Settled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"seed-1: is the model to begin with"):
        tried(settled(), tmp_path, base=tmp_path / "seed-1", seeds=2)
    tried(settled(), tmp_path, base=tmp_path / "seed-2", seeds=2)


def test_one_seed_and_several_do_not_share_a_folder(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    def run(path: Path, seeds: int, **training: Any) -> None:
        settings = settled(training={**SHORT, **training})
        data = {"train": files["train.tsv"], "valid": files["valid.tsv"]}
        finetune(settings, vocabulary, None, path, **data, seeds=seeds)

    run(tmp_path / "one", 1)
    run(tmp_path / "two", 2)
    kept = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    with pytest.raises(UsageError, match="holds the run of a single seed"):
        run(tmp_path / "one", 2)
    with pytest.raises(UsageError, match="holds runs of several seeds, such as seed-0"):
        run(tmp_path / "two", 1)
    with pytest.raises(UsageError, match=r"training.learning_rate was 0.01, now 0.02"):
        run(tmp_path / "two", 2, learning_rate=0.02, seed=7)
    assert kept == [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    run(tmp_path / "two", 3)  # one more seed of the same run
    assert (tmp_path / "two" / "seed-2" / "model.safetensors").exists()
    with pytest.raises(UsageError, match="seed-0: holds a run already"):
        tried(settled(training=SHORT), tmp_path / "two", seeds=2, resume=False)


def test_the_base_keeps_its_weights(settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path) -> None:
    data = {"train": files["train.tsv"], "valid": files["valid.tsv"]}
    finetune(settled(training=SHORT), vocabulary, None, tmp_path / "base", **data)
    base = load_model(tmp_path / "base")
    before = (tmp_path / "base" / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="is the model to begin with"):
        finetune(settled(training=SHORT), vocabulary, base, tmp_path / "base", **data)
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == before
