"""A step that is launched as one: recorded once as a CUDA graph, then replayed on the same memory.

Decoding one token launches some hundreds of small kernels, and on a GPU launching them takes longer than running
them. A recorded step costs one launch. What is recorded must take its inputs from the same tensors every time, do the
same work whatever they hold, leave its results in the same tensors, and never ask for a value on the host.

Elsewhere than on CUDA the step is simply called.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_CALLS = 3
"""Plain calls before the recording: libraries choose their kernels and take their workspaces in the first ones."""


class RecordedStep:
    """A function of fixed tensors that is recorded at first use and replayed from then on.

    The function is called `WARM_UP_CALLS` times before it is recorded, and recording computes nothing; so whatever it
    changes beside its result (a cache that grows, a counter) is put back by `reset` after those calls.

    Args:
        function: takes the tensors of `inputs` and returns one tensor; what it changes it changes in place.
        inputs: the tensors that it reads, by name. They stay the same memory; `__call__` copies new values into them.
        reset: undoes what a call of the function changed; called after every warm-up call and before replaying begins.
    """

    def __init__(
        self, function: Callable[..., Tensor], inputs: dict[str, Tensor], *, reset: Callable[[], None] | None = None
    ) -> None:
        self._function = function
        self._inputs = inputs
        self._reset = reset
        self._graph: torch.cuda.CUDAGraph | None = None
        self._output: Tensor | None = None

    @property
    def recorded(self) -> bool:
        """Whether calls are replays."""
        return self._graph is not None

    def __call__(self, **values: Tensor | int) -> Tensor:
        """Run the step on new values of some inputs.

        Args:
            **values: for each input to change a tensor of its shape, or a number to fill it with.

        Returns:
            The function's result. On CUDA it is always the same tensor: the next call overwrites it.

        Raises:
            KeyError: no input of that name.
        """
        for name, value in values.items():
            target = self._inputs[name]
            if isinstance(value, Tensor):
                target.copy_(value, non_blocking=True)
            else:
                target.fill_(value)
        if not any(tensor.is_cuda for tensor in self._inputs.values()):
            return self._function(**self._inputs)
        if self._graph is None:
            self._record()
        assert self._graph is not None
        assert self._output is not None
        self._graph.replay()
        return self._output

    def _record(self) -> None:
        """Warm up on a stream of its own, as recording requires, and record."""
        own = torch.cuda.Stream()
        own.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(own):
            for _ in range(WARM_UP_CALLS):
                self._function(**self._inputs)
                if self._reset is not None:
                    self._reset()
        torch.cuda.current_stream().wait_stream(own)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._output = self._function(**self._inputs)
        self._graph = graph

    def forget(self) -> None:
        """Drop the recording; the next call records anew. Needed when a tensor it reads was replaced."""
        self._graph = None
        self._output = None
