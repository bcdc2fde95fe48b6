"""Several processes that train one model, as torchrun starts them: one for each GPU, or a few on one or more machines.

Every process holds the whole model and takes its part of each step's sequences; gradients are summed once a step, after
the last pass. The sums are made here, in a few large pieces, and not by DistributedDataParallel: all layers of the
reversible stack are one node of the graph, so their gradients come at one moment and there is nothing to overlap; which
parameters take part changes from step to step with layer dropout; and a loss is weighted by the tokens of the whole
step, so gradients are to be added, not averaged.

The first process alone writes, validates, writes samples and tells the person. The others wait for it at torchrun's
key-value store, looking there several times a second, so that waiting has no limit of time and signals are heard.
Nothing is pickled: what goes from one process to another is JSON or tensors.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from korformer import errors
from korformer.errors import InterruptedRun, KorformerError, ResourceError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Json = Any
Error = TypeVar("Error", bound=KorformerError)

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SILENCE = datetime.timedelta(minutes=30)
"""How long the others wait within a step for one that does not answer; one that died is noticed at once."""
_PIECE_BYTES = 32 << 20
_LONGEST_PAUSE_SECONDS = 0.2


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class LostProcessError(ResourceError):
    """Another process of the run has ended, most often because its machine had no memory left."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            f"another process of this run has ended{detail and f' ({detail})'}; what was saved is intact",
            hint="Its own message tells why; one that the system killed for want of memory leaves none. "
            "The same command goes on from the last save.",
        )


class Group:
    """The processes of a run as one of them sees them; one process alone needs none of it, and every method is then
    the plain thing.

    Attributes:
        rank, world_size: which process of the run this is, of how many.
        local_rank, local_world_size: which of this machine, of how many.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        *,
        local_rank: int = 0,
        local_world_size: int = 1,
        store: Store | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.local_rank = local_rank
        self.local_world_size = local_world_size
        self._store = store
        self._asked = 0
        self._inside = False
        self._launcher = os.getppid()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each figure summed over all processes, which must have the same names."""
        if self.world_size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        self._reduce(total, dist.ReduceOp.SUM)
        return dict(zip(values, total.tolist(), strict=True))

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the sum of all processes' gradients in the place of each one's own.

        A parameter that took part in some process gets a gradient in all, one that took part in none stays without.
        """
        if self.world_size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        took_part = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        self._reduce(took_part, dist.ReduceOp.MAX)
        gradients = []
        for parameter, took in zip(trained, took_part.tolist(), strict=True):
            if took:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for piece in _pieces(gradients):
            if len(piece) == 1 and piece[0].is_contiguous():
                self._reduce(piece[0], dist.ReduceOp.SUM)
                continue
            flat = torch.cat([gradient.reshape(-1) for gradient in piece])
            self._reduce(flat, dist.ReduceOp.SUM)
            for gradient, summed in zip(piece, flat.split([g.numel() for g in piece]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def agreed_stop(self, signal_number: int | None) -> int | None:
        """The signal that asks any process to stop, in all of them; None where none does.

        A process whose launcher is gone asks, too: nobody else could end it.
        """
        if self.world_size == 1:
            return signal_number
        if os.getppid() != self._launcher:
            signal_number = signal.SIGTERM
        number = torch.tensor([signal_number or 0])
        self._reduce(number, dist.ReduceOp.MAX)
        return int(number) or None

    def first(self, work: Callable[[], Json]) -> Json:
        """What `work` gives in the first process, in all of them; the others wait as long as it takes.

        Args:
            work: runs in the first process only; gives a value that JSON has a form for.

        Raises:
            KorformerError: the error of `work`, in every process.
            LostProcessError: the first process ended otherwise.
        """
        if self.world_size == 1 or self._inside:
            return work()
        self._asked += 1
        return self._by(f"first/{self._asked}", work) if self.leads else self._of(f"first/{self._asked}")

    def first_of_machine(self, work: Callable[[], Json]) -> Json:
        """What `work` gives in the first process of this machine, in all of the machine; errors as of `first`.

        The first machine is done before the others begin, so that they find what it left if they share its disk.
        """
        if self.world_size == 1:
            return work()
        self._asked += 1
        machine = self.rank - self.local_rank
        key = f"machine/{self._asked}/{machine}"
        if self.local_rank:
            return self._of(key)
        if machine:
            self._of(f"machine/{self._asked}/0")
        return self._by(key, work)

    def share(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """The first process's tensors, in all of them, in main memory. The others give None."""
        if self.world_size == 1:
            return dict(tensors or {})
        given = tensors or {}
        described = self.first(lambda: [[name, _dtype_name(t.dtype), list(t.shape)] for name, t in given.items()])
        shared = {}
        for name, dtype, shape in described:
            tensor = given[name].cpu().contiguous() if self.leads else torch.empty(shape, dtype=getattr(torch, dtype))
            with _noticing_loss():
                dist.broadcast(tensor, 0)
            shared[name] = tensor
        return shared

    def in_all(self, error: Error) -> Error:
        """Mark an error that every process of the run raises here, so that one of them tells it."""
        error.told = not self.leads
        return error

    def _by(self, key: str, work: Callable[[], Json]) -> Json:
        assert self._store is not None
        answer: dict[str, Json] = {"lost": True}
        self._inside = True
        try:
            value = work()
            answer = {"value": value}
        except KorformerError as error:
            answer = {"error": _described(self.in_all(error))}
            raise
        finally:
            self._inside = False
            with _noticing_loss():
                self._store.set(key, json.dumps(answer))
        return value

    def _of(self, key: str) -> Json:
        assert self._store is not None
        pause = 0.002
        with _noticing_loss():
            while os.getppid() == self._launcher and not self._store.check([key]):
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
            if os.getppid() != self._launcher:
                raise LostProcessError("torchrun")
            answer = json.loads(self._store.get(key))
        if "error" in answer:
            raise self.in_all(_error(**answer["error"]))
        if "lost" in answer:
            raise LostProcessError
        return answer["value"]

    def _reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
        with _noticing_loss():
            dist.all_reduce(tensor, operation)

    def wait(self) -> None:
        """Until every process is here."""
        self._reduce(torch.zeros(1), dist.ReduceOp.SUM)


ALONE = Group()
"""One process for itself."""


@contextmanager
def joined() -> Iterator[Group]:
    """The processes that torchrun started this one with; this process alone where it did not.

    Until the block ends, sockets between them are open. An error that not every process has is told with the number of
    the process it comes from.

    Raises:
        ResourceError: they cannot be reached.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or not all(os.environ.get(name) for name in _VARIABLES):
        yield ALONE
        return
    group = _join()
    try:
        yield group
    except KorformerError as error:
        if error.told is not None:
            _leave(group)
        elif not group.leads:
            # What is wrong with files or settings of a machine, its first process meets as well.
            first_tells = group.local_rank > 0 and not isinstance(error, ResourceError)
            error.told = first_tells or isinstance(error, LostProcessError)
            error.where = f"process {group.rank}" + (f", {error.where}" if error.where else "")
        raise
    else:
        _leave(group)


def _join() -> Group:
    # Not every build of torch has these.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # CPU tensors, and so all figures, go through gloo, gradients of a GPU through nccl.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(rendezvous("env://"))
        dist.init_process_group(
            backend, store=PrefixStore("group", store), rank=rank, world_size=world_size, timeout=_SILENCE
        )
    except (RuntimeError, ValueError) as error:
        raise ResourceError(
            f"cannot reach the other processes of this run ({_first_sentence(error)})",
            where=f"process {rank}",
            hint="Check the address and port given to torchrun; GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the "
            "network interface to use.",
        ) from error
    return Group(
        rank,
        world_size,
        local_rank=int(os.environ.get("LOCAL_RANK", rank)),
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", world_size)),
        store=PrefixStore("korformer", store),
    )


def _leave(group: Group) -> None:
    """Leave together: the first process may be the one that holds the store that others still read."""
    with suppress(LostProcessError):
        group.wait()
    dist.destroy_process_group()


@contextmanager
def _noticing_loss() -> Iterator[None]:
    """What torch says when another process does not answer, in our words."""
    try:
        yield
    except RuntimeError as error:  # torch's own classes for this are kinds of it
        raise LostProcessError(_first_sentence(error)) from error


def _first_sentence(error: BaseException) -> str:
    """The part of a message of torch that a person can use: without source file, line, stack and guesses."""
    line = next(iter(str(error).strip().splitlines()), "")
    return re.sub(r"^\[\S+:\d+\]\s*", "", line).split(". ")[0].rstrip(". ")


def _pieces(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in runs of one type and a few megabytes."""
    piece: list[Tensor] = []
    piece_bytes = 0
    for tensor in tensors:
        if piece and (piece_bytes + tensor.nbytes > _PIECE_BYTES or tensor.dtype != piece[0].dtype):
            yield piece
            piece, piece_bytes = [], 0
        piece.append(tensor)
        piece_bytes += tensor.nbytes
    if piece:
        yield piece


def _described(error: KorformerError) -> dict[str, Json]:
    number = error.exit_code - 128 if isinstance(error, InterruptedRun) else None
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "hint": error.hint,
        "signal_number": number,
    }


def _error(kind: str, what: str, where: str | None, hint: str | None, signal_number: int | None) -> KorformerError:
    if signal_number is not None:
        return InterruptedRun(what, signal_number=signal_number, where=where, hint=hint)
    found: type[KorformerError] = getattr(errors, kind, ResourceError)
    return found(what, where=where, hint=hint)
