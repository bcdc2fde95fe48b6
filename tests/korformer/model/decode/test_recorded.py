"""The step that a CUDA graph holds, recorded and replayed without one: the operations of one call, done again in their
order on the same tensors, with every number and every shape as it was. That is what a graph does, so a step that hangs
on a value at the host, or takes memory that is replaced later, gives something else here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_variants import CHUNKED, VARIANTS, VOCABULARY, make
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from korformer.model import graphs
from korformer.model.decode import DecodeState
from korformer.model.decode import state as state_module
from korformer.model.decode import store as store_module

DECODERS = {**VARIANTS, **CHUNKED}
IDS = torch.randint(5, VOCABULARY, (250,), generator=torch.Generator().manual_seed(0)).tolist()


class Tape(TorchDispatchMode):
    """Keeps every operation that is done while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert operation is not torch.ops.aten._local_scalar_dense.default, "a value is asked for at the host"
        result = operation(*args, **(kwargs or {}))
        self.done.append((operation, args, kwargs or {}, result))
        return result

    def replay(self, output: Tensor) -> Tensor:
        """Do everything again; what `output` has become."""
        now: dict[int, Tensor] = {}

        def current(x: Any) -> Any:
            return now.get(id(x), x) if isinstance(x, Tensor) else x

        for operation, args, kwargs, result in self.done:
            again = operation(*tree_map(current, args), **tree_map(current, kwargs))
            before, after = (x if isinstance(x, list | tuple) else [x] for x in (result, again))
            for old, new in zip(before, after, strict=True):
                if isinstance(old, Tensor):
                    now[id(old)] = new
        return current(output)


class TapedStep(graphs.RecordedStep):
    """A recorded step whose graph is a tape."""

    replays = 0

    def __call__(self, **values: Tensor | int) -> Tensor:
        for name, value in values.items():
            self._inputs[name].fill_(value)
        if self._output is None:
            assert self._reset is not None
            self._function(**self._inputs)  # a warm-up call
            self._reset()
            self._tape = Tape()
            with self._tape:
                self._output = self._function(**self._inputs)
            return self._output
        TapedStep.replays += 1
        return self._tape.replay(self._output)


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> None:
    """States record on this device."""
    monkeypatch.setattr(state_module, "RECORDED_ON", {"cpu"})
    monkeypatch.setattr("korformer.model.decode.recorded.RecordedStep", TapedStep)
    monkeypatch.setattr(store_module, "_uninitialised", lambda shape, like: like.new_zeros(shape))
    TapedStep.replays = 0


PLAIN: dict[str, Tensor] = {}


def plain_logits(variant: str) -> Tensor:
    """What the ordinary step says after each of IDS."""
    if variant not in PLAIN:
        state = make(variant).new_state()
        state._recorded = None
        PLAIN[variant] = torch.stack([state.append([token]) for token in IDS])
    return PLAIN[variant]


def test_a_value_at_the_host_is_noticed() -> None:
    with pytest.raises(AssertionError, match="at the host"), Tape():
        torch.ones(1).item()


def test_a_tape_computes_with_new_values() -> None:
    x, tape = torch.zeros(1), Tape()
    with tape:
        y = x + 1
    x.fill_(3)
    assert tape.replay(y).item() == 4


@pytest.mark.parametrize("variant", DECODERS)
@pytest.mark.parametrize("first", [0, 1, 90])
def test_a_replayed_step_is_the_step(variant: str, first: int, taped: None) -> None:
    expected = plain_logits(variant)[first:130]
    state = make(variant).new_state()
    if first:
        state.append(IDS[:first])
    found = torch.stack([state.append([token]) for token in IDS[first:130]])
    assert TapedStep.replays >= 129 - first - 1
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["mixed heads, axial", "lsh, local heads, rotary", "layers differ"])
def test_a_recording_survives_what_one_does_with_a_text(variant: str, taped: None) -> None:
    """Going back, reading on in parallel, watching, forking, and growing out of the memory there was."""
    expected = plain_logits(variant)

    def close(logits: Tensor, at: int) -> bool:
        return torch.allclose(logits, expected[at], atol=1e-5, rtol=1e-5)

    state = make(variant).new_state()
    assert all(close(state.append([IDS[at]]), at) for at in range(30))
    state.rewind(20)
    assert all(close(state.append([IDS[at]]), at) for at in range(20, 25))
    assert close(state.append(IDS[25:90]), 89)
    state.watch = True
    assert close(state.append([IDS[90]]), 90)
    assert state.attention(1).shape == (4, 91)
    state.watch = False
    assert close(state.append([IDS[91]]), 91)
    other = state.fork()
    for at in range(92, 96):
        assert close(state.append([IDS[at]]), at)
        assert close(other.append([IDS[at]]), at)
    twin = DecodeState.restore(state._model, state.snapshot())
    del other
    before = TapedStep.replays
    assert all(close(state.append([IDS[at]]), at) and close(twin.append([IDS[at]]), at) for at in range(96, 110))
    assert TapedStep.replays > before


def test_another_memory_is_recorded_anew(taped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_ROWS", 16)
    monkeypatch.setattr("korformer.model.decode.pages.FIRST_TOKENS", 16)
    expected = plain_logits("mixed heads, axial")
    state = make("mixed heads, axial").new_state()
    found = torch.stack([state.append([token]) for token in IDS[:100]])
    assert torch.allclose(found, expected[:100], atol=1e-5, rtol=1e-5)
    assert 90 < TapedStep.replays < 99
