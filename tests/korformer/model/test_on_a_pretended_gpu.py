"""What a GPU does differently, without one: devices, autocast, waiting, recorded steps (see pretended_cuda)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from model_variants import VOCABULARY
from model_variants import make as make_variant
from pretended_cuda import MISSING, OnDevice, PretendedGpu, PretendedGpuError, on_cpu, pretended_cuda
from torch import Tensor
from torch.utils._pytree import tree_map

from korformer.data.store import build_store
from korformer.events import ignore
from korformer.model import backbone
from korformer.model.attention import causal_lsh
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.model.decode import DecodeState
from korformer.model.graphs import RecordedStep
from korformer.model.positions import rotate
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training.engine import Engine, StepResult, TrainingData
from korformer.training.settings import run_settings

if torch.cuda.is_available():
    pytest.skip("there is a GPU", allow_module_level=True)

if MISSING:
    pytest.skip(f"this torch has no {', '.join(MISSING)}", allow_module_level=True)

DRAW = TrainingDraw(seed=0, step=1, samples=range(2))
KINDS: dict[str, dict[str, Any]] = {
    "hashed": {"attention": "causal_lsh"},
    "hashed and local": {"n_local_attn_heads": 2},
    "chunked": {"attention": "lsh"},
    "chunked and local": {"attention": "lsh", "n_local_attn_heads": 1},
    "local": {"attention": "local"},
    "full": {"attention": "full"},
    "encoder, chunked": {"attention": "lsh", "causal": False},
    "encoder, chunked and local": {
        "attention": "lsh", "causal": False, "n_local_attn_heads": 1, "axial_position_emb": False,
    },
    "encoder, local": {"attention": "local", "causal": False},
    "encoder, full": {"attention": "full", "causal": False, "fixed_position_emb": True, "axial_position_emb": False},
    "every option": {
        "emb_dim": 16, "weight_tie_embedding": False, "use_scale_norm": True, "ff_glu": True, "one_value_head": True,
    },
    "dropout": {"ff_dropout": 0.1, "post_attn_dropout": 0.1, "random_rotations_per_head": True},
}  # fmt: skip
LOSS_SCALE = 2.0**12


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without Triton, whose kernels nothing can stand in for, and on one thread."""
    monkeypatch.setattr(causal_lsh, "fused_kernel", lambda q: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_cuda() as gpu:
        yield gpu


def make(kind: str) -> ReformerModel:
    shape = {"dim": 32, "depth": 2, "heads": 4, "max_seq_len": 64, "bucket_size": 8, "n_hashes": 2, "rehash": False}
    model = ReformerModel(ModelConfig(**{**shape, **KINDS[kind]}), VOCABULARY)
    model.initialise(1)
    return model.train()


def gradients(
    model: ReformerModel, dtype: torch.dtype = torch.float32, *, reversible: bool = False
) -> dict[str, Tensor]:
    """Those of one loss over two rows of two documents each, where the model is."""
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    rows = torch.randint(5, VOCABULARY, (2, 50), generator=torch.Generator().manual_seed(0))
    tokens = rows.to(model.device)
    documents = (torch.arange(50) >= torch.tensor([[20], [35]])).long().to(model.device)
    with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        hidden = model(tokens, documents_BT=documents, draw=DRAW, reversible=reversible)
        mean, _ = model.loss(hidden[:, :-1], tokens[:, 1:])
    assert mean.dtype == torch.float32
    (mean * scale).backward()
    found = {name: p.grad for name, p in model.lm.named_parameters() if p.grad is not None}
    assert all(x.device == model.device and x.dtype == torch.float32 for x in found.values())
    return {name: on_cpu(x) / scale for name, x in found.items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest error of a parameter's gradient beside its size, or a ten thousandth of the largest one's."""
    assert one.keys() == other.keys()
    least = 1e-4 * max(float(gradient.norm()) for gradient in one.values())
    return max(float((one[name] - other[name]).norm()) / max(least, float(one[name].norm())) for name in one)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_near_those_of_the_cpu(kind: str, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast 16 bits cost what they cost; in float32 only the order of sums differs.

    Hashed is what hangs on nothing but the layer: a token that falls into another bucket is no matter of precision.
    """
    hashed = ReformerModel.hash

    def steady(model: ReformerModel, layer: int, qk: Tensor, draw: TrainingDraw | None = None) -> Tensor:
        instead = torch.randn(qk.shape, generator=torch.Generator().manual_seed(layer))
        with torch.autocast(qk.device.type, enabled=False):
            return hashed(model, layer, instead.to(qk.device), draw)

    monkeypatch.setattr(ReformerModel, "hash", steady)
    exact = gradients(make(kind))
    for dtype, reversible, tolerance in (
        (torch.bfloat16, False, 0.05),
        (torch.bfloat16, True, 0.05),
        (torch.float16, True, 0.005),
    ):
        model = make(kind)
        gpu.put(model)
        found = gradients(model, dtype, reversible=reversible)
        assert all(bool(x.isfinite().all()) for x in found.values()), (dtype, reversible)
        assert distance(exact, found) < tolerance, (dtype, reversible)


TEXT = torch.randint(5, VOCABULARY, (120,), generator=torch.Generator().manual_seed(0)).tolist()


def scores_of(state: DecodeState) -> list[Tensor]:
    """Scores that a text leads to however it is read: at once, by steps, rewound, forked, watched, put away."""
    found = [state.append(TEXT[:90])]
    found += [state.append([token]) for token in TEXT[90:93]]
    found.append(state.append(TEXT[93:113]))
    state.rewind(92)
    twin = state.fork()
    found += [state.append([TEXT[92]]), twin.append(TEXT[92:94])]
    state.watch = True
    found += [state.append([TEXT[93]]), state.attention(1)]
    again = DecodeState.restore(state._model, state.snapshot(), state._weights.precision)
    found += [again.append([TEXT[94]])]
    return [on_cpu(x) for x in found]


@pytest.mark.parametrize(
    "variant",
    ["mixed heads, axial", "layers differ", "lsh, local heads, rotary"],
)
def test_a_text_is_read_as_on_the_cpu(variant: str, gpu: PretendedGpu) -> None:
    expected = scores_of(make_variant(variant).new_state())
    model = make_variant(variant)
    gpu.put(model)
    found = scores_of(model.new_state())
    assert gpu.recordings
    for ours, cpu in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, cpu, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("variant", ["local, rotary", "full, rotary"])
def test_smaller_weights_write_nearly_the_same(variant: str, precision: Any, gpu: PretendedGpu) -> None:
    expected = scores_of(make_variant(variant).new_state())
    model = make_variant(variant)
    gpu.put(model)
    for ours, exact in zip(scores_of(model.new_state(precision)), expected, strict=True):
        assert (ours - exact).abs().max() < 0.05


VALUES: dict[str, Any] = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_local_attn_heads": 1},
    "training": {
        "steps": 10, "batch_size": 2, "accumulate": 2, "warmup_steps": 2, "learning_rate": 0.01, "reversible": "always",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    texts = [
        f"{who} {where} 걷는다.\n{who} 쉰다."
        for who in ("고양이가", "바람이", "어부가")
        for where in ("길에서", "산에서")
    ]
    vocabulary = train_vocabulary(texts, VocabularySettings(size=500))
    store = build_store(texts * 4, vocabulary, tmp_path_factory.mktemp("pretended") / "train")
    return TrainingData(store=store, valid=None, vocabulary=vocabulary)


def trained(objective: str, data: TrainingData, device: str, precision: str) -> tuple[list[StepResult], Engine]:
    """Two steps."""
    training = {**VALUES["training"], "device": device, "precision": precision}
    settings = run_settings(objective, {**VALUES, "training": training})
    engine = Engine(settings=settings, data=data, path=Path("run"), listen=ignore)
    engine.make()
    results = [engine.advance(step) for step in (1, 2)]
    return results, engine


@pytest.mark.parametrize("objective", ["ar", "mlm", "rtd"])
def test_training_steps_are_those_of_the_cpu(objective: str, data: TrainingData) -> None:
    expected, _ = trained(objective, data, "cpu", "fp32")
    with pretended_cuda():
        for precision in ("bf16", "fp16"):
            results, engine = trained(objective, data, "cuda", precision)
            assert all(isinstance(p, OnDevice) for p in engine.learner.module.parameters())
            # The loss is scaled too far for fp16 at first, and then a step changes nothing.
            compared = 2 if precision == "bf16" else 1
            assert engine.arithmetic.loss_scale == 1.0 or precision == "fp16"
            for ours, cpu in list(zip(results, expected, strict=True))[:compared]:
                assert ours.loss == pytest.approx(cpu.loss, rel=0.01)
                assert ours.tokens == cpu.tokens


# What the pretended GPU itself is to find and to be.


def unrounded(qk: Tensor, angles: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keys as autocast leaves them, in float32 beside queries in 16 bits."""
    q = qk if angles is None else rotate(qk, angles)
    return q, F.normalize(q, dim=-1)


@pytest.mark.parametrize("kind", ["chunked", "encoder, chunked and local", "encoder, local"])
def test_types_that_do_not_fit_are_found(kind: str, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "queries_and_keys", unrounded)
    model = make(kind)
    gpu.put(model)
    with pytest.raises(RuntimeError, match="expected .* type"):
        gradients(model, torch.bfloat16)


class Rounded(torch.autograd.Function):
    """A product whose backward, outside autocast, meets what autocast rounded and what it did not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.saved_tensors[0], None


def test_types_that_do_not_fit_in_backward_are_found(gpu: PretendedGpu) -> None:
    x, weight = torch.ones(2, 2, device="cuda", requires_grad=True), torch.ones(2, 2, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        y = Rounded.apply(x, weight)  # type: ignore[no-untyped-call]
    assert y.dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="same dtype"):
        y.sum().backward()


def test_a_tensor_that_was_left_on_the_cpu_is_found(gpu: PretendedGpu) -> None:
    model = make("local")
    gpu.put(model)
    tokens = torch.full((1, 20), 7).to("cuda")
    with pytest.raises(PretendedGpuError, match="two devices"):
        model(tokens, documents_BT=torch.zeros(1, 20, dtype=torch.long))


@pytest.mark.parametrize(
    "mix", [torch.Tensor.add, torch.Tensor.mul, torch.matmul, lambda a, b: torch.cat([a, b]), lambda a, b: a.add_(b)]
)
def test_two_devices_do_not_mix(mix: Callable[[Tensor, Tensor], Tensor], gpu: PretendedGpu) -> None:
    here = torch.ones(2, 2)
    there = here.to("cuda")
    assert on_cpu(mix(there.clone(), there)).shape[1] == 2
    for one, other in ((there, here), (here, there)):
        with pytest.raises(PretendedGpuError, match="two devices"):
            mix(one, other)
    assert torch.equal(on_cpu(there + torch.tensor(1.0)), here + 1)  # one number may be anywhere


def test_waiting_is_counted(gpu: PretendedGpu) -> None:
    x = torch.arange(4.0, device="cuda")
    assert (x * 2).device == x.device
    assert gpu.syncs == []
    assert (float(x[1]), x.tolist(), x.nonzero().shape[0], x.cpu()[2].item()) == (1.0, [0.0, 1.0, 2.0, 3.0], 3, 2.0)
    assert x[x > 1].shape == (2,)
    assert len(gpu.syncs) == 5


FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "waits": lambda x: x + float(x[0]),
    "copies": lambda x: x + torch.arange(3).to("cuda"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_that_cannot_be_recorded_is_found(fault: str, gpu: PretendedGpu) -> None:
    step = RecordedStep(FAULTS[fault], {"x": torch.zeros(3, device="cuda")})
    with pytest.raises(PretendedGpuError, match="while a step is recorded"):
        step(x=1)


def test_a_recording_repeats_the_kernels_and_not_the_python(gpu: PretendedGpu) -> None:
    total, calls = torch.zeros(3, device="cuda"), []

    def add(x: Tensor) -> Tensor:
        calls.append(1)
        return total.add_(x) * len(calls)

    def reset() -> None:
        total.zero_()

    step = RecordedStep(add, {"x": torch.zeros(3, device="cuda")}, reset=reset)
    found = [on_cpu(step(x=value)).tolist()[0] for value in (1, 2, 3)]
    assert found == [4.0, 12.0, 24.0]  # the sums 1, 3, 6 times the four calls that there were until it was recorded
    assert len(calls) == 4


class Genuine(OnDevice):
    """A tensor whose device is CUDA to torch itself too, so that its own autocast takes it; without gradients."""

    @staticmethod
    def __new__(cls: Any, values: Tensor) -> Genuine:
        made: Genuine = torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), dtype=values.dtype, device=torch.device("cuda:0")
        )
        made.held = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        bare = tree_map(lambda x: x.held if isinstance(x, Genuine) else x, (args, kwargs or {}))
        return tree_map(lambda x: Genuine(x) if isinstance(x, Tensor) else x, func(*bare[0], **bare[1]))


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": torch.matmul, "mm": torch.mm, "linear": F.linear, "bmm": lambda a, b: torch.bmm(a[None], b[None]),
    "addmm": lambda a, b: torch.addmm(a, a, b), "baddbmm": lambda a, b: torch.baddbmm(a[None], a[None], b[None]),
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b), "mv": lambda a, b: torch.mv(a, b[0]),
    "exp": lambda a, b: a.exp(), "log": lambda a, b: a.log(), "pow": lambda a, b: a**2,
    "rsqrt": lambda a, b: a.rsqrt(),
    "softmax": lambda a, b: a.softmax(-1), "log_softmax": lambda a, b: a.log_softmax(-1),
    "softmax of a type": lambda a, b: torch.softmax(a, -1, dtype=torch.float16),
    "logsumexp": lambda a, b: a.logsumexp(-1), "layer_norm": lambda a, b: F.layer_norm(a, (4,)),
    "norm": lambda a, b: a.norm(dim=-1), "vector_norm": lambda a, b: torch.linalg.vector_norm(a),
    "normalize": lambda a, b: F.normalize(a, dim=-1), "sum": lambda a, b: a.sum(),
    "cumsum": lambda a, b: a.cumsum(-1),
    "cross_entropy": lambda a, b: F.cross_entropy(a, b.softmax(-1)), "softplus": lambda a, b: F.softplus(a),
    "binary_cross_entropy": F.binary_cross_entropy_with_logits, "mean": lambda a, b: a.mean(),
    "gelu": lambda a, b: F.gelu(a),
    "add": torch.add, "mul": torch.mul, "addcmul": lambda a, b: torch.addcmul(a, a, b),
    "cat": lambda a, b: torch.cat([a, b]), "stack": lambda a, b: torch.stack([a, b]),
    "where": lambda a, b: torch.where(a > b, a, b),
    "scatter_add": lambda a, b: a.scatter_add(0, (a > 0).long(), b), "sigmoid": lambda a, b: a.sigmoid(),
    "index_put": lambda a, b: a.index_put(((a[0] > 9).long(),), b[0]),
}  # fmt: skip


def outcome(operation: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> object:
    try:
        return operation(a, b).dtype
    except RuntimeError:
        return "refused"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_autocast_is_that_of_torch(dtype: torch.dtype) -> None:
    """Every operation gives the type that torch's own rules for CUDA give, of every pair of types.

    Some softmaxes of theirs have a kernel on a GPU only.
    """
    wide = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    pairs = [(a, b) for a in (wide, wide.to(dtype), wide.double()) for b in (wide, wide.to(dtype))]

    def found(there: Callable[[Tensor], Tensor]) -> dict[str, list[object]]:
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", dtype)
        try:
            return {name: [outcome(run, there(a), there(b)) for a, b in pairs] for name, run in OPERATIONS.items()}
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.set_autocast_dtype("cuda", torch.float16)

    before = found(Genuine)
    with pretended_cuda():
        ours = found(OnDevice)
    differing = {
        name: (ours[name], types)
        for name, types in before.items()
        if any(own not in {its, "refused"} for own, its in zip(types, ours[name], strict=True))
    }
    assert differing == {}
    assert sum(type(own) is torch.dtype for types in before.values() for own in types) > 150
    assert found(Genuine) == before  # the rules are put back


def test_nothing_is_left_behind() -> None:
    names = ("is_available", "device_count", "graph", "Stream", "CUDAGraph", "synchronize")
    before = (
        [getattr(torch.cuda, name) for name in names],
        torch.Generator,
        vars(torch.autograd)["_engine_run_backward"],
    )
    with pytest.raises(ZeroDivisionError), pretended_cuda():
        assert torch.cuda.is_available()
        raise ZeroDivisionError
    after = [getattr(torch.cuda, name) for name in names], torch.Generator, vars(torch.autograd)["_engine_run_backward"]
    assert after == before
    assert not torch.cuda.is_available()
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(1, device="cuda")
    assert type(torch.zeros(1) + torch.ones(1)) is Tensor
