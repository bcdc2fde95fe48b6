"""The Triton kernels against the definition (in Triton's interpreter), and that they compile for GPUs."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton has no wheel for this platform", allow_module_level=True)

HERE = Path(__file__).parent


def answer(script: str, cache: Path, **environment: str) -> Any:
    """What a script prints, run by itself: Triton must not be imported here with the interpreter chosen."""
    done = subprocess.run(
        [sys.executable, HERE / script],
        env={**os.environ, "TRITON_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return answer("triton_cases.py", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.mark.parametrize(
    "case",
    [
        "several documents",
        "window wider than a tile",
        "window of one",
        "shorter than a tile",
        "every token alone",
        "one round",
        "three rounds, padded width",
        "half precision",
        "small indices",
        "in the order of time",
        "causal_lsh of the model",
        "local of the model",
    ],
)
def test_output_and_gradients_equal_the_definition(distances: Any, case: str) -> None:
    of_case = distances[case]
    # A token that sees only itself has a log-sum-exp near SELF_BIAS, where float32 has steps of 6e-5; its own value's
    # gradient inherits that.
    allowed = {"output": 1e-6, "log-sum-exp": 2e-4, "queries": 1e-6, "keys": 2e-6, "values": 4e-4}
    for name, distance in of_case.items():
        assert distance <= (4e-3 if case == "half precision" else allowed[name]), name


def test_every_case_is_looked_at(distances: Any) -> None:
    marks = test_output_and_gradients_equal_the_definition.pytestmark  # type: ignore[attr-defined]
    assert list(distances) == marks[0].args[1]


def test_kernels_compile_to_matrix_instructions(tmp_path: Path) -> None:
    found = answer("triton_compiles.py", tmp_path, TRITON_INTERPRET="0")
    assert found.pop("correction_kernel 8.0") == found.pop("correction_kernel 9.0") == []
    assert len(found) == 6
    for kernel, instructions in found.items():
        assert instructions, kernel


def test_what_the_kernels_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    from korformer.model.attention.triton_banded import supports

    assert supports(torch.zeros(1, 1, 4, 64, dtype=torch.bfloat16))
    assert not supports(torch.zeros(1, 1, 4, 64, dtype=torch.float64))
    assert not supports(torch.zeros(1, 1, 4, 256))


@pytest.mark.parametrize(("capability", "taken"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_older_cards_are_left_to_torch(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], taken: bool
) -> None:
    from types import SimpleNamespace

    from korformer.model.attention.triton_banded import supports

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    on_a_card: Any = SimpleNamespace(dtype=torch.float16, shape=(1, 1, 4, 64), device=torch.device("cuda", 0))
    assert supports(on_a_card) is taken
