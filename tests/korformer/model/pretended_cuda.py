"""A GPU that is none: tensors that say that they are on CUDA, and are computed on the CPU by the rules of a GPU.

Where there is no GPU this finds what otherwise shows on one only:

- operations whose tensors are on two devices;
- what CUDA's autocast makes of an operation's precision, and so types that do not fit where autocast is over, in
  backward above all;
- values that the host asks for, each of which waits for the device (`PretendedGpu.syncs`);
- recorded steps (CUDA graphs) that wait, that copy from the host, or that hold what belongs to one call only.

An `OnDevice` is a shell around a tensor of the CPU. To autograd it is a tensor of the device `meta`, which every build
of torch has; to Python its device is cuda:0. Below autograd a dispatch mode takes the shells off, computes, and puts
them on again; above it a function mode puts `meta` where a call names a CUDA device.

Autocast follows the tables "CUDA Op-Specific Behavior" of https://docs.pytorch.org/docs/stable/amp.html: which
operations have a rule is asked of the torch that is installed, those that run in float16 or bfloat16 and those that
promote are listed here, and all others run in float32. That this is what torch does,
test_on_a_pretended_gpu.py checks with torch's own rules.

What it cannot show: speed and memory, Triton kernels (CUDA's own kernels too are stood in for by the CPU's, whose last
bits differ), two streams that race, and types that only a CPU's kernel refuses or takes. A tensor of one number may be
on either device, as most operations of CUDA have it.

All that is changed in torch is put back at the end of `pretended_cuda`. Shells that outlive it are for reading by
`on_cpu` only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.library import Library
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda:0")
META = torch.device("meta")

_NEEDED = (
    (torch.autograd, "_engine_run_backward"),
    (torch._C, "_dispatch_get_all_op_names"),
    (torch._C, "_set_mkldnn_enabled"),
    (torch._C, "_dispatch_has_kernel_for_dispatch_key"),
    (torch.Tensor, "_make_wrapper_subclass"),
    (torch.library.Library, "_destroy"),
)
MISSING = [name for owner, name in _NEEDED if not hasattr(owner, name)]
"""What the torch that is installed lacks of what this needs."""

LOWER_PRECISION = frozenset({
    "_convolution", "_scaled_dot_product_flash_attention", "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell",
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "conv1d", "conv2d", "conv3d",
    "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "cudnn_convolution",
    "cudnn_convolution_transpose", "einsum", "gru_cell", "linalg_multi_dot", "linalg_vecdot", "linear",
    "lstm_cell", "matmul", "mm", "mv", "prelu", "rnn_relu_cell", "rnn_tanh_cell",
    "scaled_dot_product_attention",
})  # fmt: skip
"""Operations that autocast runs in its type; names without overloads."""

WIDEST = frozenset({
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sampler", "index_put", "scatter_add",
    "tensordot", "vdot",
})  # fmt: skip
"""Operations whose inputs autocast brings to the widest of their types."""

_INDEXED = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"})
"""Operations that take their second argument, places, from any device."""


class PretendedGpuError(RuntimeError):
    """What a GPU would refuse."""


class OnDevice(Tensor):
    """A tensor that says that it is on CUDA.

    Attributes:
        held: its numbers, on the CPU.
    """

    held: Tensor

    @staticmethod
    def __new__(cls: Any, values: Tensor) -> OnDevice:
        with torch.inference_mode(values.is_inference()):
            shell: OnDevice = torch.Tensor._make_wrapper_subclass(
                cls,
                values.size(),
                strides=values.stride(),
                storage_offset=values.storage_offset(),
                dtype=values.dtype,
                device=META,
                _extra_dispatch_keys=torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA),
            )
        shell.held = values
        return shell

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise PretendedGpuError(f"{func} outside pretended_cuda")


def on_cpu(x: Tensor) -> Tensor:
    """The numbers of a tensor, wherever it is."""
    return x.held if isinstance(x, OnDevice) else x


@dataclass(frozen=True, eq=False)
class _Recording:
    """The calls of a recorded step; what they wrote is put back at the end, for recording computes nothing."""

    calls: list[tuple[Any, Any, Any, Any]] = field(default_factory=list)
    before: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        named = {**dict(zip((one.name for one in func._schema.arguments), args, strict=False)), **kwargs}
        for one in func._schema.arguments:
            if one.alias_info is not None and one.alias_info.is_write:
                written = [x for x in tree_leaves(named.get(one.name)) if isinstance(x, Tensor)]
                self.before.extend((x, x.clone()) for x in written)
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        return out

    def put_back(self) -> None:
        for written, before in reversed(self.before):
            written.copy_(before)
        self.before.clear()

    def replay(self) -> None:
        """The same calls on the same memory."""
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Graph:
    """A CUDA graph."""

    def __init__(self) -> None:
        self.recording = _Recording()

    def replay(self) -> None:
        self.recording.replay()


class _Stream:
    def wait_stream(self, other: object) -> None:
        pass


@dataclass(eq=False)
class PretendedGpu:
    """What happens on the device.

    Attributes:
        syncs: the operations for whose values the host waited.
        recordings: recorded steps that were made.
    """

    syncs: list[str] = field(default_factory=list)
    recordings: int = 0
    _recording: _Recording | None = field(default=None, init=False)

    def put(self, module: torch.nn.Module) -> None:
        """Move a module as `module.to("cuda")` does: its parameters stay the same objects, and shared ones shared."""
        swapped = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            module.to(CUDA)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapped)

    @contextmanager
    def record(self, graph: _Graph, **_: Any) -> Iterator[None]:
        """As torch.cuda.graph."""
        self._recording = graph.recording
        self.recordings += 1
        try:
            yield
        finally:
            self._recording = None
            graph.recording.put_back()

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """One operation below autograd."""
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        shells = {id(x.held): x for x in given if isinstance(x, OnDevice)}
        device = kwargs.get("device")
        there = bool(shells) if device is None else torch.device(device).type == "meta"
        if not (shells or there):
            return func(*args, **kwargs)
        if device is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        name = func._schema.name.removeprefix("aten::")
        if name == "_fused_sdp_choice":
            return 0  # plain products
        if name == "copy_":
            there = isinstance(args[0], OnDevice)
        elif shells:
            self._same_device(name, args, given)
        if shells and (not there or _waits(func, args)):
            self._wait(name)
        plain_args, plain_kwargs = tree_map(_bare, (args, kwargs))
        if self._recording is None:
            out = func(*plain_args, **plain_kwargs)
        else:
            if any(not isinstance(x, OnDevice) and x.dim() for x in given):
                raise PretendedGpuError(f"{name}: a copy from the host while a step is recorded")
            out = self._recording.run(func, plain_args, plain_kwargs)
        plain = {id(x) for x in given}

        def shell(x: Any) -> Any:
            if not isinstance(x, Tensor) or id(x) in plain:
                return x
            known = shells.get(id(x))
            if known is None:
                return OnDevice(x) if there else x
            if known.shape != x.shape:
                raise NotImplementedError(f"{name} changes the shape of a tensor in place")
            return known

        return tree_map(shell, out)

    def _same_device(self, name: str, args: Any, given: Sequence[Tensor]) -> None:
        anywhere = {id(x) for x in tree_leaves(args[1])} if name in _INDEXED else set()
        for x in given:
            if not isinstance(x, OnDevice) and x.dim() and id(x) not in anywhere:
                shapes = ", ".join(f"{tuple(y.shape)} on {y.device.type}" for y in given)
                raise PretendedGpuError(f"{name}: tensors on two devices: {shapes}")

    def _wait(self, name: str) -> None:
        if self._recording is not None:
            raise PretendedGpuError(f"{name}: the host waits while a step is recorded")
        self.syncs.append(name)


def _bare(x: Any) -> Any:
    return x.held if isinstance(x, OnDevice) else x


def _waits(func: Any, args: Any) -> bool:
    """Whether the host needs a value, or a size that hangs on values."""
    if func._schema.name in {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}:
        return any(isinstance(x, Tensor) and x.dtype in {torch.bool, torch.uint8} for x in args[1])
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


class _Operations(TorchDispatchMode):
    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # importing the compiler takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():  # in which composite operations come whole
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        return self._gpu.compute(func, args, kwargs or {})


class _Names(TorchFunctionMode):
    """`meta` where a call names a CUDA device: torch looks for a GPU before it dispatches."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args, kwargs = [_renamed(x) for x in args], {name: _renamed(x) for name, x in (kwargs or {}).items()}
        if func in {torch.tensor, torch.as_tensor} and kwargs.get("device") == META:  # made without any mode
            return func(*args, **{**kwargs, "device": torch.device("cpu")}).to(META)
        return func(*args, **kwargs)


def _backward(*args: Any, run: Callable[..., Any] = torch.autograd.graph._engine_run_backward, **kwargs: Any) -> Any:
    """The engine's pass. A function mode rests while what it was told of runs, `Tensor.backward` for one."""
    with _Names():
        return run(*args, **kwargs)


def _renamed(x: Any) -> Any:
    named = (isinstance(x, torch.device) and x.type == "cuda") or (isinstance(x, str) and x.split(":")[0] == "cuda")
    return META if named else x


def _rules() -> list[tuple[Any, str]]:
    """Operations for which CUDA's autocast of the installed torch has a rule, and its name."""
    found = []
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCUDA"):
            base, _, overload = name.removeprefix("aten::").partition(".")
            if base == "binary_cross_entropy":
                continue  # which torch's own rule refuses on any device
            found.append((getattr(getattr(torch.ops.aten, base), overload or "default"), base))
    return found


def _autocast(func: Any, base: str) -> Callable[..., Any]:
    """The operation as autocast has it."""

    def to(dtype: torch.dtype) -> Callable[[Any], Any]:
        return lambda x: x.to(dtype) if _eligible(x) else x

    def run(*args: Any, **kwargs: Any) -> Any:
        dtypes = [x.dtype for x in tree_leaves((args, kwargs)) if _eligible(x)]
        dtype = torch.float32
        if base in LOWER_PRECISION:
            dtype = torch.get_autocast_dtype("cuda")
        elif base in WIDEST:
            dtype = torch.float32 if torch.float32 in dtypes else torch.get_autocast_dtype("cuda")
        torch.set_autocast_enabled("cuda", False)
        try:
            if dtypes and not any(isinstance(x, torch.dtype) for x in tree_leaves((args, kwargs))):
                args, kwargs = tree_map(to(dtype), (args, kwargs))
            return func(*args, **kwargs)
        finally:
            torch.set_autocast_enabled("cuda", True)

    return run


def _eligible(x: Any) -> bool:
    return isinstance(x, OnDevice) and x.is_floating_point() and x.dtype != torch.float64


@contextmanager
def _autocast_rules() -> Iterator[None]:
    library = Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel")
            for func, base in _rules():
                library.impl(func, _autocast(func, base), "AutocastCUDA", allow_override=True)
        yield
    finally:
        library._destroy()


@contextmanager
def _for_small_products() -> Iterator[None]:
    """One thread, and without oneDNN, which makes a kernel for every new shape."""
    threads, enabled = torch.get_num_threads(), torch._C._get_mkldnn_enabled()
    torch.set_num_threads(1)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)
        torch.set_num_threads(threads)


class _Generator(torch.Generator):
    """One of the CPU, wherever it is to be."""

    def __new__(cls, device: object = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")  # type: ignore[call-arg]


@contextmanager
def pretended_cuda(capability: tuple[int, int] = (8, 0)) -> Iterator[PretendedGpu]:
    """A GPU while it lasts: `torch.cuda` says that there is one, and tensors and modules can be moved to it.

    Args:
        capability: compute capability that the GPU tells.
    """
    gpu = PretendedGpu()
    instead = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_: capability >= (8, 0),
        "get_device_capability": lambda *_: capability,
        "get_device_name": lambda *_: "pretended",
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda *_: (2**36, 2**36),
        "synchronize": lambda *_: gpu.syncs.append("synchronize"),
        "Stream": _Stream,
        "current_stream": lambda *_: _Stream(),
        "stream": lambda _: nullcontext(),
        "CUDAGraph": _Graph,
        "graph": gpu.record,
    }
    with ExitStack() as stack:
        for name, value in instead.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch.autograd, "_engine_run_backward", _backward))
        stack.enter_context(_for_small_products())
        stack.enter_context(_autocast_rules())
        stack.enter_context(_Operations(gpu))
        stack.enter_context(_Names())
        yield gpu
