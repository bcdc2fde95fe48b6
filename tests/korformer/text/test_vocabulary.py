"""Encoding, decoding, saving and loading vocabularies of both schemes."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Regex, Tokenizer, pre_tokenizers

from korformer.errors import InputError, ModelDirectoryError, PathError
from korformer.text import lossless
from korformer.text.vocabulary import LARGEST_SIZE, SPECIAL_TOKENS, UNK_ID, Scheme, Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

CORPUS = [
    "나루터의 아침\n안개가 걷히면 뱃사공은 밧줄을 풀고 노를 젓는다. 강물은 느리다.\n\n### 둘째 장\n물새가 울었다.",
    '고양이는 창가에서 졸고, 나는 창가에서 편지를 썼다. "언제 오니?" 하고 물었더니 답이 없었다ㅋㅋㅋ',
    "기차는 1987년 4월 12일 오전 6시에 떠났다. 요금은 3,450원이었고 좌석은 A-17번이었다.",
    "Python 3.11 과 C# 을 배운 사람은 #해시태그 와 ## 제목 을 안다. 漢字와 かな도 조금 섞였다. café ☕🙂",
    "\t들여쓴 줄\r\n창밖에는 눈이    내렸다.\n\n\n바람이 분다. 바람이 불었다. 바람은 늘 분다.",
] * 3

SYLLABLES = "".join(map(chr, range(0xAC00, 0xD7A4)))
FAMILY = "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 1️⃣"
TEXTS = {
    "empty": "",
    "every syllable": SYLLABLES,
    "every syllable, spaced": " ".join(SYLLABLES),
    "conjoining jamo": unicodedata.normalize("NFD", "닭이 앓는 값진 뷁"),
    "half-composed": "가\u11a8 \u1100\u1161\u11a8 각",
    "jamo that compose nothing": "\u1100\u1100 \u1161 \u11a8 \ua960\ud7b0",
    "compatibility jamo": "".join(map(chr, range(0x3131, 0x318F))) + " ㅋㅋㅋㅋ ㅠㅠ",
    "half-width jamo": "ﾡﾱￂ",
    "compatibility ideographs": "金 金 樂 樂",
    "emoji": FAMILY,
    "tabs": "\t하나\t\t둘 \t 셋\t",
    "blank lines": "첫 줄\n\n\n\n둘째 줄\n",
    "only line ends": "\n" * 50,
    "carriage returns": "하나\r\n둘\r\n\r\n셋\r넷",
    "heading": "### 제목\n## 둘\n# 하나\n####### 일곱",
    "prefix glued": "##a ##가 ## ##",
    "prefix inside": "a##b 가##나 C# C## #a# ###",
    "special tokens": "[SEP] [CLS] [PAD] [UNK] [MASK]",
    "special tokens glued": "[CLS][PAD]안녕[SEP]하세요[MASK].",
    "long word": "가나다라마바사아자차카타파하" * 300,
    "long Latin word": "a" * 4000,
    "long number": "1234567890" * 400,
    "spaces": " " * 333 + "끝",
    "leading and trailing space": "  양쪽  ",
    "no-break and wide spaces": "한\u00a0글\u3000띄\u2003어\u200b쓰\u2028기\u0085",
    "look-alikes of spaces": "▁▁밑줄 Ġ Ċ ▁",
    "look-alikes of display forms": "<0x0A> <0xEA> <U+2581> ##<0x0A>",
    "control characters": "\0\x01\x1b[31m\x7f\0\0",
    "private use and unassigned": "\ue000\U000e0001\U0010ffff\uffff\ufdd0\u0378",
    "right to left": "שלום עולם مرحبا",
    "stacked marks": "e\u0301\u0327\u0323 Z̷̢̛a̴l̶g̵o ก็็็็็",
    "byte order mark": "\ufeff머리",
    "replacement": "\ufffd\ufffd",
}


def random_texts(count: int, seed: int) -> Iterator[str]:
    """Strings of every kind of character, lone surrogates apart."""
    draw = random.Random(seed)
    ranges = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000), (0xAC00, 0xD7A4)]
    for _ in range(count):
        yield "".join(
            chr(draw.randrange(*draw.choice(ranges))) if draw.random() < 0.8 else draw.choice(" #\n\t[▁가")
            for _ in range(draw.randrange(1, 40))
        )


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def train(scheme: Scheme, size: int) -> Vocabulary:
    return train_vocabulary(CORPUS, VocabularySettings(scheme=scheme, size=size))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train("lossless", 700)


@pytest.fixture(scope="module")
def bert() -> Vocabulary:
    return train("bert", 500)


@pytest.fixture(scope="module")
def directories(vocabulary: Vocabulary, bert: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for each in (vocabulary, bert):
        paths[each.scheme] = tmp_path_factory.mktemp(each.scheme)
        each.save_files(paths[each.scheme])
    return paths


# --- lossless ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_comes_back_in_nfc(vocabulary: Vocabulary, text: str) -> None:
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == nfc(text)
    assert UNK_ID not in ids
    assert min(ids, default=len(SPECIAL_TOKENS)) >= len(SPECIAL_TOKENS)


def test_a_thousand_random_strings_come_back(vocabulary: Vocabulary) -> None:
    texts = list(random_texts(1000, seed=20))
    for text, ids in zip(texts, vocabulary.encode_batch(texts), strict=True):
        assert vocabulary.decode(ids) == nfc(text)
        assert min(ids) >= len(SPECIAL_TOKENS)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_is_thought_of_comes_back(text: str) -> None:
    vocabulary = _shared()
    ids = vocabulary.encode(text, add_special_tokens=True)
    assert vocabulary.decode(ids, skip_special_tokens=True) == nfc(text)
    assert vocabulary.decode(ids) == f"[CLS]{nfc(text)}[SEP]"


_kept: list[Vocabulary] = []


def _shared() -> Vocabulary:
    """A vocabulary for tests that hypothesis calls (fixtures are not for those)."""
    if not _kept:
        _kept.append(train("lossless", 700))
    return _kept[0]


def test_nfc_and_nfd_have_the_same_ids(vocabulary: Vocabulary, bert: Vocabulary) -> None:
    for text in CORPUS:
        decomposed = unicodedata.normalize("NFD", text)
        assert decomposed != text
        assert vocabulary.encode(decomposed) == vocabulary.encode(text)
        assert bert.encode(decomposed) == bert.encode(text)


def test_pieces_are_cut_alike_by_python_and_by_the_library() -> None:
    split = pre_tokenizers.Split(Regex(lossless.PIECES), "isolated")
    texts = [*TEXTS.values(), *random_texts(300, seed=1), *CORPUS]
    texts += ["a".join(map(chr, range(start, start + 256))) for start in range(0, 0x30000, 256) if start >> 11 != 27]
    for text in texts:
        pieces = lossless.pieces(text)
        assert "".join(pieces) == text
        assert [piece for piece, _ in split.pre_tokenize_str(text)] == pieces


def test_no_piece_begins_with_the_prefix_or_is_too_long_for_the_library() -> None:
    longest = lossless.components()["model"]["max_input_chars_per_word"]
    runs = [
        f"{space}{character * 300}" for character in "가ㅋaéệ漢한1#\n\r\t .―👨\U00030000\ue000a" for space in ("", " ")
    ]
    for text in [*runs, *TEXTS.values(), *random_texts(300, seed=2)]:
        for piece in lossless.pieces(nfc(text)):
            assert not piece.startswith("##")
            assert len(piece.encode("utf-8")) < longest


@pytest.mark.parametrize("unit", ["가", "뷁", "a", "é", "1", "#", "\n", " ", "\t", ".", "漢", "👨", "각a", "ㅋ"])
def test_work_grows_with_the_length_of_a_text_without_spaces_and_not_faster(vocabulary: Vocabulary, unit: str) -> None:
    # WordPiece tries at most every ending of a piece for every token of it.
    def tries(text: str) -> int:
        return sum(len(piece.encode("utf-8")) ** 2 for piece in lossless.pieces(text))

    megabyte = unit * (1_000_000 // len(unit.encode("utf-8")))
    part = megabyte[: len(megabyte) // 100]
    assert tries(megabyte) <= 101 * tries(part)
    assert tries(megabyte) <= 64 * 1_000_000
    assert len(vocabulary.encode(part * 2)) <= 2 * len(vocabulary.encode(part)) + 1


def test_lone_surrogates_are_refused_with_their_place(vocabulary: Vocabulary, bert: Vocabulary) -> None:
    for each in (vocabulary, bert):
        with pytest.raises(InputError, match=r"U\+D83D\) at character 3"):
            each.encode("가나다\ud83d라")
        with pytest.raises(InputError, match=r"text 2: .*U\+DE00\) at character 0"):
            each.encode_batch(["멀쩡한 글", "\ude00", "가"])


def test_what_is_no_text_at_all_is_the_callers_fault(vocabulary: Vocabulary) -> None:
    with pytest.raises(TypeError):
        vocabulary.encode_batch([b"bytes"])  # type: ignore[list-item]


def test_batches_equal_single_texts(vocabulary: Vocabulary, bert: Vocabulary) -> None:
    for each in (vocabulary, bert):
        assert each.encode_batch([]) == []
        for special in (False, True):
            expected = [each.encode(text, add_special_tokens=special) for text in CORPUS]
            assert each.encode_batch(CORPUS, add_special_tokens=special) == expected


def test_special_tokens_stand_around_a_document(vocabulary: Vocabulary, bert: Vocabulary) -> None:
    for each in (vocabulary, bert):
        assert each.encode("[CLS", add_special_tokens=True) == [2, *each.encode("[CLS"), 3]
        assert each.encode("", add_special_tokens=True) == [2, 3]


# --- against the libraries --------------------------------------------------------------------------------------


def test_the_tokenizers_library_gives_the_same_ids(vocabulary: Vocabulary, directories: dict[str, Path]) -> None:
    library = Tokenizer.from_file(str(directories["lossless"] / "tokenizer.json"))
    library.encode_special_tokens = True
    for text in map(nfc, [*TEXTS.values(), *random_texts(300, seed=3), *CORPUS]):
        ids = vocabulary.encode(text)
        assert library.encode(text, add_special_tokens=False).ids == ids
        assert library.decode(ids, skip_special_tokens=False) == text


def test_the_library_leaves_pythons_nfc_alone(directories: dict[str, Path]) -> None:
    # Its tables of Unicode are of another year than Python's; what Python has normalised must pass unchanged.
    normalizer = Tokenizer.from_file(str(directories["lossless"] / "tokenizer.json")).normalizer
    points = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    draw = random.Random(4)
    marks = [point for point in points if unicodedata.combining(point)]
    shuffled = ["".join(draw.choices(marks, k=4)) + draw.choice(points) for _ in range(5000)]
    for start in range(0, len(points), 4096):
        text = nfc("a" + "".join(points[start : start + 4096]))
        assert normalizer.normalize_str(text) == text
    for text in map(nfc, shuffled):
        assert normalizer.normalize_str(text) == text


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_transformers_gives_the_same_ids(
    scheme: str, directories: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    from transformers import PreTrainedTokenizerFast

    ours: Vocabulary = request.getfixturevalue("vocabulary" if scheme == "lossless" else "bert")
    theirs = PreTrainedTokenizerFast.from_pretrained(directories[scheme])
    texts = [nfc(text) for text in [*TEXTS.values(), *random_texts(200, seed=5), *CORPUS]]
    for special in (False, True):
        expected = ours.encode_batch(texts, add_special_tokens=special)
        assert theirs(texts, add_special_tokens=special)["input_ids"] == expected
    if scheme == "lossless":
        decoded = [theirs.decode(ids, skip_special_tokens=True) for ids in ours.encode_batch(texts)]
        assert decoded == texts
    assert [theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id] == [0, 1, 2]
    assert [theirs.sep_token_id, theirs.mask_token_id] == [3, 4]


def test_what_transformers_saves_again_is_the_same_vocabulary(
    vocabulary: Vocabulary, directories: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast.from_pretrained(directories["lossless"]).save_pretrained(tmp_path)
    assert Vocabulary.load(tmp_path).fingerprint == vocabulary.fingerprint


def original_tokenizer(path: Path) -> BertWordPieceTokenizer:
    options = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": False, "lowercase": False}
    return BertWordPieceTokenizer(str(path / "vocab.txt"), **options)


def test_bert_gives_the_ids_of_bert_word_piece_tokenizer(bert: Vocabulary, directories: dict[str, Path]) -> None:
    library = original_tokenizer(directories["bert"])
    texts = [nfc(text) for text in [*TEXTS.values(), *random_texts(500, seed=6), *CORPUS]]
    for special in (False, True):
        for text, ids in zip(texts, bert.encode_batch(texts, add_special_tokens=special), strict=True):
            assert library.encode(text, add_special_tokens=special).ids == ids
            for skip in (False, True):
                assert library.decode(ids, skip_special_tokens=skip) == bert.decode(ids, skip_special_tokens=skip)


def test_a_list_of_tokens_alone_is_a_bert_vocabulary(
    bert: Vocabulary, directories: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").write_bytes((directories["bert"] / "vocab.txt").read_bytes())
    loaded = Vocabulary.load(tmp_path)
    assert loaded.scheme == "bert"
    assert loaded.fingerprint == bert.fingerprint


def test_a_list_written_on_windows_is_read(bert: Vocabulary, directories: dict[str, Path], tmp_path: Path) -> None:
    lines = (directories["bert"] / "vocab.txt").read_bytes()
    (tmp_path / "vocab.txt").write_bytes(lines.replace(b"\n", b"\r\n"))
    assert Vocabulary.load(tmp_path).fingerprint == bert.fingerprint


# --- decoding ---------------------------------------------------------------------------------------------------


def test_tokens_joined_are_the_text(vocabulary: Vocabulary, bert: Vocabulary) -> None:
    for text in CORPUS:
        joined = b"".join(map(vocabulary.token_bytes, vocabulary.encode(text, add_special_tokens=True)))
        assert joined.decode("utf-8") == nfc(text)
        ids = bert.encode(text)
        joined = b"".join(map(bert.token_bytes, ids))
        assert joined.decode("utf-8").removeprefix(" ") == bert.decode(ids, skip_special_tokens=True)
    assert [vocabulary.token_bytes(token_id) for token_id in range(5)] == [b""] * 5
    assert [bert.token_bytes(token_id) for token_id in range(5)] == [b""] * 5


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_stream_gives_what_decode_gives(scheme: str, skip: bool, request: pytest.FixtureRequest) -> None:
    each: Vocabulary = request.getfixturevalue("vocabulary" if scheme == "lossless" else "bert")
    draw = random.Random(7)
    sequences = [draw.choices(range(each.size), k=draw.randrange(12)) for _ in range(500)]
    sequences += [draw.choices(range(5, min(500, each.size)), k=draw.randrange(9)) for _ in range(500)]
    for ids in [*sequences, *(each.encode(text) for text in TEXTS.values() if len(text) < 5000)]:
        stream = each.decode_stream(skip_special_tokens=skip)
        text = "".join(map(stream.step, ids)) + stream.flush()
        assert text == each.decode(ids, skip_special_tokens=skip)


def test_a_stream_never_shows_a_part_of_a_character(vocabulary: Vocabulary) -> None:
    for text in ("뷁 힣 👨‍👩‍👧 鱻", SYLLABLES[::37]):
        stream = vocabulary.decode_stream()
        steps = [stream.step(token_id) for token_id in vocabulary.encode(text)]
        assert "".join(steps) == text
        assert "" in steps
        assert not any("\ufffd" in step for step in steps)
        assert stream.flush() == ""


def test_bytes_that_are_no_text_become_what_the_library_makes_of_them(
    vocabulary: Vocabulary, directories: dict[str, Path]
) -> None:
    library = Tokenizer.from_file(str(directories["lossless"] / "tokenizer.json"))
    draw = random.Random(8)
    for _ in range(2000):
        ids = draw.choices(range(5, 430), k=draw.randrange(1, 8))
        assert vocabulary.decode(ids) == library.decode(ids, skip_special_tokens=False)


def test_ids_that_are_none_are_refused(vocabulary: Vocabulary) -> None:
    for token_id in (-1, vocabulary.size):
        with pytest.raises(IndexError):
            vocabulary.decode([5, token_id])
        with pytest.raises(IndexError):
            vocabulary.token_bytes(token_id)
        with pytest.raises(IndexError):
            vocabulary.display(token_id)
        with pytest.raises(IndexError):
            vocabulary.decode_stream().step(token_id)


# --- the readable form ------------------------------------------------------------------------------------------


def test_the_list_is_readable_and_no_two_lines_are_the_same(
    vocabulary: Vocabulary, directories: dict[str, Path]
) -> None:
    text = (directories["lossless"] / "vocab.txt").read_text(encoding="utf-8")
    lines = text.split("\n")
    assert lines.pop() == ""
    assert lines == text.splitlines() == [vocabulary.display(token_id) for token_id in range(vocabulary.size)]
    assert len(set(lines)) == len(lines) == vocabulary.size
    assert lines[:5] == list(SPECIAL_TOKENS)
    assert not set("ĠĊìíë") & set(text)
    assert all(character.isprintable() and not character.isspace() for line in lines for character in line)


def test_tokens_look_like_what_they_are(vocabulary: Vocabulary) -> None:
    def shown(text: str) -> list[str]:
        return [vocabulary.display(token_id) for token_id in vocabulary.encode(text)]

    tokens = shown("바람이 분다")
    assert "".join(tokens).replace("##", "").replace("▁", " ") == "바람이 분다"
    assert [token.startswith("##") for token in tokens] == [not token.startswith(("바", "▁")) for token in tokens]
    assert shown("\n") == ["<0x0A>"]
    assert shown("힣") == ["<0xED>", "##<0x9E>", "##<0xA3>"]
    assert shown("##") == ["#", "#"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 하늘", "▁하늘"),
        ("▁", "<U+2581>"),
        ("\u3000", "<U+3000>"),
        ("\u200d", "<U+200D>"),
        ("\u0301", "<U+0301>"),
        ("\x7f", "<0x7F>"),
        ("<0x0A>", "<0x3C>0x0A>"),
        ("<U+", "<0x3C>U+"),
        ("<b", "<b"),
    ],
)
def test_characters_that_mislead_the_eye_are_spelt_out(text: str, expected: str) -> None:
    assert lossless.display(lossless.token(text, continuing=False)) == expected
    assert lossless.display(lossless.token(text, continuing=True)) == f"##{expected}"


# --- saving and loading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_a_saved_vocabulary_loads_as_itself(
    scheme: str, directories: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    saved: Vocabulary = request.getfixturevalue("vocabulary" if scheme == "lossless" else "bert")
    loaded = Vocabulary.load(directories[scheme])
    assert (loaded.scheme, loaded.size, len(loaded)) == (saved.scheme, saved.size, saved.size)
    assert loaded.fingerprint == saved.fingerprint
    loaded.save_files(tmp_path)
    for path in directories[scheme].iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_fingerprint_is_the_checksum_of_the_file(vocabulary: Vocabulary, directories: dict[str, Path]) -> None:
    data = (directories["lossless"] / "tokenizer.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == vocabulary.fingerprint


def test_padding_and_truncation_in_a_file_do_nothing(
    vocabulary: Vocabulary, directories: dict[str, Path], tmp_path: Path
) -> None:
    library = Tokenizer.from_file(str(directories["lossless"] / "tokenizer.json"))
    library.enable_padding(length=64)
    library.enable_truncation(8)
    library.save(str(tmp_path / "tokenizer.json"))
    loaded = Vocabulary.load(tmp_path)
    assert loaded.fingerprint == vocabulary.fingerprint
    assert loaded.encode(CORPUS[0]) == vocabulary.encode(CORPUS[0])


def test_missing_directories_and_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="no such folder"):
        Vocabulary.load(tmp_path / "nowhere")
    with pytest.raises(ModelDirectoryError, match=r"tokenizer\.json"):
        Vocabulary.load(tmp_path)


def test_the_readable_form_alone_is_not_taken_for_a_bert_vocabulary(
    directories: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").write_bytes((directories["lossless"] / "vocab.txt").read_bytes())
    with pytest.raises(ModelDirectoryError, match=r"tokenizer\.json is missing"):
        Vocabulary.load(tmp_path)


Change = Callable[[dict[str, Any]], Any]


def _set(*path: str | int, to: object) -> Change:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def _rename(token: str, to: str) -> Change:
    def change(value: dict[str, Any]) -> None:
        vocabulary = value["model"]["vocab"]
        vocabulary[to] = vocabulary.pop(token)

    return change


MALFORMED: dict[str, Change] = {
    "no model": lambda value: value.pop("model"),
    "model is a list": _set("model", to=[]),
    "another model": _set("model", "type", to="BPE"),
    "no vocab": lambda value: value["model"].pop("vocab"),
    "vocab is a list": _set("model", "vocab", to=["a"]),
    "vocab is empty": _set("model", "vocab", to={}),
    "an id is a string": _set("model", "vocab", "[PAD]", to="0"),
    "an id is a fraction": _set("model", "vocab", "[PAD]", to=0.0),
    "an id is a truth value": _set("model", "vocab", "[UNK]", to=True),
    "an id is negative": _set("model", "vocab", "[MASK]", to=-1),
    "an id is huge": _set("model", "vocab", "[MASK]", to=10**30),
    "two tokens of one id": _set("model", "vocab", "[MASK]", to=3),
    "special tokens elsewhere": lambda value: (
        _set("model", "vocab", "[PAD]", to=1)(value),
        _set("model", "vocab", "[UNK]", to=0)(value),
    ),
    "a special token missing": _rename("[MASK]", "<mask>"),
    "a byte missing": _rename("Ċ", "xx"),
    "a token that is no bytes": _rename("Ċ", "하"),
    "an empty token": _rename("##Ċ", ""),
    "an empty continuing token": _rename("##Ċ", "##"),
    "another prefix": _set("model", "continuing_subword_prefix", to="@@"),
    "words too short": _set("model", "max_input_chars_per_word", to=1),
    "another normalizer": _set("normalizer", to={"type": "Lowercase"}),
    "no normalizer": _set("normalizer", to=None),
    "another pattern": _set("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex", to="(a+)+$"),
    "no pre-tokenizer": _set("pre_tokenizer", to=None),
    "another decoder": _set("decoder", to={"type": "Fuse"}),
    "another post-processor": _set("post_processor", to=None),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_refused(change: Change, directories: dict[str, Path], tmp_path: Path) -> None:
    value = json.loads((directories["lossless"] / "tokenizer.json").read_bytes())
    change(value)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match=re.escape(str(path))):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"model": NaN}',
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b"\0" * 100,
    ],
    ids=["empty", "cut", "list", "null", "not UTF-8", "object", "NaN", "nested", "key twice", "zeros"],
)
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_files_of_something_else_are_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelDirectoryError):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_a_file_cut_or_damaged_anywhere_gives_this_error_or_a_vocabulary(
    scheme: str, directories: dict[str, Path], tmp_path: Path
) -> None:
    data = (directories[scheme] / "tokenizer.json").read_bytes()
    draw = random.Random(9)
    for _ in range(100):
        at = draw.randrange(len(data))
        damaged = bytearray(data)
        if draw.random() < 0.5:
            damaged[at] = draw.randrange(256)
        else:
            del damaged[at : at + draw.choice([1, 10, len(data)])]
        (tmp_path / "tokenizer.json").write_bytes(damaged)
        try:
            loaded = Vocabulary.load(tmp_path)
        except ModelDirectoryError:
            continue
        text = loaded.decode(loaded.encode(CORPUS[0]))
        assert scheme == "bert" or text == nfc(CORPUS[0])


def test_lists_with_a_token_twice_or_too_many_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "가", "나", "가"]), encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match="tokens 5 and 7 are the same"):
        Vocabulary.load(tmp_path)
    path.write_text("\n".join([*SPECIAL_TOKENS, *map(str, range(LARGEST_SIZE))]), encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match="more than"):
        Vocabulary.load(tmp_path)


def test_a_token_that_is_no_text_is_refused(directories: dict[str, Path], tmp_path: Path) -> None:
    value = json.loads((directories["bert"] / "tokenizer.json").read_bytes())
    value["model"]["vocab"]["\ud800"] = len(value["model"]["vocab"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ModelDirectoryError, match="not Unicode text"):
        Vocabulary.load(tmp_path)
