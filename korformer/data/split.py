"""Which documents of a corpus are held out to validate on.

A document is held out by a hash of its text alone. So copies of a text fall on the same side, a document stays on its
side when the corpus grows or is put in another order, and what was held out with a small share is held out with a
larger one too.
"""

from __future__ import annotations

import hashlib


def is_held_out(text: str, share: float) -> bool:
    """Whether a text belongs to the share that is held out.

    Args:
        text: the document, NFC.
        share: of all documents, 0 to 1.
    """
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=b"korformer held-out text").digest()
    return int.from_bytes(digest, "little") < share * 2**64
