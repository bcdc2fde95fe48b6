from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from korformer.data.building import build_parts, merge_stores
from korformer.data.split import is_held_out
from korformer.data.store import TokenStore, build_store, cached_merge, cached_parts, cached_store
from korformer.errors import InputError, ModelDirectoryError

TEXTS = [f"{chr(ord('가') + number)}나다" for number in range(400)]


def documents(store: TokenStore) -> list[list[int]]:
    return [store.document(number).tolist() for number in range(store.documents)]


def test_a_text_has_its_side_whatever_else_there_is() -> None:
    held = [text for text in TEXTS if is_held_out(text, 0.1)]
    assert 20 < len(held) < 60  # 40 expected; six standard deviations are 36
    assert {text for text in TEXTS if is_held_out(text, 0.05)} < set(held)
    assert not any(is_held_out(text, 0.0) for text in TEXTS)
    assert all(is_held_out(text, 1.0) for text in TEXTS)
    assert is_held_out("가나다", 0.5) == is_held_out("가나다", 0.5)


def test_the_parts_are_the_corpus_in_its_order_and_copies_stay_together(tmp_path: Path, vocabulary: Any) -> None:
    places = (tmp_path / "train", tmp_path / "valid")
    train, valid = build_parts([*TEXTS, "", *TEXTS[:50]], vocabulary, places, share=0.1)
    every = [*TEXTS, *TEXTS[:50]]
    expected = [
        documents(build_store([text for text in every if is_held_out(text, 0.1) is side], vocabulary, tmp_path / name))
        for name, side in (("a", False), ("b", True))
    ]
    assert [documents(train), documents(valid)] == expected
    assert train.characters + valid.characters == sum(map(len, every))
    again = TokenStore.open(tmp_path / "valid")
    assert again.fingerprint == valid.fingerprint


def test_a_side_without_a_document_is_refused_and_nothing_is_left(tmp_path: Path, vocabulary: Any) -> None:
    places = (tmp_path / "train", tmp_path / "valid")
    with pytest.raises(InputError, match="none of its documents is held out"):
        build_parts(["가"], vocabulary, places, share=1e-9)
    with pytest.raises(InputError, match="every one of its documents is held out"):
        build_parts(["가"], vocabulary, places, share=1 - 1e-9)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_found_again_by_corpus_and_share(tmp_path: Path, vocabulary: Any) -> None:
    corpus = tmp_path / "text.txt"
    corpus.write_text("\n\n".join(TEXTS), encoding="utf-8")
    cache = tmp_path / "cache"
    train, valid = cached_parts([str(corpus)], vocabulary, cache, share=0.1)
    worked = len(vocabulary.calls)
    again = cached_parts([str(corpus)], vocabulary, cache, share=0.1)
    assert [each.path for each in again] == [train.path, valid.path]
    assert len(vocabulary.calls) == worked
    other = cached_parts([str(corpus)], vocabulary, cache, share=0.2)
    assert other[1].documents > valid.documents
    assert cached_store([str(corpus)], vocabulary, cache).documents == len(TEXTS)
    (valid.path / "tokens.bin").write_bytes(b"")
    mended = cached_parts([str(corpus)], vocabulary, cache, share=0.1)
    assert mended[1].fingerprint == valid.fingerprint
    assert len(documents(mended[1])) == valid.documents


def test_stores_become_one(tmp_path: Path, vocabulary: Any, make_vocabulary: Any) -> None:
    stores = [build_store(TEXTS[a:b], vocabulary, tmp_path / f"{a}") for a, b in ((0, 7), (7, 8), (8, 300))]
    one = merge_stores(stores, tmp_path / "one")
    whole = build_store(TEXTS[:300], vocabulary, tmp_path / "whole")
    assert one.fingerprint == whole.fingerprint
    assert (one.documents, one.tokens, one.characters) == (whole.documents, whole.tokens, whole.characters)
    TokenStore.open(tmp_path / "one")
    assert cached_merge(stores[:1], tmp_path) is stores[0]
    kept = cached_merge(stores, tmp_path)
    assert kept.fingerprint == one.fingerprint
    assert cached_merge(stores, tmp_path).path == kept.path
    stranger = build_store(TEXTS[:2], make_vocabulary(fingerprint="other"), tmp_path / "stranger")
    with pytest.raises(ModelDirectoryError, match="another vocabulary"):
        merge_stores([*stores, stranger], tmp_path / "two")
