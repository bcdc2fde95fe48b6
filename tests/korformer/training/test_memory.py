import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.model.config import ModelConfig
from korformer.training import memory

CPU = torch.device("cpu")
SAVED = """
import sys, torch
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.training.memory import activation_bytes
config = ModelConfig(dim=128, depth=int(sys.argv[1]), heads=2, max_seq_len=4096)
model = ReformerModel(config, 100)
model.initialise(0)
kept = 0
def pack(x):
    global kept
    if x.untyped_storage().data_ptr() not in seen:
        seen.add(x.untyped_storage().data_ptr())
        kept += x.untyped_storage().nbytes()
    alive.append(x)
    return x
seen, alive = {p.untyped_storage().data_ptr() for p in model.parameters()}, []
with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
    hidden = model(torch.randint(5, 100, (1, 4096)), draw=TrainingDraw(seed=0, step=1, samples=range(1)))
print(kept, activation_bytes(config, 4096))
"""


def test_the_formula_is_what_autograd_keeps() -> None:
    kept, told = {}, {}
    for depth in (1, 3):
        run = subprocess.run([sys.executable, "-c", SAVED, str(depth)], capture_output=True, text=True, check=True)
        kept[depth], told[depth] = map(int, run.stdout.split())
    a_layer = (kept[3] - kept[1]) / 2
    assert 0.85 < (told[3] - told[1]) / 2 / a_layer < 1.15


def fitted(**changes: Any) -> memory.Fit:
    given: dict[str, Any] = {
        "parameters": 10**6, "kept": 2 * 10**6, "vocabulary_size": 1000, "sequences": 12, "pack_tokens": 1024,
        "largest": 6, "exactly": False, "reversible": "auto", "narrow": False, "device": CPU,
    }  # fmt: skip
    return memory.fit([ModelConfig(max_seq_len=1024, depth=24)], **{**given, **changes})


def needed(reversible: bool, sequences: int) -> int:
    """Free memory with which just so many sequences fit."""
    told = memory.step_memory(
        [ModelConfig(max_seq_len=1024, depth=24)],
        parameters=10**6,
        kept=2 * 10**6,
        vocabulary_size=1000,
        tokens=sequences * 1024,
        passes=12 // sequences,
        reversible=reversible,
        narrow=False,
        device=CPU,
    )
    return int((told.gradients + told.optimizer + told.activations) / memory.SHARE_OF_FREE) + 1


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [
        (2**60, "auto", (6, 2, False)),
        (needed(False, 4), "auto", (4, 3, False)),
        (needed(False, 1), "auto", (1, 12, False)),
        (needed(False, 1) // 2, "auto", (6, 2, True)),
        (needed(True, 3), "auto", (3, 4, True)),
        (needed(False, 6), "always", (6, 2, True)),
        (needed(False, 2), "never", (2, 6, False)),
    ],
)
def test_the_largest_pass_that_fits_and_layers_twice_only_where_they_must(
    free: int, wanted: str, expected: tuple[int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    found = fitted(reversible=wanted)
    assert (found.micro_batch, found.passes, found.reversible) == expected
    assert found.fits


def test_what_does_not_fit_is_told_with_the_smallest_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6)
    found = fitted()
    assert (found.micro_batch, found.reversible, found.fits) == (1, True, False)


def test_a_pass_that_is_asked_for_is_taken_and_processes_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed(False, 2))
    assert fitted(largest=12, exactly=True, reversible="never").micro_batch == 12
    assert fitted(largest=5, exactly=True).micro_batch == 4
    assert fitted(processes=2, reversible="never").micro_batch < fitted(reversible="never").micro_batch


def test_memory_follows_the_shape() -> None:
    def told(**changes: Any) -> memory.StepMemory:
        given: dict[str, Any] = {
            "parameters": 10**7, "kept": 2 * 10**7, "vocabulary_size": 8000, "tokens": 8192, "passes": 1,
            "reversible": False, "narrow": False, "device": CPU,
        }  # fmt: skip
        return memory.step_memory([ModelConfig(depth=12)], **{**given, **changes})

    assert told().weights == told().gradients == 4 * 10**7
    assert told().peak == sum(told().parts().values())
    assert told(narrow=True).activations < told().activations
    assert told(reversible=True).activations < told().activations / 2
    assert told(passes=2).peak > told().peak
    assert told(device=torch.device("cuda")).process == 0


def test_a_limit_of_the_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(memory, "_CGROUPS", ((str(limit), str(used)),))
    limit.write_text("max\n")
    used.write_text("100\n")
    unlimited = memory.free_bytes(CPU)
    limit.write_text("1100\n")
    assert memory.free_bytes(CPU) == 1000 < unlimited


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 2**26 < memory.free_bytes(CPU) < 2**50
