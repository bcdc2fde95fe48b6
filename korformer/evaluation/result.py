"""What measuring a language model gives."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from korformer.evaluation.context import ContextRow

COMPARABLE = "bits_per_character"
NOT_COMPARABLE = "bits_per_character_not_comparable"


@dataclass(frozen=True, kw_only=True)
class PositionRow:
    """Tokens at positions `first` to `last` of their document ([CLS] has 0), all with everything before them in view.

    Attributes:
        first: lowest position.
        last: highest position.
        tokens: how many were predicted there.
        documents: how many documents reach this far.
        bits_per_token: mean loss.
        bits_per_character: the same over the characters of these tokens; None where the vocabulary is not lossless.
    """

    first: int
    last: int
    tokens: int
    documents: int
    bits_per_token: float
    bits_per_character: float | None


@dataclass(frozen=True, kw_only=True)
class LmResult:
    """Figures of a language model on some text.

    Attributes:
        bits: -log2 of the probability of everything that was predicted.
        tokens: predicted tokens: all but the [CLS] of each document.
        characters: NFC code points of the texts.
        documents: documents that were measured.
        empty_documents: documents without text, left out.
        window: most tokens of context.
        not_comparable: why bits per character may not stand beside other models', or None where it may.
        standard_error: of bits per character, from how much documents differ; None with a single document.
        by_position: by position in the document, first windows only.
        by_context: the same late tokens with more and less context.
        seconds: what measuring took.
    """

    bits: float
    tokens: int
    characters: int
    documents: int
    empty_documents: int
    window: int
    not_comparable: str | None
    standard_error: float | None
    by_position: tuple[PositionRow, ...]
    by_context: tuple[ContextRow, ...]
    seconds: float

    @property
    def bits_per_character(self) -> float:
        """Whatever its label is."""
        return self.bits / self.characters if self.characters else math.nan

    @property
    def bits_per_token(self) -> float:
        """Mean over predicted tokens."""
        return self.bits / self.tokens

    @property
    def perplexity(self) -> float:
        """2 to the bits per token; infinite where that is more than a float holds."""
        return 2.0**self.bits_per_token if self.bits_per_token < 1024 else math.inf

    @property
    def label(self) -> str:
        """The name under which bits per character is told."""
        return COMPARABLE if self.not_comparable is None else NOT_COMPARABLE

    def metrics(self) -> dict[str, float]:
        """The figures by the names of `korformer eval --json`, numbers only."""
        return {
            self.label: self.bits_per_character,
            "perplexity": self.perplexity,
            "bits_per_token": self.bits_per_token,
            "tokens": self.tokens,
            "characters": self.characters,
            "examples": self.documents,
        }

    def as_json(self) -> dict[str, object]:
        """Everything, for a JSON object: no NaN and no infinity."""
        figures: dict[str, object] = {
            name: value if math.isfinite(value) else None for name, value in self.metrics().items()
        }
        if self.not_comparable is not None:
            figures["not_comparable_because"] = self.not_comparable
        figures |= {
            f"{self.label}_standard_error": self.standard_error,
            "empty_documents": self.empty_documents,
            "window": self.window,
            "seconds": round(self.seconds, 3),
            "by_position": [asdict(row) for row in self.by_position],
            "by_context": [asdict(row) for row in self.by_context],
        }
        return figures
