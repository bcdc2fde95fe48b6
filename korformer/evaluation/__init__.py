"""Measuring: perplexity, bits per character, and what a model does with its context."""

from korformer.evaluation.language_model import LmSettings, evaluate_lm, validate
from korformer.evaluation.result import LmResult

__all__ = ["LmResult", "LmSettings", "evaluate_lm", "validate"]
