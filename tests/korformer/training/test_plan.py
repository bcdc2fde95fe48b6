from pathlib import Path

import pytest
import torch

from korformer.config import merge
from korformer.data.store import build_store, cached_parts, cached_store
from korformer.errors import PathError, UsageError
from korformer.events import Event, Progress
from korformer.model.backbone import ReformerModel
from korformer.text.documents import ReadSettings
from korformer.text.vocabulary import Vocabulary
from korformer.training import corpus_sample, memory, trial
from korformer.training.corpus_sample import planned_data, sample_corpus
from korformer.training.engine import TrainingData
from korformer.training.plan import PlannedData, plan
from korformer.training.settings import DataSettings, RunSettings, run_settings

VALUES = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8},
    "training": {
        "steps": 100, "batch_size": 2, "accumulate": 8, "warmup_steps": 1, "threads": 1, "sample_tokens": 4,
        "save_every": 30, "eval_every": 10, "sample_every": 0, "eval_tokens": 100,
    },
}  # fmt: skip
LINES = [
    f"{who} {where} 앉아 있다." for who in ("참새가", "나비가", "개미가") for where in ("담 위에", "풀잎에", "꽃에")
]


def settings(**sections: dict[str, object]) -> RunSettings:
    return run_settings("ar", merge(VALUES, sections))


def planned(data: TrainingData) -> PlannedData:
    return PlannedData(
        data=data,
        corpora={"": 10_000},
        shares={"": 1.0},
        exact=True,
        tokenizing_seconds=5.0,
        store_bytes=20_000,
    )


def test_a_plan_is_made_by_real_steps_and_leaves_nothing(data: TrainingData, tmp_path: Path) -> None:
    heard: list[Event] = []
    path = tmp_path / "run"
    found = plan(settings(), planned(data), path, listen=heard.append)
    assert list(tmp_path.iterdir()) == []
    assert found.pace is not None
    assert found.pace.steps >= 2
    parameters = sum(p.numel() for p in ReformerModel(settings().model, data.vocabulary.size).parameters())
    assert sum(found.parameters.values()) == parameters
    assert set(found.parameters) == {"embedding", "positions", "attention", "feed-forward", "norms"}
    assert (found.fit.micro_batch, found.fit.passes, found.step_tokens) == (2, 8, 1024)
    assert found.epochs == {"": pytest.approx(100 * 1024 / 10_000)}
    assert found.peak_bytes > 10**8
    seconds = found.seconds()
    assert seconds["tokenizing"] == 5.0
    assert seconds["training"] == pytest.approx(100 * found.pace.step)
    assert seconds["validation"] == pytest.approx(10 * found.pace.validation)
    assert seconds["validation"] > 0.0
    assert seconds["samples"] == 0.0
    assert seconds["saving"] == pytest.approx(4 * found.pace.save)
    assert found.pace.tokens_per_second == pytest.approx(1024 / found.pace.step)
    assert found.run_bytes == 10 * 4 * parameters
    tried = [event for event in heard if isinstance(event, Progress)]
    assert tried[-1].done == tried[-1].total


def test_passes_of_a_step_are_reckoned_from_two(data: TrainingData, tmp_path: Path) -> None:
    """A step of many passes is not made in full: that could take hours."""
    heard: list[Event] = []
    plan(settings(training={"batch_size": 1, "accumulate": 500}), planned(data), tmp_path, listen=heard.append)
    assert max(event.done for event in heard if isinstance(event, Progress)) <= 2 * trial.STEPS


def test_warm_up_lengths_do_not_make_the_steps_shorter(data: TrainingData, tmp_path: Path) -> None:
    short = {"data": {"warmup_lengths": [16, 32]}}
    assert plan(settings(**short), planned(data), tmp_path).step_tokens == 1024


def test_what_does_not_fit_is_not_tried(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6)
    heard: list[Event] = []
    found = plan(settings(), planned(data), tmp_path, listen=heard.append)
    assert not found.fit.fits
    assert found.pace is None
    assert found.peak_bytes == found.fit.memory.peak
    assert found.seconds() == {}
    assert not any(isinstance(event, Progress) for event in heard)


def test_a_place_that_cannot_be_written_to_is_told(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "existing_parent", lambda path: tmp_path / "gone")
    with pytest.raises(PathError, match="run: cannot write it"):
        plan(settings(), planned(data), tmp_path / "run")


def corpus(folder: Path, files: int, documents: int) -> list[str]:
    for number in range(files):
        text = "\n\n".join(f"{number} 번째 이야기 {document}. " + " ".join(LINES) for document in range(documents))
        (folder / f"{number:02}.txt").write_text(text + "\n", encoding="utf-8")
    return [str(folder / f"{number:02}.txt") for number in range(files)]


def test_a_sample_tells_the_size_of_the_whole(data: TrainingData, tmp_path: Path) -> None:
    sources = corpus(tmp_path, files=12, documents=200)
    (tmp_path / "scratch").mkdir()
    sample = sample_corpus(
        sources, data.vocabulary, tmp_path / "cache", tmp_path / "scratch", read=ReadSettings(),
        listen=lambda event: None, characters=80_000,
    )  # fmt: skip
    assert not sample.whole
    assert sample.store.characters < 120_000
    whole = build_store((text for text in texts(sources)), data.vocabulary, tmp_path / "whole")
    assert sample.tokens == pytest.approx(whole.tokens, rel=0.1)
    assert sample.documents == pytest.approx(whole.documents, rel=0.1)
    assert sample.store_bytes == pytest.approx(2 * whole.tokens + 8 * whole.documents, rel=0.15)
    assert sample.seconds > 0
    assert not (tmp_path / "cache").exists()


def texts(sources: list[str]) -> list[str]:
    return [text for source in sources for text in Path(source).read_text(encoding="utf-8").split("\n\n")]


def test_tokens_that_are_there_are_taken(data: TrainingData, tmp_path: Path) -> None:
    cache, scratch = tmp_path / "cache", tmp_path / "scratch"
    scratch.mkdir()
    sources = corpus(tmp_path, files=1, documents=40)

    def sampled(vocabulary: Vocabulary, share: float = 0.0) -> corpus_sample.CorpusSample:
        return sample_corpus(
            sources, vocabulary, cache, scratch, share=share, read=ReadSettings(), listen=lambda event: None
        )

    made = cached_store(sources, data.vocabulary, cache)
    kept = sampled(data.vocabulary)
    assert kept.store.path == made.path
    assert (kept.whole, kept.tokens, kept.seconds, kept.store_bytes) == (True, made.tokens, 0.0, 0)
    assert sampled(data.vocabulary, share=0.25).store.path.parent == scratch
    train, valid = cached_parts(sources, data.vocabulary, cache, share=0.25)
    split = sampled(data.vocabulary, share=0.25)
    assert (split.store.path, split.held_out and split.held_out.path) == (train.path, valid.path)


def test_mixtures_and_held_out_text(data: TrainingData, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    one, other, held_out = corpus(tmp_path, files=3, documents=20)

    def planned_from(sources: list[str], valid: list[str], **values: object) -> PlannedData:
        return planned_data(
            sources, valid, data.vocabulary, DataSettings.model_validate(values), cache=tmp_path / "cache",
            scratch=scratch, read=ReadSettings(),
        )  # fmt: skip

    mixed = planned_from([f"a={one}", f"b={other}"], [held_out], weights={"a": 3, "b": 1})
    assert mixed.shares == {"a": 0.75, "b": 0.25}
    assert set(mixed.corpora) == {"a", "b"}
    assert mixed.exact
    assert mixed.data.valid is not None
    found = plan(settings(), mixed, tmp_path / "run")
    assert found.epochs["a"] == pytest.approx(3 * found.epochs["b"], rel=0.05)
    alone = planned_from([one], [], valid_share=0.5)
    assert alone.data.valid is not None
    assert alone.corpora[""] == pytest.approx(mixed.corpora["a"] / 2, abs=2)
    with pytest.raises(UsageError, match="standard input"):
        planned_from(["-"], [])


def test_every_objective_can_be_planned(data: TrainingData, tmp_path: Path) -> None:
    encoder = {"causal": False, "attention": "lsh"}
    for name in ("mlm", "rtd"):
        found = plan(run_settings(name, merge(VALUES, {"model": encoder})), planned(data), tmp_path)
        assert found.pace is not None
        assert found.fit.memory.weights == 4 * sum(found.parameters.values())


def test_the_peak_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert memory.free_bytes(torch.device("cuda")) == 123
