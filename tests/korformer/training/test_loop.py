import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.config import merge
from korformer.data.store import build_store
from korformer.errors import DivergedError, InterruptedRun, ResourceError, UsageError
from korformer.events import Event, Listener, Notice, Sample, Saved, Step, Validation, ignore
from korformer.model.directory import load_model
from korformer.objectives import BatchLoss
from korformer.objectives.ar import ArLearner
from korformer.storage import lock_directory, verify_manifest
from korformer.storage.tensors import load_tensors
from korformer.training import engine
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.run_directory import read_saved_step
from korformer.training.settings import RunSettings, run_settings

VALUES: dict[str, Any] = {
    "model": {"dim": 32, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_local_attn_heads": 1},
    "training": {
        "steps": 8, "batch_size": 2, "accumulate": 2, "warmup_steps": 2, "save_every": 3, "eval_every": 4,
        "sample_every": 4, "sample_tokens": 6, "threads": 1, "eval_tokens": 200,
    },
}  # fmt: skip


def settings(**training: object) -> RunSettings:
    return run_settings("ar", merge(VALUES, {"training": training}))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path / "model.safetensors")[0]


def losses(path: Path) -> list[tuple[int, float, float]]:
    lines = read_metrics(path / "metrics.jsonl")
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if line["event"] == "step"]


def test_a_run_learns_and_leaves_a_model_directory(data: TrainingData, tmp_path: Path) -> None:
    heard: list[Event] = []
    path = pretrain(settings(steps=60, learning_rate=0.01), data, tmp_path / "run", listen=heard.append)
    steps = [event for event in heard if isinstance(event, Step)]
    assert [event.step for event in steps] == list(range(1, 61))
    assert steps[-1].average_loss < 0.8 * steps[0].loss
    validations = [event for event in heard if isinstance(event, Validation)]
    assert validations[-1].metrics["bits_per_character"] < validations[0].metrics["bits_per_character"]
    assert any(isinstance(event, Sample) and event.text for event in heard)
    assert isinstance(heard[-1], Saved)
    verify_manifest(path)
    loaded = load_model(path)
    assert loaded.config_json["objective"] == "ar"
    assert loaded.vocabulary.fingerprint == data.vocabulary.fingerprint
    saved = weights(path)
    for name, parameter in loaded.model.lm.named_parameters():
        assert torch.equal(parameter, saved[name])
    card = (path / "README.md").read_text(encoding="utf-8")
    assert "짧은 글.txt" in card
    assert f"{validations[-1].metrics['bits_per_character']:.4f}" in card


@pytest.mark.parametrize("stops", [[1], [3], [4], [7], [2, 5, 6]])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    data: TrainingData, tmp_path: Path, stops: list[int]
) -> None:
    whole = pretrain(settings(), data, tmp_path / "whole")
    parts = tmp_path / "parts"
    for stop in stops:

        def interrupt(event: Event, stop: int = stop) -> None:
            if isinstance(event, Step) and event.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedRun, match=f"after step {stop}") as caught:
            pretrain(settings(), data, parts, listen=interrupt)
        assert caught.value.exit_code == 130
    heard: list[Event] = []
    pretrain(settings(), data, parts, listen=heard.append)
    assert any(isinstance(event, Notice) and f"after step {stops[-1]}" in event.text for event in heard)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(parts)[name]), name
    assert losses(parts) == losses(whole)


def test_a_killed_run_goes_on_from_its_last_save(data: TrainingData, tmp_path: Path) -> None:
    """Killed at step 5, it repeats steps 4 and 5 after the save of step 3, to the same bits."""

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, Step) and event.step == 5:
            raise Killed

    whole, run = pretrain(settings(), data, tmp_path / "whole"), tmp_path / "run"
    with pytest.raises(Killed):
        pretrain(settings(), data, run, listen=kill)
    heard: list[Event] = []
    pretrain(settings(), data, run, listen=heard.append)
    assert next(event.step for event in heard if isinstance(event, Step)) == 4
    assert losses(run) == losses(whole)
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(whole).items())


def test_a_finished_run_can_be_lengthened(data: TrainingData, tmp_path: Path) -> None:
    constant = {"schedule": "constant"}
    pretrain(settings(steps=4, **constant), data, tmp_path / "run")
    heard: list[Event] = []
    pretrain(settings(steps=4, **constant), data, tmp_path / "run", listen=heard.append)
    assert not any(isinstance(event, Step) for event in heard)
    assert any(isinstance(event, Notice) and "all 4 steps are done" in event.text for event in heard)
    pretrain(settings(steps=6, **constant), data, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(pretrain(settings(steps=6, **constant), data, tmp_path / "whole"))


def test_the_norm_of_the_gradient_is_limited(data: TrainingData, tmp_path: Path) -> None:
    """Seen in the first moments: after one step they are the clipped gradient times 1 - beta1."""
    norms = {}
    for clip in (0.0, 0.25):
        run = pretrain(settings(steps=1, clip=clip, beta1=0.9), data, tmp_path / str(clip))
        moments = [tensor for name, tensor in read_saved_step(run).optimizer.items() if name.startswith("exp_avg.")]
        norms[clip] = float(torch.cat([moment.flatten() for moment in moments]).norm()) / 0.1
    assert losses(tmp_path / "0.0")[0][2] == pytest.approx(norms[0.0], rel=1e-5)
    assert norms[0.0] > 0.25
    assert norms[0.25] == pytest.approx(0.25, rel=1e-4)


def test_the_micro_batch_changes_rounding_only(data: TrainingData, tmp_path: Path) -> None:
    one = pretrain(settings(batch_size=4, accumulate=1), data, tmp_path / "one")
    two = pretrain(settings(batch_size=1, accumulate=4), data, tmp_path / "two")
    for (_, loss, norm), (_, other_loss, other_norm) in zip(losses(one), losses(two), strict=True):
        assert loss == pytest.approx(other_loss, abs=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def test_what_is_not_the_same_run_is_refused(data: TrainingData, tmp_path: Path) -> None:
    run = pretrain(settings(steps=2), data, tmp_path / "run")
    before = weights(run)
    with pytest.raises(UsageError, match="holds a run already"):
        pretrain(settings(steps=4), data, run, resume=False)
    with pytest.raises(UsageError, match=r"training.weight_decay was 0.1, now 0.5"):
        pretrain(settings(steps=4, weight_decay=0.5), data, run)
    other = build_store(["다른 글이다.", "또 다른 글이다."] * 20, data.vocabulary, tmp_path / "other")
    with pytest.raises(UsageError, match="had another corpus"):
        pretrain(settings(steps=4), replace(data, store=other), run)
    with lock_directory(run), pytest.raises(UsageError, match=str(os.getpid())):
        pretrain(settings(steps=4), data, run)
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in before.items())


def test_reversible_layers_with_dropout_resume_exactly_and_lose_the_same(data: TrainingData, tmp_path: Path) -> None:
    drops = {"model": {"ff_dropout": 0.1, "post_attn_dropout": 0.1, "layer_dropout": 0.2}}

    def run(name: str, reversible: str, listen: Listener = ignore) -> Path:
        changes = {"training": {"reversible": reversible}, **drops}
        return pretrain(run_settings("ar", merge(VALUES, changes)), data, tmp_path / name, listen=listen)

    def interrupt(event: Event) -> None:
        if isinstance(event, Step) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    ordinary, whole = run("ordinary", "never"), run("whole", "always")
    with pytest.raises(InterruptedRun):
        run("parts", "always", interrupt)
    assert losses(run("parts", "always")) == losses(whole)
    for one, other in zip(losses(ordinary), losses(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_a_run_goes_on_with_the_layers_it_began_with(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits into memory changes from day to day; the arithmetic of a run does not."""
    real = engine.fit_of
    monkeypatch.setattr(
        engine, "fit_of", lambda *given: replace(real(*given), reversible=True, micro_batch=1, passes=4)
    )
    pretrain(settings(steps=4), data, tmp_path / "run")
    monkeypatch.setattr(engine, "fit_of", real)
    heard: list[Event] = []
    pretrain(settings(), data, tmp_path / "run", listen=heard.append)
    assert not [event for event in heard if isinstance(event, Notice) and event.level == "warning"]
    pretrain(settings(steps=10, reversible="never"), data, tmp_path / "run", listen=heard.append)
    warnings = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert "reversible layers changed" in warnings[0]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_divergence_overwrites_nothing(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    run = pretrain(settings(steps=3), data, tmp_path / "run")
    before = weights(run)
    real = ArLearner.loss

    def poisoned(self: ArLearner, *args: Any, **options: Any) -> BatchLoss:
        term = real(self, *args, **options).terms["tokens"]
        return BatchLoss(terms={"tokens": replace(term, mean=term.mean * poison)})

    monkeypatch.setattr(ArLearner, "loss", poisoned)
    with pytest.raises(DivergedError, match="diverged at step 4") as caught:
        pretrain(settings(steps=6), data, run)
    assert caught.value.exit_code == 5
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in before.items())


def test_running_out_of_memory_gives_advice(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(self: ArLearner, *args: object, **options: object) -> BatchLoss:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(ArLearner, "loss", exhausted)
    with pytest.raises(ResourceError, match=r"out of memory .* training.micro_batch=1 \(now 2\)"):
        pretrain(settings(), data, tmp_path / "run")


def test_a_signal_during_validation_is_heard(data: TrainingData, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if type(event).__name__ == "Progress" and getattr(event, "stage", "") == "validating":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun, match="after step 4, saved") as caught:
        pretrain(settings(), data, tmp_path / "run", listen=interrupt)
    assert caught.value.exit_code == 143


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engine.choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="no CUDA device"):
        engine.choose_device("cuda")


def test_a_run_that_diverged_goes_on_more_slowly(data: TrainingData, tmp_path: Path) -> None:
    run = pretrain(settings(steps=2), data, tmp_path / "run")
    heard: list[Event] = []
    pretrain(settings(steps=4, learning_rate=1e-5), data, run, listen=heard.append)
    texts = [event.text for event in heard if isinstance(event, Notice)]
    assert "the run goes on otherwise: training.learning_rate was 0.001, now 1e-05" in texts
    assert [event.step for event in heard if isinstance(event, Step)] == [3, 4]


def test_the_end_of_a_trapezoid_is_chosen_on_the_way(data: TrainingData, tmp_path: Path) -> None:
    def rates(run: Path, **training: Any) -> list[float]:
        heard: list[Event] = []
        chosen = {"schedule": "trapezoid", "warmup_steps": 1, **training}
        pretrain(settings(**chosen), data, run, listen=heard.append)
        return [event.learning_rate for event in heard if isinstance(event, Step)]

    whole = rates(tmp_path / "whole", steps=6, fall_share=0.5)
    assert whole[2] > whole[3]
    first = rates(tmp_path / "parts", steps=3, schedule="constant")
    assert first + rates(tmp_path / "parts", steps=6, fall_share=0.5) == whole


def test_another_held_out_text_is_told(data: TrainingData, tmp_path: Path) -> None:
    run = pretrain(settings(steps=2), data, tmp_path / "run")
    other = build_store(["다른 글이다.", "또 다른 글이다."], data.vocabulary, tmp_path / "other")
    for valid, told in ((data.valid, False), (other, True)):
        heard: list[Event] = []
        pretrain(settings(steps=3), replace(data, valid=valid), run, listen=heard.append)
        texts = [event.text for event in heard if isinstance(event, Notice)]
        assert any("held-out text is another one" in text for text in texts) is told


def test_another_model_in_the_folder_stays(data: TrainingData, tmp_path: Path) -> None:
    run = pretrain(settings(steps=1), data, tmp_path / "run")
    (run / "run.toml").unlink()
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"holds no run, but config\.json"):
        pretrain(settings(steps=1), data, run)
    assert (run / "model.safetensors").read_bytes() == before
