import pytest

from korformer.errors import UsageError
from korformer.finetuning.settings import finetune_settings, optimizer_settings
from korformer.model.config import ModelConfig
from korformer.training.optimizer import learning_rate

SHAPE = ModelConfig(dim=32, depth=2, heads=2, max_seq_len=64, bucket_size=8)


def test_a_task_has_its_own_section_and_recipe() -> None:
    settings = finetune_settings("classify", {"classify": {"multi_label": True}})
    assert settings.task_settings.model_dump()["multi_label"] is True
    recipe = finetune_settings("lm", {}).training
    assert recipe.patience is not None
    assert finetune_settings("lm", {"training": {"patience": 7}}).training.patience == 7


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        finetune_settings("classify", {"classify": {"multi": 1}, "training": {"epoch": 2, "learning_rate": -1}})
    for words in ("classify.multi", "did you mean training.epochs", "training.learning_rate"):
        assert words in str(raised.value)
    with pytest.raises(UsageError, match="unknown task"):
        finetune_settings("classfy", {})


def test_a_checkpoint_gives_the_shape_and_takes_no_other() -> None:
    settings = finetune_settings("classify", {"model": {"ff_dropout": 0.1}}, base="there", shape=SHAPE)
    assert settings.model.model_dump() == {**SHAPE.model_dump(), "ff_dropout": 0.1}
    with pytest.raises(UsageError, match=r"model.depth is 2 there"):
        finetune_settings("classify", {"model": {"depth": 3}}, base="there", shape=SHAPE)
    assert finetune_settings("classify", {"model": {"depth": 3}}, shape=SHAPE).model.depth == 3


def test_the_recipe_is_berts() -> None:
    recipe = optimizer_settings(finetune_settings("classify", {}).training, 100, 3e-4)
    assert (recipe.epsilon, recipe.weight_decay, recipe.clip, recipe.beta2) == (1e-6, 0.01, 1.0, 0.999)
    assert recipe.learning_rate == 3e-4
    rates = [learning_rate(step, recipe) / recipe.learning_rate for step in (1, 10, 55, 100)]
    assert rates == pytest.approx([0.1, 1.0, 0.5, 0.0])
