import subprocess
import sys

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


@pytest.mark.parametrize(("wanted", "free", "expected"), [
    ("always", 2**60, True), ("never", 0, False), ("auto", 2**60, False), ("auto", 2**20, True),
])  # fmt: skip
def test_layers_are_reversible_as_asked_or_where_they_must_be(
    wanted: memory.Reversible, free: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    assert memory.choose_reversible(wanted, ModelConfig(), 5120, CPU) is expected


def test_free_memory_is_a_number_of_bytes() -> None:
    assert 2**26 < memory.free_bytes(CPU) < 2**50
