import pytest
import torch
from model_variants import make

from korformer.errors import InputError
from korformer.model.decode import DecodeState

TOKENS = list(range(5, 45))


def snapshot() -> dict[str, torch.Tensor]:
    state = make("mixed heads, axial").new_state()
    state.append(TOKENS)
    return state.snapshot()


def test_another_model_refuses_it() -> None:
    with pytest.raises(InputError, match="not of this model"):
        DecodeState.restore(make("hashed heads, rotary"), snapshot())


def test_the_same_shape_with_other_weights_refuses_it() -> None:
    model = make("mixed heads, axial")
    with torch.no_grad():
        model.lm.token_emb.weight.mul_(1.5)
    with pytest.raises(InputError, match="not of this model"):
        DecodeState.restore(model, snapshot())


def changed(name: str, tensor: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = snapshot()
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    return tensors


DAMAGED = {
    "no fingerprint": ("fingerprint", None),
    "no tokens": ("tokens", None),
    "tokens of another type": ("tokens", torch.zeros(3)),
    "a token that does not exist": ("tokens", torch.full((40,), 60)),
    "more tokens than keys": ("tokens", torch.full((41,), 6)),
    "more tokens than the window": ("tokens", torch.full((257,), 6)),
    "no keys": ("keys_values.1", None),
    "keys of another shape": ("keys_values.1", torch.zeros(40, 4, 8)),
    "no buckets": ("buckets.2", None),
    "a bucket that does not exist": ("buckets.2", torch.full((40, 8), 32, dtype=torch.int16)),
    "a negative bucket": ("buckets.2", torch.full((40, 8), -1, dtype=torch.int16)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_refused(damage: str) -> None:
    with pytest.raises(InputError, match="snapshot"):
        DecodeState.restore(make("mixed heads, axial"), changed(*DAMAGED[damage]))
