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
    decayed, others = make_optimizer(made.lm, TrainingSettings()).param_groups
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
    trapezoid = settings.model_copy(update={"schedule": "trapezoid", "fall_share": 0.4})
    rates = [learning_rate(step, trapezoid) for step in range(1, 101)]
    assert rates[9:60] == [1.0] * 51
    assert rates[79] == pytest.approx(0.55)
    assert rates[99] == pytest.approx(0.1)
    constant = settings.model_copy(update={"schedule": "constant", "warmup_steps": 0})
    assert {learning_rate(step, constant) for step in (1, 50, 100)} == {1.0}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    settings = TrainingSettings.model_validate({"optimizer": name})

    def step(made: ReformerModel, optimizer: torch.optim.Optimizer, seed: int) -> None:
        tokens = torch.randint(5, 20, (1, 32), generator=torch.Generator().manual_seed(seed))
        made.loss(made(tokens), tokens.roll(-1, 1))[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    one = model()
    optimizer = make_optimizer(one.lm, settings)
    step(one, optimizer, 0)
    other = model()
    other.load_state_dict(one.state_dict())
    resumed = make_optimizer(other.lm, settings)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(one.lm, optimizer).items()}
    restore_optimizer(other.lm, resumed, saved)
    step(one, optimizer, 1)
    step(other, resumed, 1)
    for a, b in zip(one.lm.parameters(), other.lm.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_are_adamw_by_its_formula() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, in float64; decay is that of a matrix, a bias has none."""
    settings = TrainingSettings(learning_rate=0.01, weight_decay=0.3, beta1=0.8, beta2=0.9, epsilon=1e-6)
    module = torch.nn.Linear(3, 2)
    expected = {name: parameter.detach().double() for name, parameter in module.named_parameters()}
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in expected.items()}
    optimizer = make_optimizer(module, settings)
    generator = torch.Generator().manual_seed(0)
    for step, rate in enumerate((0.01, 0.02, 0.005), start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, parameter in module.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            gradient, (mean, square) = parameter.grad.double(), moments[name]
            mean.mul_(0.8).add_(0.2 * gradient)
            square.mul_(0.9).add_(0.1 * gradient**2)
            update = (mean / (1 - 0.8**step)) / ((square / (1 - 0.9**step)).sqrt() + 1e-6)
            decay = 0.3 if name == "weight" else 0.0
            expected[name] = expected[name] - rate * decay * expected[name] - rate * update
        optimizer.step()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[name], rtol=1e-6, atol=1e-7)


def test_a_parameter_that_never_took_part_has_no_state_and_comes_back_without() -> None:
    """As where layer dropout left a layer out of every step so far."""
    module = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "unused": torch.nn.Linear(2, 2)})
    optimizer = make_optimizer(module, TrainingSettings())
    for parameter in module["used"].parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = optimizer_tensors(module, optimizer)
    assert {name.split(".")[1] for name in saved} == {"used"}
    resumed = make_optimizer(module, TrainingSettings())
    restore_optimizer(module, resumed, saved)
    assert optimizer_tensors(module, resumed).keys() == saved.keys()


def test_a_step_counts_as_a_change_of_the_weights() -> None:
    """What incremental decoding prepares from the weights is made anew, so samples are those of the newest ones."""
    made = model()
    optimizer = make_optimizer(made.lm, TrainingSettings(learning_rate=0.1))
    tokens = torch.arange(5, 17)[None]
    for _ in range(2):
        made.loss(made(tokens), tokens.roll(-1, 1))[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state = made.new_state()
        scores = [state.append([int(token)]) for token in tokens[0]][-1]
        torch.testing.assert_close(scores, made.logits(made(tokens))[0, -1].detach(), rtol=1e-4, atol=1e-4)


def test_muon_steps_the_matrices_of_the_layers_along_an_orthogonal_momentum() -> None:
    """Jordan et al. 2024: with a first gradient of rank one the step is that rank-one matrix at its own scale."""
    made = model()
    settings = TrainingSettings(optimizer="muon", learning_rate=0.1, weight_decay=0.0)
    optimizer = make_optimizer(made, settings)
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = 0
    for name, parameter in made.named_parameters():
        change = parameter.detach() - before[name]
        if name.endswith(("toqk.weight", "tov.weight", "to_out.weight", "w1.weight", "w2.weight")):
            rows, columns = parameter.shape
            direction = torch.full_like(parameter, (rows * columns) ** -0.5)
            size = 0.1 * 0.2 * max(rows, columns) ** 0.5
            factor = float(-(change * direction).sum() / size)
            assert 0.6 < factor < 1.3, name  # the iteration leaves singular values near one
            torch.testing.assert_close(change, -factor * size * direction, rtol=0.02, atol=1e-4)
            moved += 1
        else:
            torch.testing.assert_close(change, torch.full_like(change, -0.1), rtol=1e-3, atol=1e-5)
    assert moved == 5


def test_one_learning_rate_serves_both_parts_of_muon() -> None:
    made = model()
    optimizer = make_optimizer(made, TrainingSettings(optimizer="muon"))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.detach().clone() for parameter in made.parameters()]
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter, was in zip(made.parameters(), before, strict=True):
        assert torch.equal(parameter, was)


def test_names_of_what_muon_keeps_are_saved() -> None:
    made = model()
    optimizer = make_optimizer(made, TrainingSettings(optimizer="muon"))
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = optimizer_tensors(made, optimizer)
    matrices = {name for name in saved if name.startswith("momentum_buffer.")}
    assert len(matrices) == 5
    assert not any(f"exp_avg.{name.removeprefix('momentum_buffer.')}" in saved for name in matrices)
