"""What is wrong with a corpus, found before a run is spent on it.

Everything is read from the token stores, as a stream of a few seconds for 100 MB of text and in memory that hangs on
the longest document alone:

    texts that are in the held-out text too: whole documents, and passages of 32 tokens
    [UNK], text that is hardly Korean, giant and almost empty documents, lines that come again and again

Held-out passages and the lines of a corpus are sampled by their hash where there are many. What was found is kept in
the cache beside the stores and looked up when the same stores come again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from korformer.data.passages import (
    PASSAGE_TOKENS,
    Found,
    Lines,
    document_hashes,
    passage_documents,
    passage_hashes,
    texts,
)
from korformer.data.token_store import TokenStore
from korformer.errors import InputError, KorformerError
from korformer.events import Listener, Notice, Progress, ignore
from korformer.storage import read_json, write_json

_VERSION = 2
GIANT_TOKENS = 1 << 20
TINY_TOKENS = 10
"""[CLS] and [SEP] included."""

MOST_UNKNOWN = 0.001
LEAST_HANGUL = 0.5
MOST_TINY = 0.2
MOST_REPEATED = 0.1
MOST_SHARED_PASSAGES = 0.01


class TokenTexts(Protocol):
    """What is needed of a vocabulary here."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    @property
    def scheme(self) -> str:
        """`lossless` or `bert`."""

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token adds to the text."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """What one store is like.

    Attributes:
        documents, tokens, unknown_tokens: counts.
        longest_tokens: of the longest document.
        giant_documents, tiny_documents: longer than GIANT_TOKENS, shorter than TINY_TOKENS.
        letters, hangul_letters: letters of any script, and those of Hangul; characters.
        line_tokens, repeated_tokens: of lines of eight tokens and more, and of their second and later times (of all
            lines, or of a sample of them).
        commonest_line, commonest_count: which of them comes most often, and how often.
    """

    documents: int
    tokens: int
    unknown_tokens: int
    longest_tokens: int
    giant_documents: int
    tiny_documents: int
    letters: int
    hangul_letters: int
    line_tokens: int
    repeated_tokens: int
    commonest_line: str
    commonest_count: int


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How much of a held-out text is in a training text.

    Attributes:
        documents, shared_documents: of the held-out text, and those of them that are in the training text whole.
        passages, shared_passages: of the held-out text (all, or a sample), and those that are in the training text.
        touched_documents: held-out documents that have such passages.
        most_shared: how the one that has most of them begins.
    """

    documents: int
    shared_documents: int
    passages: int
    shared_passages: int
    touched_documents: int
    most_shared: str


def check_data(
    corpora: Mapping[str, TokenStore],
    valid: TokenStore | None,
    vocabulary: TokenTexts,
    *,
    cache: Path | None = None,
    strict: bool = False,
    listen: Listener = ignore,
) -> list[str]:
    """Tell every problem of the data of a run, each as a warning.

    Args:
        corpora: the training text by name; the name of a single one may be "".
        valid: the held-out text.
        vocabulary: of all of them.
        cache: folder where findings are kept.
        strict: stop where there is a problem.
        listen: hears a Notice for each problem, and Progress (stage "checking the data", tokens).

    Returns:
        The problems.

    Raises:
        InputError: `strict`, and there are problems; all of them are in the message.
    """
    problems = []
    for name, store in corpora.items():
        where = f"{name}: " if name else ""
        facts = _kept(CorpusFacts, cache, (store,), lambda store=store: corpus_facts(store, vocabulary, listen))
        problems += [where + problem for problem in corpus_problems(facts)]
        if valid is not None:
            shared = _kept(
                Overlap, cache, (store, valid), lambda store=store: overlap(store, valid, vocabulary, listen)
            )
            problems += [where + problem for problem in overlap_problems(shared)]
    if strict and problems:
        raise InputError("; ".join(problems), where="the data", hint="Mend the corpus, or train without --strict.")
    for problem in problems:
        listen(Notice(text=problem, level="warning"))
    return problems


def corpus_problems(facts: CorpusFacts) -> list[str]:
    """What is wrong with a store, a sentence each."""
    problems = []
    if facts.unknown_tokens > MOST_UNKNOWN * facts.tokens:
        problems.append(
            f"{facts.unknown_tokens / facts.tokens:.2%} of the tokens are [UNK]; a lossless vocabulary has none"
        )
    if facts.hangul_letters < LEAST_HANGUL * facts.letters:
        problems.append(f"only {facts.hangul_letters / facts.letters:.0%} of the letters are Hangul")
    if facts.giant_documents:
        problems.append(
            f"{facts.giant_documents:,} of {facts.documents:,} documents {_are(facts.giant_documents)} giant, the "
            f"longest has {facts.longest_tokens:,} tokens; blank lines between documents may be missing"
        )
    if facts.tiny_documents > MOST_TINY * facts.documents:
        problems.append(
            f"{facts.tiny_documents / facts.documents:.0%} of the documents are almost empty (fewer than "
            f"{TINY_TOKENS} tokens); blank lines inside documents may part them"
        )
    if facts.repeated_tokens > MOST_REPEATED * facts.line_tokens:
        problems.append(
            f"{facts.repeated_tokens / facts.line_tokens:.0%} of the text is lines that came before, such as "
            f"{facts.commonest_line!r} ({facts.commonest_count:,} times)"
        )
    return problems


def overlap_problems(shared: Overlap) -> list[str]:
    """What is wrong with a pair of training and held-out text, a sentence each."""
    problems = []
    if shared.shared_documents:
        problems.append(
            f"{shared.shared_documents:,} of the {shared.documents:,} held-out documents "
            f"{_are(shared.shared_documents)} in the training text; figures on them will flatter the model"
        )
    if shared.shared_passages > MOST_SHARED_PASSAGES * shared.passages:
        share = shared.shared_passages / shared.passages
        problems.append(
            f"{share:.1%} of the held-out passages of {PASSAGE_TOKENS} tokens are in the training text, in "
            f"{shared.touched_documents:,} of {shared.documents:,} documents; most of them in {shared.most_shared!r}"
        )
    return problems


def corpus_facts(store: TokenStore, vocabulary: TokenTexts, listen: Listener = ignore) -> CorpusFacts:
    """Look through a store once."""
    pieces = [vocabulary.token_bytes(token) for token in range(vocabulary.size)]
    letters_V, hangul_V = (np.array(column, np.int64) for column in zip(*map(_letters, pieces), strict=True))
    breaks_V = np.array([b"\n" in piece for piece in pieces])
    counts_V = np.zeros(vocabulary.size, np.int64)
    lines = Lines(breaks_V)
    longest = giant = tiny = 0
    for block in texts(store, _progress(store, listen)):
        counts_V += np.bincount(block.tokens, minlength=vocabulary.size)
        lengths = block.ends - block.begins
        longest = max(longest, int(lengths.max()))
        giant += int((lengths > GIANT_TOKENS).sum())
        tiny += int((lengths < TINY_TOKENS).sum())
        if breaks_V.any():
            lines.add(block)
    repeats = lines.result()
    place, length = repeats.commonest
    ids = store.read(np.array([place]), np.array([place + length])).tolist() if length else []
    return CorpusFacts(
        documents=store.documents,
        tokens=store.tokens,
        unknown_tokens=store.unknown_tokens,
        longest_tokens=longest,
        giant_documents=giant,
        tiny_documents=tiny,
        letters=int(counts_V @ letters_V),
        hangul_letters=int(counts_V @ hangul_V),
        line_tokens=repeats.tokens,
        repeated_tokens=repeats.repeated_tokens,
        commonest_line=_shown(vocabulary.decode(ids, skip_special_tokens=True)),
        commonest_count=repeats.commonest_count,
    )


def overlap(train: TokenStore, valid: TokenStore, vocabulary: TokenTexts, listen: Listener = ignore) -> Overlap:
    """Look for the held-out text in the training text."""
    documents, passages = Found(), Found()
    for block in texts(valid):
        documents.want(document_hashes(block))
        passages.want(passage_hashes(block))
    documents.begin()
    passages.begin()
    for block in texts(train, _progress(train, listen)):
        documents.look(document_hashes(block))
        passages.look(passage_hashes(block))
    shared = [
        np.bincount(passage_documents(block)[passages.came(passage_hashes(block))], minlength=len(block.begins))
        for block in texts(valid)
    ]
    counts_D = np.concatenate(shared)
    return Overlap(
        documents=documents.wanted,
        shared_documents=documents.found,
        passages=passages.wanted,
        shared_passages=passages.found,
        touched_documents=int((counts_D > 0).sum()),
        most_shared=_beginning(valid, int(counts_D.argmax()), vocabulary) if counts_D.any() else "",
    )


def _letters(piece: bytes) -> tuple[int, int]:
    """Letters and letters of Hangul that a token brings; a byte of its own counts where it begins a character."""
    letters = hangul = 0
    for character in piece.decode("utf-8", errors="ignore") or _guess(piece):
        if character.isalpha():
            letters += 1
            hangul += "가" <= character <= "힣" or "\u1100" <= character <= "\u11ff" or "ㄱ" <= character <= "ㆎ"
    return letters, hangul


def _guess(piece: bytes) -> str:
    """A character such as a token of one byte most likely begins."""
    lead = piece[0] if len(piece) == 1 else 0
    if 0xEA <= lead <= 0xED:
        return "가"
    if 0xE4 <= lead <= 0xE9:
        return "漢"
    if lead == 0xE3:
        return "ㅋ"
    return "é" if 0xC3 <= lead <= 0xDF else ""


def _beginning(store: TokenStore, number: int, vocabulary: TokenTexts) -> str:
    """How a document begins: its title, where it has one."""
    text = vocabulary.decode(store.document(number)[:PASSAGE_TOKENS].tolist(), skip_special_tokens=True)
    return _shown(text.strip().partition("\n")[0])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _shown(line: str) -> str:
    return line if len(line) <= 60 else line[:60] + "…"


def _progress(store: TokenStore, listen: Listener) -> Any:
    return lambda done: listen(Progress(stage="checking the data", done=done, total=store.tokens, unit="tokens"))


def _kept(kind: Any, cache: Path | None, stores: tuple[TokenStore, ...], find: Any) -> Any:
    """What was found earlier for these stores, or what is found now."""
    if cache is None:
        return find()
    parts = [str(_VERSION), kind.__name__, *(store.fingerprint for store in stores)]
    name = f"checks-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:24]}.json"
    try:
        value = read_json(cache, name)
        types = {field.name: str if field.type == "str" else int for field in fields(kind)}
        if value.keys() == types.keys() and all(type(value[key]) is each for key, each in types.items()):
            return kind(**value)
    except KorformerError:
        pass
    found = find()
    write_json(cache / name, asdict(found))
    return found
