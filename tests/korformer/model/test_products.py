import pytest
import torch

from korformer.model import products


def precision() -> str:
    value: str = torch.backends.mkldnn.matmul.fp32_precision
    return value


needs_switch = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN to switch to"
)


@needs_switch
def test_products_stay_fp32_and_the_switch_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "stays_fp32", lambda: True)
    before = precision()
    with pytest.raises(RuntimeError, match="inside"), products.fast_products():
        assert precision() == "bf16"
        raise RuntimeError("inside")
    assert precision() == before


@needs_switch
def test_among_fast_products_some_can_be_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "stays_fp32", lambda: True)
    with products.fast_products():
        with products.usual_products():
            assert precision() == "none"
        assert precision() == "bf16"


@needs_switch
def test_what_is_tried_is_the_error_of_a_product() -> None:
    a, b = torch.randn(300, 700), torch.randn(700, 200)
    exact = a.double() @ b.double()
    with products.fast_products():
        error = ((a @ b).double() - exact).abs().max() / exact.abs().max()
    assert error < 1e-5  # on a processor that would round to bfloat16 the switch stays off, and this holds too


def test_a_processor_that_would_round_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "stays_fp32", lambda: False)
    before = precision()
    with products.fast_products():
        assert precision() == before


def test_rounding_to_bfloat16_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    products.stays_fp32.cache_clear()
    bmm = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: bmm(a.bfloat16(), b.bfloat16()).float())
    assert not products.stays_fp32()
    monkeypatch.undo()
    products.stays_fp32.cache_clear()
