"""The settings of a fine-tuning run: those of the checkpoint it begins with, of the task, and those given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, create_model

from korformer import tasks
from korformer.config import Settings, build, merge
from korformer.errors import UsageError
from korformer.model.config import ModelConfig
from korformer.supervised.settings import ExampleSettings, LearningSettings
from korformer.training.settings import TrainingSettings

MAY_DIFFER = frozenset({"ff_dropout", "post_attn_dropout", "layer_dropout", "n_hashes", "rehash"})
"""Keys of the model that may be otherwise than in the checkpoint: its weights keep their meaning."""


class FinetuneSettings(Settings):
    """A fine-tuning run: its task and the sections of its configuration."""

    task: str = ""
    """What is learnt."""
    base: str = ""
    """The checkpoint whose weights it begins with; empty for new weights."""
    model: ModelConfig = ModelConfig()
    """The model's shape."""
    data: ExampleSettings = ExampleSettings()
    """Which examples are used."""
    training: LearningSettings = LearningSettings()
    """How the model is fine-tuned."""

    @property
    def task_settings(self) -> Settings:
        """The section named after the task."""
        section: Settings = getattr(self, self.task)
        return section


def finetune_settings(
    task: str, values: Mapping[str, Any], *, base: str = "", shape: ModelConfig | None = None
) -> FinetuneSettings:
    """Check the values of every section, with one more section named after the task for its own settings.

    Args:
        task: which.
        values: given ones, by section; they go over the task's recipe.
        base: the checkpoint whose weights it begins with, as the person named it; empty for new ones.
        shape: of a checkpoint; None for a shape out of `values` and defaults.

    Raises:
        UsageError: an unknown task; unknown keys and illegal values, all in one message; a shape that the checkpoint's
            weights do not have.
    """
    chosen = tasks.trainable(task)
    given = values.get("model", {})
    sections: Mapping[str, Any] = merge(chosen.recipe, values)
    if shape is not None and isinstance(given, Mapping):
        sections = merge({"model": shape.model_dump(mode="json")}, sections)
    kind: type[FinetuneSettings] = create_model(
        "FinetuneSettings",
        __base__=FinetuneSettings,
        **{task: (chosen.settings, Field(chosen.settings(), description=chosen.summary))},  # type: ignore[call-overload]
    )
    settings = build(kind, {**sections, "task": task, "base": base})
    if base and shape is not None:
        now, was = settings.model.model_dump(), shape.model_dump()
        other = [f"model.{key} is {was[key]!r} there" for key in now if now[key] != was[key] and key not in MAY_DIFFER]
        if other:
            raise UsageError(
                f"the weights of {base} have another shape: {'; '.join(other)}",
                where="--set",
                hint="Leave these out, or begin with new weights: --scratch.",
            )
    return settings


def optimizer_settings(settings: LearningSettings, steps: int, highest_rate: float) -> TrainingSettings:
    """What the optimizer and the learning rate of a run of so many steps need, with the highest learning rate that the
    settings have or, where they have none, the one that was found for the weights.
    """
    return TrainingSettings(
        steps=steps,
        learning_rate=highest_rate,
        final_share=settings.final_share,
        schedule=settings.schedule,
        warmup_steps=round(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        beta1=settings.beta1,
        beta2=settings.beta2,
        epsilon=settings.epsilon,
        clip=settings.clip,
        seed=settings.seed,
    )
