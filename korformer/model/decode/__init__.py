"""Incremental decoding: one token after another at a cost that does not grow with the context."""

from korformer.model.decode.matrices import PRECISIONS, Precision
from korformer.model.decode.scoring import StepwiseModel
from korformer.model.decode.state import Decoder, DecodeState

__all__ = ["PRECISIONS", "DecodeState", "Decoder", "Precision", "StepwiseModel"]
