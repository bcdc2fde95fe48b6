"""The bert scheme: BertWordPieceTokenizer as the first Korean Reformers used it (cased, accents kept, `##`).

It drops whitespace and writes `[UNK]` for words with an unknown character; the lossless scheme does neither.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from korformer.text.lossless import PREFIX, SPECIAL_TOKENS


def normalizer() -> normalizers.Normalizer:
    """Control characters out, every whitespace a space, spaces around Chinese characters."""
    return normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False)


def make_tokenizer(pieces: list[str]) -> Tokenizer:
    """The tokenizer of a vocabulary.

    Args:
        pieces: special tokens and pieces in the order of their ids.
    """
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=PREFIX))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.encode_special_tokens = True
    return tokenizer
