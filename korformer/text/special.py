"""The special tokens: the same five, with the same ids, in every vocabulary."""

from __future__ import annotations

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""In the order of their ids."""

PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(5)
