from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from korformer.data.edges import TokenEdges
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXT = '봄이 왔다. "정말?" 값은 3.14이다.\n\n새 줄이 있다! 끝'


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary([TEXT] * 3, VocabularySettings(size=430))


def pieces(vocabulary: Vocabulary, ids: np.ndarray, begins: np.ndarray) -> list[str]:
    bounds = [0, *begins.tolist(), len(ids)]
    return [vocabulary.decode(ids[a:b].tolist()) for a, b in pairwise(bounds)]


def test_words_are_what_white_space_parts(vocabulary: Vocabulary) -> None:
    ids = np.array(vocabulary.encode(TEXT))
    begins = np.flatnonzero(TokenEdges(vocabulary).word_begins(ids))
    assert begins[0] == 0
    words = [word.strip() for word in pieces(vocabulary, ids, begins[1:])]
    assert [word for word in words if word] == TEXT.split()


def test_sentences_end_before_white_space_and_lines_anywhere(vocabulary: Vocabulary) -> None:
    ids = np.array(vocabulary.encode(TEXT))
    found = pieces(vocabulary, ids, TokenEdges(vocabulary).sentence_begins(ids))
    assert found == ["봄이 왔다.", ' "정말?"', " 값은 3.14이다.\n\n", "새 줄이 있다!", " 끝"]


def test_special_tokens_stand_alone(vocabulary: Vocabulary) -> None:
    inside = vocabulary.encode("봄이")
    ids = np.array([2, *inside, 3, 2, *inside, 3, 0, 0])
    begins = TokenEdges(vocabulary).word_begins(ids)
    special = np.isin(ids, [0, 2, 3])
    assert begins[special].all()
    assert begins[np.flatnonzero(ids == 2) + 1].all()


def test_a_bert_vocabulary_has_the_spaces_that_it_would_write(tmp_path: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "바람", "##이", "분다", ".", "또"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    edges = TokenEdges(Vocabulary.load(tmp_path))
    ids = np.array([5, 6, 7, 8, 9])
    assert edges.word_begins(ids).tolist() == [True, False, True, False, True]
    assert edges.sentence_begins(ids).tolist() == [4]
