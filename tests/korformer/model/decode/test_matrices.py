import pytest
import torch
import torch.nn.functional as F
from model_variants import VARIANTS, make

from korformer.model.decode import matrices
from korformer.model.decode.matrices import PRECISIONS, Precision, Threads, matrix, quantise

ROUNDING = {"fp32": 1e-6, "bf16": 2**-7, "int8": 0.02}
"""Largest error as a share of the largest output."""


def inputs(M: int, N: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(M + N)
    return (
        torch.randn(M, N, generator=generator),
        torch.randn(M, generator=generator),
        torch.randn(1, N, generator=generator),
    )


@pytest.mark.parametrize("shape", [(48, 32), (7, 6), (64, 200)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_product_is_near_the_exact_one(shape: tuple[int, int], with_bias: bool, precision: Precision) -> None:
    weight, bias, x = inputs(*shape)
    given = bias if with_bias else None
    with torch.inference_mode():
        y = matrix(weight, given, precision, Threads())(x)
    exact = F.linear(x, weight, given)
    assert y.dtype == torch.float32
    assert y.shape == exact.shape
    assert (y - exact).abs().max() <= ROUNDING[precision] * exact.abs().max()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_where_an_operation_is_missing_a_plainer_one_does_the_same(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, bias, x = inputs(48, 32)
    exact = F.linear(x, weight, bias)
    monkeypatch.setattr(matrices, "_has", lambda *_: False)
    monkeypatch.setattr(matrices, "_packed_by_fbgemm", _missing)
    with torch.inference_mode():
        for packed in (matrices._packed_for_bf16, _missing):
            monkeypatch.setattr(matrices, "_packed_for_bf16", packed)
            y = matrix(weight, bias, precision, Threads())(x)
            assert (y - exact).abs().max() <= ROUNDING[precision] * exact.abs().max()


def _missing(*_: object) -> matrices.Product:
    raise NotImplementedError


def test_rows_are_quantised_each_by_its_largest() -> None:
    weight = torch.tensor([[1.0, -2.54, 0.0], [0.0, 0.0, 0.0], [1e-3, 5e-4, -1e-3]])
    values, scale = quantise(weight)
    assert values.tolist() == [[50, -127, 0], [0, 0, 0], [127, 64, -127]]
    assert torch.allclose(values * scale[:, None], weight, atol=float(scale.max()) / 2)


def test_a_large_matrix_uses_all_threads_and_a_step_one(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(matrices, "SHARED_BYTES", 1000)
    monkeypatch.setattr(
        matrices, "_full", lambda w, b: (lambda x: heard.append(torch.get_num_threads()) or x, w.numel())
    )
    threads = Threads()
    large, small = (matrix(torch.zeros(n, 10), None, "fp32", threads) for n in (100, 99))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads.stepping():
            large(torch.zeros(1, 10))
            small(torch.zeros(1, 10))
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert heard == [2, 1]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_in_another_precision_says_about_the_same(variant: str, precision: Precision) -> None:
    model = make(variant)
    with torch.no_grad():
        for parameter in model.lm.parameters():
            if parameter.dim() > 1:
                parameter.div_(3)
    exact, rounded = model.new_state(), model.new_state(precision)
    for token in range(5, 40):
        expected, logits = exact.append([token]), rounded.append([token])
    difference = F.kl_div(logits.log_softmax(0), expected.log_softmax(0), reduction="sum", log_target=True)
    assert not torch.equal(logits, expected)
    assert abs(float(difference)) < 0.02
    assert logits.dtype == torch.float32


def test_changed_weights_are_prepared_anew() -> None:
    model = make("mixed heads, axial")
    before = model.new_state().append([5, 6, 7])
    assert torch.equal(model.new_state().append([5, 6, 7]), before)
    with torch.no_grad():
        model.lm.reformer.layers.blocks[0].f.net.fn.toqk.weight.mul_(-1.0)
        model.lm.reformer.layers.blocks[0].f.net.fn.tov.weight.mul_(2.0)
    state = model.new_state()
    for token in (5, 6, 7):
        after = state.append([token])
    assert not torch.allclose(after, before, atol=1e-3)
    assert torch.allclose(after, model.new_state().append([5, 6, 7]), atol=1e-5)


def test_reading_and_writing_leave_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "SHARED_BYTES", 1000)
    model = make("mixed heads, axial")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = model.new_state()
        for tokens in ([5, 6, 7], [8], [9]):
            state.append(tokens)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
