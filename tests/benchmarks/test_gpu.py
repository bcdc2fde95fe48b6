"""The GPU benchmarks where there is no GPU: they refuse, and what they compare is the same thing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from korformer.model.attention import causal_lsh

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("script", ["gpu_attention.py", "gpu_decode.py", "gpu_training.py"])
def test_without_a_gpu_nothing_is_measured_or_written(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, "--output", tmp_path / "figures.json"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no CUDA GPU is available" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> object:
    """Imports a script of benchmarks/, which is a folder of scripts and not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [16, 150])
def test_flex_attention_computes_the_same(load: object, window: int) -> None:
    benchmark: ModuleType = load("gpu_attention")  # type: ignore[operator]
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 512, 16) for _ in range(3))
    documents = (torch.arange(512) >= 200).long()[None]
    buckets = torch.randint(0, 6, (1, 2, 2, 512))
    with torch.no_grad():
        found = benchmark.flex_attention_lsh(buckets, documents, 6, window=window, compiled=False)(q, k, v)
        chunk = 16 if window == 16 else 256
        expected = causal_lsh.causal_lsh(q, k, v, buckets, documents, n_buckets=6, chunk=chunk, window=window)
    assert torch.allclose(found, expected, atol=1e-4)


def test_plain_attention_is_put_back(load: object) -> None:
    benchmark: ModuleType = load("gpu_attention")  # type: ignore[operator]
    kernel = causal_lsh.fused_kernel
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 128, 16) for _ in range(3))
    buckets, documents = torch.randint(0, 2, (1, 2, 2, 128)), torch.zeros(1, 128, dtype=torch.long)
    plain = benchmark.plain_attention(buckets, documents, 2)(q, k, v)
    assert causal_lsh.fused_kernel is kernel
    assert torch.allclose(plain, benchmark.triton_attention(buckets, documents, 2)(q, k, v))


def test_arithmetic_of_a_step_follows_the_formula(load: object) -> None:
    benchmark, peers = (load(name) for name in ("gpu_training", "peers"))  # type: ignore[operator]
    shape = peers.Shape(length=256, dim=32, depth=2, heads=2, vocabulary=100, bucket_size=16)
    inner = 2 * (3 * 32 * 32 + 32 * 32 + 8 * 32 * 32)  # query-key-value, output and feed-forward of two layers
    dense = peers.build("dense", shape)
    assert benchmark.matrix_elements(dense.module, shape) == inner + 100 * 32
    # queries and keys are shared, so one matrix fewer
    ours = peers.build("korformer fast", shape)
    assert benchmark.matrix_elements(ours.module, shape) == inner - 2 * 32 * 32 + 100 * 32
    assert benchmark.flops_per_token(1000, shape, "dense") == 3 * (2000 + 4 * 2 * 32 * 128)
    assert benchmark.flops_per_token(1000, shape, "korformer fast") == 3 * (2000 + 4 * 2 * 32 * 32)


def test_a_device_is_known_by_part_of_its_name(load: object) -> None:
    benchmark: ModuleType = load("gpu_training")  # type: ignore[operator]
    assert benchmark.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert benchmark.peak_flops("NVIDIA H200") == 989e12
    assert benchmark.peak_flops("a card of tomorrow") is None
