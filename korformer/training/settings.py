"""The settings of a training run, and how command line, file and preset make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from korformer.config import Settings, build, merge
from korformer.model.config import ModelConfig
from korformer.objectives import objective_named
from korformer.training.lengths import length_problems
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
    warmup_lengths: tuple[Annotated[int, Field(ge=16)], ...] = ()
    """Shorter sequences to begin with, such as [512, 1024, 2560]; a step has as many tokens as later."""
    length_warmup: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the steps that has them, each length an equal part of it."""
    valid_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the documents to hold out and validate on where no held-out text is given. Copies of a text are on the
    same side."""
    weights: dict[str, Positive] = Field(default_factory=dict)
    """What share of the sequences each corpus has, by its name, in any unit; as many tokens as it has where none is
    given. Names are given to files as --corpus NAME=FILE."""


class TrainingSettings(Settings):
    """How the model is trained."""

    steps: Count = 1000
    """Optimizer steps of the whole run."""
    batch_size: Count = 4
    """Sequences of a forward pass."""
    accumulate: Count = 1
    """Forward passes of an optimizer step."""
    micro_batch: Count | Literal["auto"] = "auto"
    """Sequences that are in memory at a time. auto: batch_size where that fits into the free memory, else the largest
    part of it that does, with more passes a step. The result is the same but for rounding."""
    learning_rate: Positive = 1e-3
    """Highest learning rate."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Learning rate of the last step as a share of the highest."""
    schedule: Literal["cosine", "linear", "constant", "trapezoid"] = "cosine"
    """Shape of the learning rate after warm-up. trapezoid: constant until it falls in a line at the end, so that steps
    can be added or taken away on the way."""
    fall_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps over which a trapezoid falls."""
    warmup_steps: CountOrNone = 100
    """Steps over which the learning rate rises from zero."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """What steps. muon: orthogonal momentum for the matrices of the layers, AdamW for everything else; it takes the
    same learning rate and decay."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decay on matrices; biases, norms and embeddings have none."""
    beta1: Share = 0.9
    """AdamW's decay of the mean gradient."""
    beta2: Share = 0.95
    """AdamW's decay of the mean squared gradient."""
    momentum: Share = 0.95
    """Muon's decay of the mean gradient."""
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
    """Arithmetic of the matrix products; auto takes bf16 on a GPU of compute capability 8.0 and up and on a CPU with
    instructions for it, fp16 with loss scaling on an older GPU, else fp32. Weights and residual streams are always
    fp32."""
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
        problems = []
        if self.pack_tokens > self.model.max_seq_len:
            problems.append(
                f"data.pack_tokens = {self.pack_tokens} is longer than the model's window; "
                f"at most model.max_seq_len = {self.model.max_seq_len}"
            )
        sequences = self.training.batch_size * self.training.accumulate
        problems += length_problems(self.data.warmup_lengths, pack_tokens=self.pack_tokens, step_sequences=sequences)
        if hasattr(self, self.objective):
            problems += objective_named(self.objective).problems(
                self.model, self.objective_settings, pack_tokens=self.pack_tokens
            )
        if problems:
            raise ValueError("; ".join(problems))
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
    chosen = objective_named(objective)
    with_objective: type[RunSettings] = create_model(
        "RunSettings",
        __base__=RunSettings,
        objective=(str, Field(objective, description=RunSettings.model_fields["objective"].description)),
        model=(
            ModelConfig,
            Field(ModelConfig(**chosen.model_defaults), description=RunSettings.model_fields["model"].description),
        ),
        **{objective: (chosen.settings, chosen.settings())},  # type: ignore[call-overload]
    )
    if isinstance(values.get("model", {}), Mapping):
        values = merge({"model": chosen.model_defaults}, values)
    return build(with_objective, {**values, "objective": objective})
