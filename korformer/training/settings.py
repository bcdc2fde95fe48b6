"""The settings of a training run, and how command line, file and preset make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from korformer.config import Settings, build
from korformer.model.config import ModelConfig
from korformer.objectives import objective_named
from korformer.training.memory import Reversible

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class DataSettings(Settings):
    """How text becomes training sequences."""

    pack_tokens: Count | None = None
    """Tokens of a training sequence; several documents share one. The model's window where it is not given."""
    shuffle: bool = True
    """Read the documents in a new order every epoch."""


class TrainingSettings(Settings):
    """How the model is trained."""

    steps: Count = 1000
    """Optimizer steps of the whole run."""
    batch_size: Count = 4
    """Sequences of a forward pass."""
    accumulate: Count = 1
    """Forward passes of an optimizer step."""
    learning_rate: Positive = 1e-3
    """Highest learning rate."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Learning rate of the last step as a share of the highest."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after warm-up."""
    warmup_steps: CountOrNone = 100
    """Steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decay of AdamW on matrices; biases, norms and embeddings have none."""
    beta1: Share = 0.9
    """AdamW's decay of the mean gradient."""
    beta2: Share = 0.95
    """AdamW's decay of the mean squared gradient."""
    epsilon: Positive = 1e-8
    """AdamW's guard against division by zero."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    save_every: Count = 200
    """Steps between saves; the last step and an interrupted one are always saved."""
    eval_every: Count = 200
    """Steps between looks at the validation text."""
    eval_tokens: Count = 50_000
    """Most tokens of one look."""
    sample_every: CountOrNone = 200
    """Steps between sample texts; 0 writes none."""
    sample_tokens: Count = 80
    """Tokens of a sample text."""
    sample_prompt: str = ""
    """What a sample text goes on from; nothing starts a new document."""
    keep: Count = 2
    """Saved steps that stay on disk."""
    seed: int = 0
    """Seed of everything: initial weights, order of documents, hash rotations."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the matrix products; auto takes bf16 on a GPU of compute capability 8.0 and up, fp16 with loss
    scaling on an older one, fp32 on a CPU. Weights and residual streams are always fp32."""
    reversible: Reversible = "auto"
    """Compute layers a second time in backward instead of keeping their activations: memory does not grow with depth,
    a step takes about a third longer. auto does it where the activations would not fit."""
    threads: Count | None = None
    """CPU threads; torch's own choice where it is not given."""


class RunSettings(Settings):
    """A whole run: its objective and the sections of its configuration."""

    objective: str = "ar"
    """What the model learns to do."""
    model: ModelConfig = ModelConfig()
    """The model's shape."""
    data: DataSettings = DataSettings()
    """How text becomes training sequences."""
    training: TrainingSettings = TrainingSettings()
    """How the model is trained."""

    @model_validator(mode="after")
    def _legal_together(self) -> Self:
        if self.pack_tokens > self.model.max_seq_len:
            raise ValueError(
                f"data.pack_tokens = {self.pack_tokens} is longer than the model's window; "
                f"at most model.max_seq_len = {self.model.max_seq_len}"
            )
        return self

    @property
    def pack_tokens(self) -> int:
        """Tokens of a training sequence."""
        return self.data.pack_tokens or self.model.max_seq_len

    @property
    def objective_settings(self) -> Settings:
        """The section named after the objective."""
        section: Settings = getattr(self, self.objective)
        return section


def run_settings(objective: str, values: Mapping[str, Any]) -> RunSettings:
    """Check the values of every section, with one more section named after the objective for its own settings.

    Raises:
        UsageError: an unknown objective; unknown keys and illegal values, all in one message.
    """
    section = objective_named(objective).settings
    with_objective: type[RunSettings] = create_model(
        "RunSettings",
        __base__=RunSettings,
        **{objective: (section, section())},  # type: ignore[call-overload]
    )
    return build(with_objective, {**values, "objective": objective})
