import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from korformer.config import merge
from korformer.errors import DivergedError, UsageError
from korformer.events import Event, Notice, Step
from korformer.objectives import BatchLoss
from korformer.objectives.ar import ArLearner
from korformer.storage import read_json, write_json, write_manifest, write_text
from korformer.storage.tensors import load_tensors
from korformer.training import engine, precision
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.precision import MixedPrecision, choose_precision, precision_for
from korformer.training.run_directory import read_saved_step
from korformer.training.settings import RunSettings, run_settings

VALUES: dict[str, Any] = {
    "model": {"dim": 32, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_local_attn_heads": 1},
    "training": {
        "batch_size": 2,
        "accumulate": 2,
        "warmup_steps": 2,
        "sample_every": 0,
        "eval_every": 100,
        "threads": 1,
    },
}
HAS_BF16_PRODUCTS = precision.has_bf16_products
"""As it is; for the tests it says no."""
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def settings(**training: object) -> RunSettings:
    return run_settings("ar", merge(VALUES, {"training": training}))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path / "model.safetensors")[0]


def losses(path: Path) -> list[tuple[int, float, float]]:
    lines = read_metrics(path / "metrics.jsonl")
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if line["event"] == "step"]


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the compute capability of the GPU that is pretended to be there."""

    def refuse() -> bool:
        raise AssertionError("is_bf16_supported also says yes where bf16 is emulated")

    def pretend(*value: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: value)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", refuse)

    return pretend


@pytest.mark.parametrize(
    ("value", "chosen"),
    [((6, 1), "fp16"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16")],
)
def test_precision_follows_compute_capability(capability: Any, value: tuple[int, int], chosen: str) -> None:
    capability(*value)
    assert choose_precision("auto", GPU) == chosen
    assert choose_precision("fp32", GPU) == "fp32"
    assert choose_precision("fp16", GPU) == "fp16"


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({}, "fp32"),
    ],
)
def test_a_cpu_trains_in_bfloat16_where_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], chosen: str
) -> None:
    monkeypatch.setattr(precision, "has_bf16_products", HAS_BF16_PRODUCTS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision_for(None) == choose_precision("auto", CPU) == chosen
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


def test_a_torch_that_does_not_know_the_processor_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_products", HAS_BF16_PRODUCTS)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) == "fp32"


def test_what_a_device_lacks_is_refused(capability: Any) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        choose_precision("fp16", CPU)
    capability(7, 5)
    with pytest.raises(UsageError, match=r"compute capability 7.5\) has no bf16"):
        choose_precision("bf16", GPU)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_products_run_in_the_chosen_precision(precision: Any, dtype: torch.dtype | None) -> None:
    arithmetic = MixedPrecision(precision, CPU)
    with arithmetic.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (dtype or torch.float32)
    assert arithmetic.loss_scale == (65536.0 if precision == "fp16" else 1.0)


def test_an_overflow_changes_nothing_but_the_scale() -> None:
    arithmetic, layer = MixedPrecision("fp16", CPU), nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    before = layer.weight.detach().clone()

    def step(factor: float) -> float:
        optimizer.zero_grad()
        arithmetic.scaled(layer(torch.ones(1, 2)).sum() * factor).backward()
        arithmetic.unscale(optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0))
        assert arithmetic.overflowed(norm) == (not math.isfinite(norm))
        arithmetic.step(optimizer)
        return norm

    assert step(1.0) == pytest.approx(math.sqrt(3))  # of the true gradient, not of the scaled one
    after = layer.weight.detach().clone()
    assert not torch.equal(after, before)
    assert not math.isfinite(step(1e38))
    assert torch.equal(layer.weight, after)
    assert arithmetic.loss_scale == 32768.0
    twin = MixedPrecision("fp16", CPU)
    twin.restore(arithmetic.state())
    assert twin.state() == arithmetic.state()
    twin.restore({})
    assert twin.loss_scale == 32768.0


def test_a_gradient_that_overflows_unscaled_is_no_excuse() -> None:
    arithmetic = MixedPrecision("fp16", CPU)
    arithmetic.restore({**arithmetic.state(), "scale": 1.0})
    assert not arithmetic.overflowed(math.inf)
    assert not MixedPrecision("bf16", CPU).overflowed(math.inf)


def test_a_run_in_bf16_learns_and_says_so(data: TrainingData, tmp_path: Path) -> None:
    heard: list[Event] = []
    path = pretrain(
        settings(steps=40, learning_rate=0.01, precision="bf16"), data, tmp_path / "run", listen=heard.append
    )
    steps = [event for event in heard if isinstance(event, Step)]
    assert steps[-1].average_loss < 0.9 * steps[0].loss
    assert read_saved_step(path).loop.environment["precision"] == "bf16"
    assert all(tensor.dtype == torch.float32 for tensor in weights(path).values())


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 with loss scaling on the CPU, which has it, though no one would choose it there."""
    monkeypatch.setattr(engine, "choose_precision", lambda wanted, device: "fp16")


def test_a_resumed_fp16_run_equals_an_uninterrupted_one(half: None, data: TrainingData, tmp_path: Path) -> None:
    constant = {"schedule": "constant"}
    pretrain(settings(steps=3, **constant), data, tmp_path / "parts")
    saved = read_saved_step(tmp_path / "parts").loop.scaler
    assert 0 < saved["_growth_tracker"] <= 3
    parts = pretrain(settings(steps=6, **constant), data, tmp_path / "parts")
    whole = pretrain(settings(steps=6, **constant), data, tmp_path / "whole")
    assert losses(parts) == losses(whole)
    assert all(torch.equal(tensor, weights(parts)[name]) for name, tensor in weights(whole).items())
    assert read_saved_step(parts).loop.scaler == read_saved_step(whole).loop.scaler


def poison(monkeypatch: pytest.MonkeyPatch, factor: float, steps: set[int]) -> None:
    """Multiply the gradient of some steps, not their loss."""
    real = ArLearner.loss

    def poisoned(self: ArLearner, *arguments: Any, **options: Any) -> BatchLoss:
        batch = real(self, *arguments, **options)
        if arguments[-1].step not in steps:
            return batch
        term = batch.terms["tokens"]
        steep = term.mean * factor
        return BatchLoss(terms={"tokens": replace(term, mean=term.mean.detach() + (steep - steep.detach()))})

    monkeypatch.setattr(ArLearner, "loss", poisoned)


def test_an_overflow_skips_the_step_and_is_not_divergence(
    half: None, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 1e34, {2})
    heard: list[Event] = []
    path = pretrain(settings(steps=3), data, tmp_path / "run", listen=heard.append)
    assert [event.step for event in heard if isinstance(event, Step)] == [1, 2, 3]
    notices = [event.text for event in heard if isinstance(event, Notice)]
    last_skip = next(text for text in reversed(notices) if "changed nothing" in text)
    assert last_skip.startswith("step 2 ")
    scale = read_saved_step(path).loop.scaler["scale"]
    assert scale < 65536.0
    assert f"scaled by {scale:g} " in last_skip


def test_a_gradient_that_no_scale_mends_is_divergence(
    half: None, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 1e38, set(range(2, 100)))
    with pytest.raises(DivergedError, match="gradient norm"):
        pretrain(settings(steps=60), data, tmp_path / "run")


def test_a_run_from_before_the_setting_goes_on(data: TrainingData, tmp_path: Path) -> None:
    constant = {"schedule": "constant"}
    run = pretrain(settings(steps=3, **constant), data, tmp_path / "run")
    whole = pretrain(settings(steps=5, **constant), data, tmp_path / "whole")
    _make_old(run)
    heard: list[Event] = []
    pretrain(settings(steps=5, **constant), data, run, listen=heard.append)
    assert not [event for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert losses(run) == losses(whole)


def _make_old(run: Path) -> None:
    """Take the precision out of a run directory, as if written before there was such a setting."""
    kept = [line for line in (run / "run.toml").read_text(encoding="utf-8").splitlines() if "precision =" not in line]
    write_text(run / "run.toml", "\n".join(kept))
    for step in (run / "steps").iterdir():
        state = dict(read_json(step, "loop.json"))
        del state["scaler"]
        state["environment"] = {key: value for key, value in state["environment"].items() if key != "precision"}
        write_json(step / "loop.json", state)
        write_manifest(step)
