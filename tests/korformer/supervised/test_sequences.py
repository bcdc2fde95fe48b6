import pytest

from korformer.supervised.sequences import pair_windows, shared_room, single_windows
from korformer.supervised.task import Reader
from korformer.text.special import CLS_ID, SEP_ID
from korformer.text.vocabulary import Vocabulary


def test_a_text_stands_between_cls_and_sep(reader: Reader) -> None:
    assert reader.vocabulary is not None
    windows = single_windows(["바람이 센 날", ""], reader, [1, 0])
    assert windows[0].tokens.tolist() == [CLS_ID, *reader.vocabulary.encode("바람이 센 날"), SEP_ID]
    assert windows[1].tokens.tolist() == [CLS_ID, SEP_ID]
    assert [(window.example, window.target) for window in windows] == [(0, 1), (1, 0)]


def test_a_long_text_is_read_in_windows_that_lose_nothing(vocabulary: Vocabulary) -> None:
    reader = Reader(vocabulary=vocabulary, max_tokens=16)
    text = "사람들은 천천히 걸었다. " * 20
    windows = single_windows([text], reader, [None])
    assert len(windows) > 3
    assert max(map(len, windows)) <= 16
    assert max(map(len, windows)) - min(map(len, windows)) <= 1
    inner = [token for window in windows for token in window.tokens.tolist()[1:-1]]
    assert inner == vocabulary.encode(text)


def test_a_pair_has_two_segments(reader: Reader) -> None:
    assert reader.vocabulary is not None
    (window,) = pair_windows(["바람이 센 날"], ["종을 울렸다"], reader, [0.5])
    one, two = reader.vocabulary.encode("바람이 센 날"), reader.vocabulary.encode("종을 울렸다")
    assert window.tokens.tolist() == [CLS_ID, *one, SEP_ID, *two, SEP_ID]
    assert window.segments is not None
    assert window.segments.tolist() == [0] * (len(one) + 2) + [1] * (len(two) + 1)


@pytest.mark.parametrize(
    ("one", "two", "room", "expected"),
    [(3, 4, 10, (3, 4)), (3, 40, 10, (3, 7)), (40, 3, 10, (7, 3)), (40, 40, 10, (5, 5)), (40, 40, 11, (6, 5))],
)
def test_the_longer_text_gives_way(one: int, two: int, room: int, expected: tuple[int, int]) -> None:
    assert shared_room(one, two, room) == expected
