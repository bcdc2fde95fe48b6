import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from korformer.training.settings import TrainingSettings


def model() -> ReformerModel:
    made = ReformerModel(ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8), 20)
    made.initialise(0)
    return made


def test_no_decay_on_bias_norm_and_embedding() -> None:
    made = model()
    decayed, others = make_optimizer(made, TrainingSettings()).param_groups
    names = {id(p): name for name, p in made.lm.named_parameters()}
    assert {names[id(p)].rsplit(".", 2)[-2] for p in decayed["params"]} == {"toqk", "tov", "to_out", "w1", "w2"}
    assert all(names[id(p)].endswith("weight") for p in decayed["params"])
    assert decayed["weight_decay"] == TrainingSettings().weight_decay
    assert others["weight_decay"] == 0
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_schedules() -> None:
    settings = TrainingSettings(steps=100, warmup_steps=10, learning_rate=1.0, final_share=0.1)
    rates = [learning_rate(step, settings) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[54] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    linear = settings.model_copy(update={"schedule": "linear"})
    assert learning_rate(55, linear) == pytest.approx(0.55)
    assert learning_rate(100, linear) == pytest.approx(0.1)
    constant = settings.model_copy(update={"schedule": "constant", "warmup_steps": 0})
    assert {learning_rate(step, constant) for step in (1, 50, 100)} == {1.0}


def test_a_restored_optimizer_goes_on_bit_for_bit() -> None:
    def step(made: ReformerModel, optimizer: torch.optim.AdamW, seed: int) -> None:
        tokens = torch.randint(5, 20, (1, 32), generator=torch.Generator().manual_seed(seed))
        made.loss(made(tokens), tokens.roll(-1, 1))[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    one = model()
    optimizer = make_optimizer(one, TrainingSettings())
    step(one, optimizer, 0)
    other = model()
    other.load_state_dict(one.state_dict())
    resumed = make_optimizer(other, TrainingSettings())
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(one, optimizer).items()}
    restore_optimizer(other, resumed, saved)
    step(one, optimizer, 1)
    step(other, resumed, 1)
    for a, b in zip(one.lm.parameters(), other.lm.parameters(), strict=True):
        assert torch.equal(a, b)
