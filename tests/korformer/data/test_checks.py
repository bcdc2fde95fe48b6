from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from korformer.data import checks, passages
from korformer.data.checks import check_data, corpus_facts, overlap
from korformer.data.passages import PASSAGE_TOKENS, Lines, document_hashes, passage_hashes, texts
from korformer.data.store import TokenStore, build_store
from korformer.errors import InputError
from korformer.events import Event, Notice
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

WORDS = ("바람이", "아이가", "골목에서", "천천히", "노래를", "시장으로", "걸어간다.", "오래", "그리고", "살구꽃이")


def text(number: int, words: int = 40) -> str:
    """A text of its own for every number, of lines of ten words."""
    draws = np.random.default_rng(number).integers(0, len(WORDS), words)
    chosen = [WORDS[draw] for draw in draws]
    return "\n".join(" ".join(chosen[place : place + 10]) for place in range(0, words, 10))


TEXTS = [text(number) for number in range(60)]


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return train_vocabulary(TEXTS, VocabularySettings(size=500))


@pytest.fixture
def make(tmp_path: Path, words: Vocabulary) -> Any:
    numbers = iter(range(100))
    return lambda documents: build_store(documents, words, tmp_path / f"store{next(numbers)}")


def problems(
    words: Vocabulary, train: TokenStore, valid: TokenStore | None = None, **options: Any
) -> tuple[list[str], list[str]]:
    heard: list[Event] = []
    found = check_data({"": train}, valid, words, listen=heard.append, **options)
    told = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    return found, told


def test_good_data_is_not_spoken_of(make: Any, words: Vocabulary) -> None:
    assert problems(words, make(TEXTS[:50]), make(TEXTS[50:])) == ([], [])
    assert problems(words, make(TEXTS)) == ([], [])


def test_held_out_documents_and_passages_in_the_training_text_are_counted(make: Any, words: Vocabulary) -> None:
    train, valid = make([*TEXTS[:50], text(900) + "\n" + TEXTS[55]]), make([*TEXTS[50:], TEXTS[3], TEXTS[4]])
    found = overlap(train, valid, words)
    assert (found.documents, found.shared_documents) == (12, 2)
    ids = [passage for store in (train, valid) for passage in [store_passages(store)]]
    assert found.passages == len(set(ids[1]))
    assert found.shared_passages == len(set(ids[0]) & set(ids[1])) > 0
    told, _ = problems(words, train, valid)
    assert told[0].startswith("2 of the 12 held-out documents are in the training text")
    assert "of the held-out passages of 32 tokens" in told[1]
    in_training = set(ids[0])
    counts = [
        sum(passage in in_training for passage in passages_of(valid, number)) for number in range(valid.documents)
    ]
    assert found.touched_documents == sum(count > 0 for count in counts)
    assert f"in {found.touched_documents} of 12 documents; most of them in {found.most_shared!r}" in told[1]
    most = [*TEXTS[50:], TEXTS[3], TEXTS[4]][counts.index(max(counts))]
    assert most.startswith(found.most_shared.removesuffix("…"))


def passages_of(store: TokenStore, number: int) -> list[tuple[int, ...]]:
    """Those of one document, by their definition."""
    ids = store.document(number).tolist()
    return [tuple(ids[place : place + PASSAGE_TOKENS]) for place in range(len(ids) - PASSAGE_TOKENS + 1)]


def store_passages(store: TokenStore) -> list[tuple[int, ...]]:
    """Those of all documents."""
    return [passage for number in range(store.documents) for passage in passages_of(store, number)]


def test_hashes_tell_documents_passages_and_order_apart(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make([*TEXTS, TEXTS[0], "\n".join(reversed(TEXTS[0].split("\n")))])
    for block_tokens in (1, 500, 1 << 20):
        monkeypatch.setattr(passages, "_BLOCK_TOKENS", block_tokens)
        blocks = list(texts(store))
        assert sum(len(block.tokens) for block in blocks) == store.tokens
        documents = np.concatenate([document_hashes(block) for block in blocks])
        assert len(set(documents.tolist())) == 61
        assert documents[60] == documents[0]
        every = np.concatenate([passage_hashes(block) for block in blocks])
        defined = store_passages(store)
        assert len(every) == len(defined)
        assert len(set(every.tolist())) == len(set(defined))


def test_a_sample_of_passages_tells_about_the_same(
    make: Any, words: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, valid = make(TEXTS), make([*TEXTS[:30], *(text(number) for number in range(100, 130))])
    whole = overlap(train, valid, words)
    monkeypatch.setattr(passages, "_WANTED", 800)
    part = overlap(train, valid, words)
    assert part.passages == 800 < whole.passages
    assert abs(part.shared_passages / part.passages - whole.shared_passages / whole.passages) < 0.06


def test_lines_that_come_again(make: Any, words: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    again = "이 글은 시장에서 노래를 부르던 아이가 오래 걸어간 골목 이야기이다."
    store = make([f"{each}\n{again}\n짧다" for each in TEXTS])
    facts = corpus_facts(store, words)
    assert (facts.commonest_line, facts.commonest_count) == (again, 60)
    lines = Counter(tuple(words.encode(line)) for each in TEXTS for line in f"{each}\n{again}".split("\n"))
    lines = Counter({line: count for line, count in lines.items() if len(line) >= 8})
    assert facts.line_tokens == sum(len(line) * count for line, count in lines.items())
    assert facts.repeated_tokens == sum(len(line) * (count - 1) for line, count in lines.items())
    found, told = problems(words, store)
    assert found == told
    assert "of the text is lines that came before, such as '이 글은" in found[0]
    assert "(60 times)" in found[0]
    # Of too many different ones some are counted, those exactly.
    monkeypatch.setattr(passages, "_LINES", 50)
    counted = Lines(np.array([b"\n" in words.token_bytes(token) for token in range(words.size)]))
    for block in texts(store):
        counted.add(block)
    assert counted.result().tokens < facts.line_tokens
    assert counted.result().commonest_count in lines.values()


def test_hangul_unknown_giant_and_tiny(
    make: Any, words: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = corpus_facts(make(["봄 spring ㅋ 123 …", "漢字"]), words)
    assert (facts.letters, facts.hangul_letters) == (10, 2)
    assert "only 20% of the letters are Hangul" in problems(words, make(["봄 spring ㅋ 123 …", "漢字"] * 9))[0][0]
    assert "100% of the documents are almost empty" in problems(words, make(["봄", "꽃"]))[0][0]
    monkeypatch.setattr(checks, "GIANT_TOKENS", 50)
    store = make([*TEXTS[:5], text(77, words=100)])
    longest = max(len(store.document(number)) for number in range(6))
    giant = sum(len(store.document(number)) > 50 for number in range(6))
    assert f"{giant} of 6 documents" in problems(words, store)[0][0]
    assert f"the longest has {longest:,} tokens" in problems(words, store)[0][0]
    monkeypatch.undo()
    bert = train_vocabulary(TEXTS, VocabularySettings(size=300, scheme="bert"))
    unknown = build_store([each + " 뷁 쌟" for each in TEXTS], bert, tmp_path / "bert")
    found, _ = problems(bert, unknown)
    assert len(found) == 1
    assert f"{120 / unknown.tokens:.2%} of the tokens are [UNK]" in found[0]


def test_strict_stops_with_all_problems(make: Any, words: Vocabulary) -> None:
    bad, valid = make([*(["spring has come and the wind is warm"] * 30), TEXTS[0]]), make([TEXTS[0]])
    with pytest.raises(InputError, match=r"wiki: only .* Hangul; wiki: .* came before.*; wiki: 1 of the 1 held-out"):
        check_data({"law": make(TEXTS[1:]), "wiki": bad}, valid, words, strict=True)
    assert check_data({"law": make(TEXTS[1:])}, valid, words, strict=True) == []


def test_findings_are_kept_and_damaged_ones_made_anew(
    make: Any, words: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, valid = make(TEXTS[:40]), make(TEXTS[38:])
    first, _ = problems(words, train, valid, cache=tmp_path)
    assert len(first) > 0
    kept = sorted(tmp_path.glob("checks-*.json"))
    assert len(kept) == 2

    def never(*arguments: object) -> None:
        raise AssertionError("looked again")

    with monkeypatch.context() as patch:
        patch.setattr(checks, "texts", never)
        assert problems(words, train, valid, cache=tmp_path) == (first, first)
        with pytest.raises(AssertionError):
            problems(words, train, make(TEXTS[:2]), cache=tmp_path)
    for path in kept:
        path.write_text('{"documents": -1.5}', encoding="utf-8")
    assert problems(words, train, valid, cache=tmp_path) == (first, first)
