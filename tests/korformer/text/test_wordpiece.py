"""Learning vocabularies: sizes, settings, determinism, and what the tokens are."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from korformer.config import build
from korformer.errors import InputError, UsageError
from korformer.events import Event, Notice, Progress
from korformer.text import bert, lossless
from korformer.text.vocabulary import LARGEST_SIZE, SPECIAL_TOKENS, UNK_ID, Scheme, Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

DOCUMENTS = [
    "장터의 하루\n해 뜨기 전에 수레가 온다. 수레마다 배추와 무가 가득하다.\n상인은 값을 부르고 손님은 값을 깎는다.",
    "도서관에서\n책장 사이를 걷다가 오래된 지도를 보았다. 지도의 강은 지금의 강과 달랐다.\n강은 흐르고 지도는 남았다.",
    "겨울밤\n눈이 내린다. 눈이 쌓인다. 눈길을 걷는 사람은 없고, 가로등만 눈을 맞는다. 2024년 1월 3일.",
    'ㅋㅋㅋ 그랬구나! 나도 그랬어ㅠㅠ (정말로) "그래?" #일기 漢字 café 🙂🙂',
]


def tokens_of(vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.display(token_id) for token_id in range(vocabulary.size)]


def invented(count: int, seed: int) -> list[str]:
    """Documents of invented words, with very many ties among their counts."""
    draw = random.Random(seed)
    syllables = [chr(draw.randrange(0xAC00, 0xD7A4)) for _ in range(60)]
    words = ["".join(draw.choices(syllables, k=draw.randrange(1, 6))) for _ in range(400)]
    return [" ".join(draw.choices(words, k=40)) + "." for _ in range(count)]


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
@pytest.mark.parametrize("size", [450, 500, 700])
def test_the_size_is_exact(scheme: Scheme, size: int) -> None:
    events: list[Event] = []
    settings = VocabularySettings(scheme=scheme, size=size)
    vocabulary = train_vocabulary(invented(100, seed=1), settings, listen=events.append)
    assert vocabulary.size == size
    assert not [event for event in events if isinstance(event, Notice)]
    assert tokens_of(vocabulary)[:5] == list(SPECIAL_TOKENS)


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_a_corpus_too_small_gives_fewer_tokens_and_says_so(scheme: Scheme) -> None:
    events: list[Event] = []
    vocabulary = train_vocabulary(DOCUMENTS, VocabularySettings(scheme=scheme, size=9000), listen=events.append)
    assert vocabulary.size < 1500
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.level == "warning"
    assert f"{vocabulary.size:,}" in notice.text
    assert "9,000" in notice.text


def test_the_smallest_lossless_vocabulary_has_bytes_alone() -> None:
    vocabulary = train_vocabulary(DOCUMENTS, VocabularySettings(size=lossless.SMALLEST_SIZE))
    assert vocabulary.size == lossless.SMALLEST_SIZE == 427
    for document in DOCUMENTS:
        assert vocabulary.decode(vocabulary.encode(document)) == document


@pytest.mark.parametrize(
    ("scheme", "size", "nearest"),
    [("lossless", 426, "427"), ("lossless", -1, "427"), ("bert", 5, "6"), ("bert", LARGEST_SIZE + 1, "262,144")],
)
def test_impossible_sizes_are_refused_before_anything_is_read(scheme: Scheme, size: int, nearest: str) -> None:
    def documents() -> Iterator[str]:
        raise AssertionError
        yield

    with pytest.raises(UsageError, match=nearest):
        train_vocabulary(documents(), VocabularySettings(scheme=scheme, size=size))


def test_a_bert_size_below_the_characters_of_the_corpus_is_refused_with_the_smallest() -> None:
    with pytest.raises(UsageError, match=r"need (\d+)") as caught:
        train_vocabulary(DOCUMENTS, VocabularySettings(scheme="bert", size=100))
    smallest = int(caught.value.what.split()[-1])
    assert train_vocabulary(DOCUMENTS, VocabularySettings(scheme="bert", size=smallest)).size == smallest
    with pytest.raises(UsageError):
        train_vocabulary(DOCUMENTS, VocabularySettings(scheme="bert", size=smallest - 1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"limit_alphabet": 500}, "limit_alphabet is for the scheme bert only"),
        ({"scheme": "bert", "limit_alphabet": 0}, "limit_alphabet is 0"),
        ({"sample_bytes": 0}, "sample_bytes is 0"),
        ({"min_count": 0}, "min_count is 0"),
        ({"scheme": "unigram"}, "scheme"),
        ({"sizes": 5}, "did you mean size"),
    ],
)
def test_illegal_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(VocabularySettings, values)


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
@pytest.mark.parametrize(
    ("documents", "words"), [([], "no words"), ([""], "no words"), (["가", "나다\ud800"], "document 2: .* character 2")]
)
def test_a_corpus_without_text_is_refused(scheme: Scheme, documents: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        train_vocabulary(documents, VocabularySettings(scheme=scheme))


def test_every_lossless_token_is_whole_characters_or_one_byte() -> None:
    vocabulary = train_vocabulary([*DOCUMENTS, *invented(50, seed=2)], VocabularySettings(size=1500))
    for token_id in range(lossless.SMALLEST_SIZE, vocabulary.size):
        assert vocabulary.token_bytes(token_id).decode("utf-8")
    singles = [vocabulary.token_bytes(token_id) for token_id in range(5, lossless.SMALLEST_SIZE)]
    assert all(len(data) == 1 for data in singles)


def test_frequent_characters_are_tokens_and_rare_ones_are_bytes() -> None:
    documents = ["물이 맑다. 물이 깊다. 물이 차다. 물이 흐른다."] * 20 + ["뷁"]
    vocabulary = train_vocabulary(documents, VocabularySettings(size=445))
    assert len(vocabulary.encode("물이")) == 1
    assert len(vocabulary.encode("뷁")) == 3


def test_special_token_names_in_the_corpus_are_ordinary_text() -> None:
    vocabulary = train_vocabulary(["[SEP] [MASK]글 [CLS]"] * 50, VocabularySettings(size=600))
    ids = vocabulary.encode("[SEP] [MASK]글 [CLS]")
    assert min(ids) >= 5
    assert vocabulary.decode(ids) == "[SEP] [MASK]글 [CLS]"
    assert len(set(tokens_of(vocabulary))) == vocabulary.size


def test_bert_knows_the_most_frequent_characters_up_to_the_limit() -> None:
    documents = ["가 가 가 나 나 나 라 라 다 다 마"]
    vocabulary = train_vocabulary(documents, VocabularySettings(scheme="bert", size=100, limit_alphabet=3))
    assert tokens_of(vocabulary)[5:] == ["가", "나", "다"]
    assert vocabulary.encode("라") == [UNK_ID]


def test_bert_learns_what_the_library_learns_when_the_library_has_no_choice() -> None:
    # Its trainer numbers continuing characters at random; given as special tokens their ids are fixed.
    documents = [*DOCUMENTS, *invented(60, seed=3)]
    ours = tokens_of(train_vocabulary(documents, VocabularySettings(scheme="bert", size=900)))
    characters = [token for token in ours[5:] if len(token.removeprefix("##") or token) == 1]
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=900,
        min_frequency=2,
        limit_alphabet=6000,
        special_tokens=[*SPECIAL_TOKENS, *characters],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    library.train_from_iterator(documents, trainer)
    theirs = library.get_vocab()
    assert ours == sorted(theirs, key=lambda token: theirs[token])
    assert len(ours) > len(characters) + 200


def test_bert_words_are_cut_as_the_library_cuts_them() -> None:
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    cut = pre_tokenizers.BertPreTokenizer()
    texts = [*DOCUMENTS, "a\u00a0b\u3000c\u2028d\u200be\0f\ufffdg", "漢字と「かな」、don't «x» …—‘’ ㈜①"]
    texts += ["가".join(map(chr, range(start, start + 32))) for start in range(0, 0x20000, 32) if start >> 11 != 27]
    for text in texts:
        assert bert.words(text) == [word for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(text))]


def test_words_too_long_for_the_tokenizer_are_not_learnt_from() -> None:
    assert bert.words("짧다 " + "가" * 100 + " " + "나" * 101) == ["짧다", "가" * 100]


SCRIPT = """
import json, sys
from pathlib import Path
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
documents = json.loads(Path(sys.argv[1]).read_text())
for scheme in ("lossless", "bert"):
    print(train_vocabulary(documents, VocabularySettings(scheme=scheme, size=700, sample_bytes=40_000)).fingerprint)
"""


def test_the_same_corpus_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps([*DOCUMENTS, *invented(300, seed=4)]))

    def start(run: int) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(run * 1000 + 1),
            "RAYON_NUM_THREADS": str(1 + run),
            "TOKENIZERS_PARALLELISM": str(bool(run % 2)).lower(),
        }
        command = [sys.executable, "-c", SCRIPT, str(corpus)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    seen = {process.communicate()[0] for process in [start(run) for run in range(5)]}
    assert len(seen) == 1
    assert len(set(seen.pop().split())) == 2


def test_a_sample_and_forgotten_words_are_told() -> None:
    events: list[Event] = []
    settings = VocabularySettings(size=500, sample_bytes=20_000)
    train_vocabulary(invented(500, seed=5), settings, listen=events.append)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "of 500 documents" in notice.text
    draw = random.Random(6)
    many = [" ".join(str(draw.randrange(10**9)) for _ in range(50)) for _ in range(100)]
    events.clear()
    train_vocabulary(many, VocabularySettings(size=500, max_words=1000), listen=events.append)
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "1,000 different words" in notice.text


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_progress_ends_at_its_total(scheme: Scheme) -> None:
    events: list[Event] = []
    settings = VocabularySettings(scheme=scheme, size=600, sample_bytes=10**6)
    train_vocabulary(DOCUMENTS, settings, listen=events.append)
    for stage in ("counting words", "learning tokens"):
        steps = [event for event in events if isinstance(event, Progress) and event.stage == stage]
        assert steps[-1].done == steps[-1].total
        assert [event.done for event in steps] == sorted(event.done for event in steps)
