"""A run that is stopped anywhere and goes on ends as one that was not stopped: weights, figures, results."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.errors import DivergedError, InterruptedRun, UsageError
from korformer.events import Event, Progress, Step, Validation, ignore
from korformer.finetuning import runs
from korformer.finetuning.results import Outcome
from korformer.finetuning.runs import finetune
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.directory import load_model
from korformer.storage.tensors import load_tensors
from korformer.supervised.task import task_of
from korformer.text.vocabulary import Vocabulary
from korformer.training.history import History
from korformer.training.interrupt import StopRequest
from korformer.training.metrics import read_metrics

Files = dict[str, list[str]]
Settled = Callable[..., FinetuneSettings]
DECODER = {"causal": True, "attention": "causal_lsh"}


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> StopRequest:
    """What a signal would ask, without one."""
    request = StopRequest()

    class Standing:
        def __enter__(self) -> StopRequest:
            return request

        def __exit__(self, *_: object) -> None:
            request.signal_number = None

    monkeypatch.setattr(runs, "stop_on_signal", Standing)
    return request


def run(settings: FinetuneSettings, vocabulary: Vocabulary, files: Files, path: Path, **how: Any) -> Outcome:
    kind = "txt" if settings.task == "lm" else "tsv"
    results = finetune(
        settings, vocabulary, None, path, train=files[f"train.{kind}"], valid=files[f"valid.{kind}"],
        cache=path.parent / "cache", **how,
    )  # fmt: skip
    return results.best


def saved(path: Path) -> dict[str, torch.Tensor]:
    (newest,) = (path / "steps").iterdir()
    optimizer = load_tensors(newest / "optimizer.safetensors")[0]
    return load_tensors(newest / "model.safetensors")[0] | {f"optimizer.{k}": v for k, v in optimizer.items()}


def lines(path: Path) -> list[dict[str, Any]]:
    kept = [line for line in read_metrics(path / "metrics.jsonl") if line["event"] in ("step", "validation")]
    for line in kept:
        for timed in ("time", "tokens_per_second", "seconds_left", "memory_bytes"):
            line.pop(timed, None)
    return kept


@pytest.mark.parametrize("at", [1, 5, 7, "validation"])
@pytest.mark.parametrize(
    ("task", "sections"),
    [
        ("classify", {"model": {"ff_dropout": 0.1}}),
        ("classify", {"model": {"attention": "lsh", "n_hashes": 1}, "training": {"lm_weight": 0.5}}),
        ("lm", {"model": DECODER, "data": {"max_tokens": 16}, "training": {"batch_tokens": 64}}),
    ],
    ids=["dropout", "hashing and masks", "lm"],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    settled: Settled,
    vocabulary: Vocabulary,
    files: Files,
    tmp_path: Path,
    stop: StopRequest,
    task: str,
    sections: dict[str, Any],
    at: int | str,
) -> None:
    settings = settled(task, **sections)
    whole = run(settings, vocabulary, files, tmp_path / "whole")
    validations = 0

    def interrupt(event: Event) -> None:
        nonlocal validations
        if isinstance(event, Step) and event.step == at:
            stop.signal_number = signal.SIGINT
        if isinstance(event, Progress) and event.stage == "validating" and event.done == event.total:
            validations += 1
            if at == "validation" and validations == 2:
                stop.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRun, match="saved") as stopped:
        run(settings, vocabulary, files, tmp_path / "halved", listen=interrupt)
    assert stopped.value.exit_code == 130
    assert Outcome.read(tmp_path / "halved") is None
    halved = run(settings, vocabulary, files, tmp_path / "halved")
    assert (halved.step, halved.best_step, halved.tokens) == (whole.step, whole.best_step, whole.tokens)
    assert dict(halved.metrics) == dict(whole.metrics)
    one, other = saved(tmp_path / "whole"), saved(tmp_path / "halved")
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert lines(tmp_path / "whole") == lines(tmp_path / "halved")
    published = [load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "halved")]
    assert all(torch.equal(published[0][name], published[1][name]) for name in published[0])


def test_it_learns_and_keeps_the_best_checkpoint(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    heard: list[Event] = []
    outcome = run(settled(training={"epochs": 12}), vocabulary, files, tmp_path / "run", listen=heard.append)
    figures = [event for event in heard if isinstance(event, Validation)]
    assert len(figures) == 12
    best = max(event.metrics["accuracy"] for event in figures)
    first = next(event for event in figures if event.metrics["accuracy"] == best)
    assert best > 0.9
    assert (outcome.best_step, dict(outcome.metrics)) == (first.step, dict(first.metrics))
    loaded = load_model(tmp_path / "run")
    described = task_of(loaded)
    assert described is not None
    assert (described.name, described.facts) == ("classify", {"labels": ["0", "1"]})
    history = History(tmp_path / "run" / "metrics.jsonl")
    history.refresh()
    assert history.headline is not None
    assert (history.headline.name, history.headline.best) == ("accuracy", (outcome.best_step, best))
    assert "accuracy" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


def test_steps_tokens_and_patience_end_a_run(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    assert run(settled(training={"steps": 3}), vocabulary, files, tmp_path / "steps").step == 3
    budget = run(settled(training={"budget_tokens": 100}), vocabulary, files, tmp_path / "budget")
    assert budget.step == budget.steps < 15
    assert budget.tokens >= 100
    still = {"learning_rate": 1e-12, "patience": 2, "epochs": 9}
    patient = run(settled(training=still), vocabulary, files, tmp_path / "patient")
    assert (patient.best_step, patient.step, patient.steps) == (5, 15, 45)


def test_a_step_is_cut_by_tokens_too_and_passes_change_rounding_only(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    short = run(settled(training={"batch_tokens": 40}), vocabulary, files, tmp_path / "short")
    assert short.steps > 15
    one = run(settled(), vocabulary, files, tmp_path / "one")
    other = run(settled(training={"pass_tokens": 24}), vocabulary, files, tmp_path / "other")
    assert one.tokens == other.tokens
    a, b = saved(tmp_path / "one"), saved(tmp_path / "other")
    for name in a:
        if not name.startswith("optimizer."):
            torch.testing.assert_close(a[name], b[name], rtol=1e-2, atol=2e-3)


def test_layers_computed_twice_change_rounding_only_and_bf16_learns_too(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    losses = {}
    for name, training in (
        ("kept", {"reversible": "never"}),
        ("twice", {"reversible": "always"}),
        ("bf16", {"precision": "bf16"}),
    ):
        run(settled(training={"steps": 4, "lm_weight": 0.5, **training}), vocabulary, files, tmp_path / name)
        losses[name] = [line["loss"] for line in lines(tmp_path / name) if line["event"] == "step"]
    assert losses["twice"] == pytest.approx(losses["kept"], rel=1e-3)
    assert losses["bf16"] == pytest.approx(losses["kept"], rel=5e-2)
    assert losses["bf16"] != losses["kept"]


def test_a_frozen_encoder_stays_as_it_is(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    settings = settled(training={"frozen": True, "layer_mix": True, "epochs": 1})
    run(settings, vocabulary, files, tmp_path / "frozen")
    run(settled(training={"epochs": 1, "learning_rate": 1e-12}), vocabulary, files, tmp_path / "still")
    frozen, still = saved(tmp_path / "frozen"), saved(tmp_path / "still")
    body = [name for name in frozen if not name.startswith(("heads.", "optimizer."))]
    assert all(torch.allclose(frozen[name], still[name], atol=1e-9) for name in body)
    moved = {name.removeprefix("optimizer.step.") for name in frozen if name.startswith("optimizer.step.")}
    assert {"heads.layer_mix.weights", "heads.classify.out.weight"} <= moved
    assert all(name.startswith("heads.") for name in moved)


def test_a_folder_of_another_run_is_refused_with_the_difference(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    run(settled(training={"steps": 1}), vocabulary, files, tmp_path / "run")
    with pytest.raises(UsageError, match=r"training.learning_rate was 0.01, now 0.02"):
        run(settled(training={"steps": 1, "learning_rate": 0.02}), vocabulary, files, tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already"):
        run(settled(training={"steps": 1}), vocabulary, files, tmp_path / "run", resume=False)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    run(settled(training={"steps": 1}), vocabulary, files, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("other", ["train", "valid"])
def test_other_data_are_refused(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path, stop: StopRequest, other: str
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Step):
            stop.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRun):
        run(settled(), vocabulary, files, tmp_path / "run", listen=interrupt)
    copied = tmp_path / f"{other}.tsv"  # under another name they are the same
    copied.write_bytes(Path(files[f"{other}.tsv"][0]).read_bytes())
    changed = {**files, f"{other}.tsv": [str(copied)]}
    text = copied.read_text(encoding="utf-8")
    for state in ("unfinished", "finished"):
        copied.write_text(text.replace("\t1\n", "\t0\n", 1), encoding="utf-8")
        with pytest.raises(UsageError, match="another set of training and validation data"):
            run(settled(), vocabulary, changed, tmp_path / "run", listen=ignore)
        copied.write_text(text, encoding="utf-8")
        outcome = run(settled(), vocabulary, changed, tmp_path / "run", listen=ignore)
        assert outcome.step == 15, state


def test_a_run_that_diverges_is_told_and_keeps_what_was_saved(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from korformer.finetuning.loop import FineTuner

    ordinary = FineTuner._train_step

    def poisoned(self: FineTuner) -> None:
        if self.step == 6:
            with torch.no_grad():
                self.course.model.lm.norm.weight.fill_(float("nan"))
        ordinary(self)

    monkeypatch.setattr(FineTuner, "_train_step", poisoned)
    with pytest.raises(DivergedError, match="step 7"):
        run(settled(), vocabulary, files, tmp_path / "run")
    assert all(
        torch.isfinite(tensor).all() for tensor in load_tensors(tmp_path / "run" / "model.safetensors")[0].values()
    )
    monkeypatch.undo()
    assert run(settled(), vocabulary, files, tmp_path / "run").step == 15


def test_a_language_model_that_its_text_teaches_nothing_stays_as_it_was(
    settled: Settled, vocabulary: Vocabulary, files: Files, tmp_path: Path
) -> None:
    sections = {"model": DECODER, "data": {"max_tokens": 16}}
    harmful = {"batch_tokens": 64, "learning_rate": 5.0, "clip": 0.0, "patience": 1, "warmup_share": 0.0}
    outcome = run(settled("lm", **sections, training=harmful), vocabulary, files, tmp_path / "run")
    assert (outcome.headline, outcome.best_step) == ("bits_per_character", 0)
    assert outcome.step < outcome.steps
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert "task" not in config
    assert config["objective"] == "ar"
