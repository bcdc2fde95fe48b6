from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.decode import DecodeState, layouts, weights
from korformer.model.decode.layouts import LAYOUTS, Layout
from korformer.model.products import fast_products, stays_fp32


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("inputs", [256, 1024, 2304])
@pytest.mark.parametrize("with_bias", [True, False])
def test_every_layout_gives_the_row_its_bits_among_others(layout: Layout, inputs: int, with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(inputs)
    weight, x = torch.randn(192, inputs, generator=generator), torch.randn(9, inputs, generator=generator)
    bias = torch.randn(192, generator=generator) if with_bias else None
    try:
        product = layouts.product(weight, bias, layout)
        product(x[:1])
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        assert layout.stored == "blocks"
        pytest.skip(f"this build of torch has no such layout: {error}")
    with torch.inference_mode(), fast_products():
        rows = torch.cat([product(row[None]) for row in x])
        torch.testing.assert_close(rows, F.linear(x, weight, bias), rtol=1e-4, atol=1e-3)
        if stays_fp32():
            whole = sum(
                F.linear(x[:, at : at + layouts.TERMS], weight[:, at : at + layouts.TERMS])
                for at in range(0, inputs, layouts.TERMS)
            )
            assert torch.equal(rows, whole if bias is None else whole + bias)


def test_the_fastest_is_one_of_them_and_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    with torch.inference_mode():
        assert layouts.fastest([torch.randn(64, 32) for _ in range(2)]) in LAYOUTS
    assert torch.get_num_threads() == before


def test_a_layout_with_other_bits_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = layouts._stored
    monkeypatch.setattr(
        layouts,
        "_stored",
        lambda weight, way: stored(weight, way) if way == "rows" else (lambda x: stored(weight, way)(x) * (1 + 2**-20)),
    )
    with torch.inference_mode(), fast_products():
        assert layouts.fastest([torch.randn(64, 32)]).stored == "rows"


@pytest.mark.skipif(not stays_fp32(), reason="products of this processor may not be fp32 throughout")
@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (32, 64), (256, 64)])
def test_a_small_matrix_has_its_bits_among_others_too(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(shape, generator=generator), torch.randn(64, shape[1], generator=generator)
    with torch.inference_mode(), fast_products():
        if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
            pytest.skip("this build of torch has one layout for a small matrix, whose bits are other ones")
        product = layouts.product(weight, None, layouts.fastest([weight]))
        assert torch.equal(torch.cat([product(row) for row in x.split(1)]), F.linear(x, weight))


def test_a_layout_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: object) -> None:
        raise RuntimeError("not in this build")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", missing)
    with torch.inference_mode(), fast_products():
        assert layouts.fastest([torch.randn(64, 32)]).stored != "blocks"


@pytest.mark.skipif(not stays_fp32(), reason="products of this processor may not be fp32 throughout")
def test_scores_do_not_depend_on_which_layout_was_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = []
    for stored in get_args(layouts.Stored):
        monkeypatch.setattr(weights, "fastest", lambda _, stored=stored: Layout(stored=stored))
        model = ReformerModel(ModelConfig(dim=128, depth=1, heads=2, max_seq_len=64, bucket_size=8), 600)
        model.initialise(1)
        try:
            scores.append(DecodeState(model).append([5, 6, 7, 8, 9]))
        except (AttributeError, NotImplementedError, RuntimeError) as error:
            assert stored == "blocks"
            pytest.skip(f"this build of torch has no such layout: {error}")
    assert all(torch.equal(one, scores[0]) for one in scores)
