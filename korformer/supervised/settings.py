"""The settings of fine-tuning that every task has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from korformer.config import Settings

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


SHORTEST_WINDOW = 16
"""Fewest tokens of a window, special ones included, in which every task has room for a text."""


class ExampleSettings(Settings):
    """Which examples are used, and how much of a text the model reads at once."""

    max_train: Count | None = None
    """Most training examples; a random choice that is the same for every seed. All where it is not given."""
    max_valid: Count | None = None
    """Most examples to validate on, chosen in the same way."""
    max_tokens: Annotated[int, Field(ge=SHORTEST_WINDOW)] | None = None
    """Most tokens that the model reads at once, special ones included; its own window where it is not given."""


class LearningSettings(Settings):
    """How a model is fine-tuned; the defaults are the recipe of BERT but for the learning rate."""

    epochs: Positive = 3.0
    """Times that the training examples are seen."""
    steps: Count | None = None
    """Optimizer steps; where it is given, epochs do not count."""
    budget_tokens: Count | None = None
    """Tokens to train on, padding apart; the last step is the one that reaches it, if epochs or steps do not end the
    run before."""
    batch_size: Count = 32
    """Windows of an optimizer step."""
    batch_tokens: Count | None = None
    """Tokens of an optimizer step at most; a step of long windows has fewer of them."""
    pass_tokens: Count = 8192
    """Tokens of a forward pass; a step of more has several. The result is the same but for rounding."""
    learning_rate: Positive | None = None
    """Highest learning rate; where it is not given, one that suits the weights the run begins with: the larger their
    embedding, the higher (docs/finetuning.md)."""
    warmup_share: Share = 0.1
    """Share of the steps over which the learning rate rises from zero; then it falls."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Learning rate of the last step as a share of the highest."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Shape of the learning rate after warm-up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decay on matrices; biases, norms and embeddings have none."""
    beta1: Share = 0.9
    """AdamW's decay of the mean gradient."""
    beta2: Share = 0.999
    """AdamW's decay of the mean squared gradient."""
    epsilon: Positive = 1e-6
    """AdamW's guard against division by zero."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    eval_every: Count | None = None
    """Steps between validations; an epoch where it is not given. The last step always has one."""
    patience: Count | None = None
    """Validations without a better figure after which the run ends early."""
    lm_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a language model's loss on the same texts beside the task's (GPT used 0.5): of next tokens for a
    decoder, of hidden ones, in a second pass, for an encoder."""
    frozen: bool = False
    """Train what stands on the encoder and leave the encoder as it is."""
    layer_mix: bool = False
    """Read a learnt mix of all layers instead of the last (ELMo); needs frozen = true."""
    seed: int = 0
    """Seed of new weights, the order of examples and hash rotations."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes the GPU where there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the matrix products, as in pretraining."""
    reversible: Literal["auto", "always", "never"] = "auto"
    """Compute layers a second time in backward instead of keeping their activations."""
    threads: Count | None = None
    """CPU threads; torch's own choice where it is not given."""
