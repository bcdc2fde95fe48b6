from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.model.directory import LoadedModel
from korformer.text.vocabulary import CLS_ID, Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.writing.draft import GeneratedRun
from korformer.writing.tokenizing import LONG_CHARACTERS, DraftEncoder, chunks

ALPHABET = "가나다등대바다 \n\n  abZ09#.,!?\t👍한\u1100\u1161e\u0301"


@pytest.fixture(scope="module")
def vocabulary(loaded: LoadedModel) -> Vocabulary:
    return loaded.vocabulary


def long_text(seed: int, length: int) -> str:
    dice = random.Random(seed)
    words = ["등대지기는", "바다", "조용했고,", "고양이", "12시", "###", "👍", "\n", "\n\n\n", "  ", "a", "가" * 30]
    text = ""
    while len(text) < length:
        text += dice.choice(words) + dice.choice([" ", " ", " ", "", "  ", "\t"])
    return text


@settings(max_examples=60, deadline=None)
@given(st.text(ALPHABET, max_size=60), st.integers(0, 10**6))
def test_the_parts_have_the_tokens_of_the_whole(loaded: LoadedModel, text: str, seed: int) -> None:
    for whole in (text, long_text(seed, 3000) + text, text * 300):
        parts = list(chunks(whole))
        assert "".join(parts) == whole
        expected = loaded.vocabulary.encode(whole)
        assert [token for part in parts for token in loaded.vocabulary.encode(part)] == expected


@pytest.mark.parametrize("letter", ["가", "a", "!", "日", "7", "#", " ", "\n", "\t", " \t"])
def test_texts_without_words_are_parted_too(loaded: LoadedModel, letter: str) -> None:
    text = letter * 40_000
    parts = list(chunks(text))
    assert "".join(parts) == text
    if not letter.isspace():
        assert max(map(len, parts)) <= 8192 + LONG_CHARACTERS
    assert [token for part in parts for token in loaded.vocabulary.encode(part)] == loaded.vocabulary.encode(text)


def test_every_token_has_its_place(vocabulary: Vocabulary) -> None:
    text = "등대지기는 불을 켰다.\n\n고양이 👍 12시"
    tokenized = DraftEncoder(vocabulary).encode(text)
    assert tokenized.ids == [CLS_ID, *vocabulary.encode(text)]
    assert tokenized.ends[0] == 0
    assert tokenized.ends[-1] == len(text)
    data = b""
    for token, end in zip(tokenized.ids[1:], tokenized.ends[1:], strict=True):
        data += vocabulary.token_bytes(token)
        assert text[:end] == data.decode("utf-8", "ignore")
    for offset, character in enumerate(text):
        first = tokenized.token_at(offset)
        behind = first + 1
        while tokenized.ends[behind - 1] <= offset:
            behind += 1
        spelt = b"".join(map(vocabulary.token_bytes, tokenized.ids[first:behind])).decode()
        assert character in spelt
        assert text[tokenized.start(first) :].startswith(spelt)
    assert tokenized.token_at(len(text)) == len(tokenized.ids)


def test_a_space_at_the_end_is_owed(vocabulary: Vocabulary) -> None:
    encoder = DraftEncoder(vocabulary)
    for text, owed in (("바다 ", True), ("바다  ", False), (" ", False), ("바다\n ", False), ("바다", False)):
        tokenized = encoder.encode(text)
        assert tokenized.space_owed == owed
        assert tokenized.ids == [CLS_ID, *vocabulary.encode(text[:-1] if owed else text)]


def run_of(spelling: Vocabulary, ids: list[int], start: int, **given: Any) -> GeneratedRun:
    length = len(b"".join(map(spelling.token_bytes, ids)).decode()) - bool(given.get("space_owed"))
    values = {"whole_start": True, "space_owed": False, "vocabulary": spelling.fingerprint, **given}
    return GeneratedRun(start=start, end=start + length, token_ids=tuple(ids), **values)


def bytes_of(vocabulary: Vocabulary, text: str) -> list[int]:
    """The ids of a text, byte by byte: surely not those that `encode` gives."""
    known = {vocabulary.token_bytes(token): token for token in reversed(range(vocabulary.size))}
    return [known[bytes([byte])] for byte in text.encode()]


def test_generated_tokens_stand_as_they_came(vocabulary: Vocabulary) -> None:
    ids = bytes_of(vocabulary, "다는 조용했다.")
    text = "바다는 조용했다."
    tokenized = DraftEncoder(vocabulary).encode(text, [run_of(vocabulary, ids, 1)])
    assert tokenized.ids == [CLS_ID, *vocabulary.encode("바"), *ids]
    assert tokenized.ends[-1] == len(text)
    other = run_of(vocabulary, ids, 1, vocabulary="another")
    assert DraftEncoder(vocabulary).encode(text, [other]).ids == [CLS_ID, *vocabulary.encode(text)]


def test_a_first_token_that_brought_the_space(vocabulary: Vocabulary) -> None:
    ids = bytes_of(vocabulary, " 조용했다.")
    text = "바다는 조용했다."
    run = run_of(vocabulary, ids, 4, space_owed=True)
    assert DraftEncoder(vocabulary).encode(text, [run]).ids == [CLS_ID, *vocabulary.encode("바다는"), *ids]
    without = text.replace(" ", "")  # somebody took the space out
    moved = run_of(vocabulary, ids, 3, space_owed=True)
    assert DraftEncoder(vocabulary).encode(without, [moved]).ids == [CLS_ID, *vocabulary.encode(without)]


def test_a_word_that_goes_on_is_read_anew(vocabulary: Vocabulary) -> None:
    """The model wrote `고양이 한`, a person typed `마리` to it: the last word is found anew, the others stay."""
    ids = bytes_of(vocabulary, "고양이 한")
    encoder = DraftEncoder(vocabulary)
    for typed, kept in (("마리", "고양이"), (" 마리", "고양이 한"), ("", "고양이 한"), ("\n", "고양이 한")):
        text = "고양이 한" + typed
        expected = [*bytes_of(vocabulary, kept), *vocabulary.encode(text[len(kept) :])]
        assert encoder.encode(text, [run_of(vocabulary, ids, 0)]).ids == [CLS_ID, *expected]


def test_what_is_left_of_a_changed_run_begins_at_a_piece(vocabulary: Vocabulary) -> None:
    ids = bytes_of(vocabulary, "양이 한 마리")
    text = "호랑양이 한 마리"  # whose first tokens were changed
    run = run_of(vocabulary, ids, 2, whole_start=False)
    expected = [*vocabulary.encode("호랑양이"), *bytes_of(vocabulary, " 한 마리")]
    assert DraftEncoder(vocabulary).encode(text, [run]).ids == [CLS_ID, *expected]


def test_a_generation_that_goes_on_where_another_ended(vocabulary: Vocabulary) -> None:
    one, two = bytes_of(vocabulary, "고양"), bytes_of(vocabulary, "이 한")
    text = "고양이 한"
    runs = [run_of(vocabulary, one, 0), run_of(vocabulary, two, 2)]
    assert DraftEncoder(vocabulary).encode(text, runs).ids == [CLS_ID, *one, *two]


def test_a_cursor_inside_of_a_run_cuts_it(vocabulary: Vocabulary) -> None:
    ids = bytes_of(vocabulary, "고양이 한 마리")
    run = run_of(vocabulary, ids, 0)
    tokenized = DraftEncoder(vocabulary).encode("고양이 한", [run])
    assert b"".join(map(vocabulary.token_bytes, tokenized.ids)).decode() == "고양이 한"
    assert tokenized.ids[1:10] == bytes_of(vocabulary, "고양이")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9))
def test_whatever_is_changed_the_tokens_spell_the_text(loaded: LoadedModel, seed: int) -> None:
    """One encoder through many edits of a text with generated runs gives what a fresh one gives, and it spells it."""
    from korformer.generation.settings import SamplingSettings
    from korformer.writing.records import TokenRecord
    from korformer.writing.session import Session

    vocabulary, dice, session = loaded.vocabulary, random.Random(seed), Session()
    encoder = DraftEncoder(vocabulary)
    words = ["등대", "지기는 ", "불", "!\n", " ", "  ", "고양이 한", "\n\n", "👍", "12"]
    for _ in range(12):
        at = dice.randint(0, session.length)
        if dice.random() < 0.5:
            text = "".join(dice.choices(words, k=3))
            ids = bytes_of(vocabulary, text) if dice.random() < 0.5 else vocabulary.encode(text)
            number = session.begin_generation(at, SamplingSettings(), vocabulary=vocabulary.fingerprint)
            stream, owed = vocabulary.decode_stream(), session.slice(max(0, at - 1), at) == " " and text[0] == " "
            if owed:
                continue
            records = tuple(TokenRecord(token_id=token, text=stream.step(token), logprob=0.0) for token in ids)
            session.extend_generation(number, records)
            session.end_generation(number, "length")
        else:
            session.replace(at, min(session.length, at + dice.randint(0, 5)), dice.choice(["", *words]))
        draft = session.draft(dice.randint(0, session.length))
        tokenized = encoder.encode(draft.before, draft.runs)
        fresh = DraftEncoder(vocabulary).encode(draft.before, draft.runs)
        assert tokenized.ids == fresh.ids
        assert np.array_equal(tokenized.ends, fresh.ends)
        assert np.all(np.diff(tokenized.ends) >= 0)
        spelt = b"".join(map(vocabulary.token_bytes, tokenized.ids)).decode() + " " * tokenized.space_owed
        assert spelt == draft.before


def test_only_the_part_that_changed_is_encoded_again(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, asked = DraftEncoder(vocabulary), []
    encode = Vocabulary.encode_batch

    def count(self: Vocabulary, texts: Any, **given: Any) -> Any:
        asked.append(sum(map(len, texts)))
        return encode(self, texts, **given)

    monkeypatch.setattr(Vocabulary, "encode_batch", count)
    text = long_text(3, 20_000)
    encoder.encode(text)
    assert asked.pop() > 5_000
    encoder.encode(text[:9_000] + "새 낱말 " + text[9_000:])
    assert asked.pop() < 6 * LONG_CHARACTERS
    encoder.encode(text[:9_000])
    encoder.encode(text)
    assert sum(asked) < 6 * LONG_CHARACTERS


def test_what_is_remembered_is_bounded(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.writing.tokenizing.SPARE_CHARACTERS", 1000)
    encoder = DraftEncoder(vocabulary)
    for number in range(50):
        text = f"등대지기는 {number} 번 불을 켰다.\n" * 10
        assert encoder.encode(text).ids[1:] == vocabulary.encode(text)
    assert sum(map(len, encoder._known)) < 4000


def test_the_older_vocabularies_can_be_written_with_too() -> None:
    vocabulary = train_vocabulary(["바다는 넓고 깊다. 산은 높다."] * 5, VocabularySettings(size=60, scheme="bert"))
    text = "바다는 넓고\n산은 높다. "
    tokenized = DraftEncoder(vocabulary).encode(text)
    assert tokenized.ids == [CLS_ID, *vocabulary.encode(text)]
    assert not tokenized.space_owed
    assert text[: tokenized.ends[-1]] == text.rstrip()
    ids = vocabulary.encode("산은 높다.")
    run = GeneratedRun(
        start=7, end=13, token_ids=tuple(ids), whole_start=True, space_owed=False, vocabulary=vocabulary.fingerprint
    )
    assert DraftEncoder(vocabulary).encode(text, [run]).ids == tokenized.ids
