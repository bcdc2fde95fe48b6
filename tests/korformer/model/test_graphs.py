"""The recorded step: a plain call without CUDA, and the order of events with it (on a pretended device)."""

from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from korformer.model import graphs
from korformer.model.graphs import WARM_UP_CALLS, RecordedStep


def test_without_cuda_it_is_a_plain_call() -> None:
    inputs = {"x": torch.zeros(3), "at": torch.zeros((), dtype=torch.long)}
    step = RecordedStep(lambda x, at: x * 2 + at, inputs)
    assert torch.equal(step(x=torch.arange(3.0), at=1), torch.tensor([1.0, 3.0, 5.0]))
    assert torch.equal(step(at=2), torch.tensor([2.0, 4.0, 6.0]))
    assert not step.recorded


def test_an_unknown_input_is_refused() -> None:
    with pytest.raises(KeyError):
        RecordedStep(lambda x: x, {"x": torch.zeros(1)})(y=1)


class OnDevice(torch.Tensor):
    """A tensor that says that it lies on a GPU."""

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True


class Cuda:
    """As much of torch.cuda as recording needs; a recording keeps the calls, replaying makes them again."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.recording = False
        self.body: Any = None

    class Stream:
        def wait_stream(self, other: object) -> None:
            pass

    def current_stream(self) -> "Cuda.Stream":
        return Cuda.Stream()

    @contextmanager
    def stream(self, stream: object) -> Any:
        self.events.append("own stream")
        yield
        self.events.append("back")

    def CUDAGraph(self) -> "Graph":  # noqa: N802
        return Graph(self)

    @contextmanager
    def graph(self, graph: "Graph") -> Any:
        self.events.append("record")
        self.recording = True
        yield
        self.recording = False


class Graph:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.events.append("replay")
        self.cuda.body()


class Counting:
    """A step with a state: the sum of all that it read. Recorded calls change nothing until they are replayed."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.total, self.result = cuda, 0.0, torch.zeros(1)

    def __call__(self, x: Tensor) -> Tensor:
        def body() -> None:
            self.total += float(x)
            self.result.fill_(self.total)

        if self.cuda.recording:
            self.cuda.body = body
        else:
            self.cuda.events.append("call")
            body()
        return self.result

    def reset(self) -> None:
        self.total = 0.0


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    pretended = Cuda()
    monkeypatch.setattr(graphs.torch, "cuda", pretended)
    return pretended


def test_it_warms_up_records_once_and_replays(cuda: Cuda) -> None:
    counting = Counting(cuda)
    step = RecordedStep(counting, {"x": torch.zeros(1).as_subclass(OnDevice)}, reset=counting.reset)
    assert float(step(x=torch.tensor([2.0]))) == 2.0
    assert cuda.events == ["own stream", *["call"] * WARM_UP_CALLS, "back", "record", "replay"]
    assert step.recorded
    assert float(step(x=3)) == 5.0
    assert float(step(x=4)) == 9.0
    assert cuda.events[-2:] == ["replay", "replay"]
    assert cuda.events.count("record") == 1


def test_a_forgotten_recording_is_made_anew(cuda: Cuda) -> None:
    counting = Counting(cuda)
    step = RecordedStep(counting, {"x": torch.zeros(1).as_subclass(OnDevice)}, reset=counting.reset)
    step(x=1)
    step.forget()
    assert not step.recorded
    step(x=1)
    assert cuda.events.count("record") == 2
