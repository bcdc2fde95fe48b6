from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.errors import InputError
from korformer.generation.settings import SamplingSettings
from korformer.writing import editing as module
from korformer.writing import journal
from korformer.writing.records import TokenRecord
from korformer.writing.session import Change, Session
from korformer.writing.versions import Versions

Make = Callable[..., tuple[TokenRecord, ...]]
SETTINGS = SamplingSettings(seed=7, temperature=0.5)


def generated(session: Session, tokens: tuple[TokenRecord, ...], at: int | None = None, reason: Any = "length") -> int:
    number = session.begin_generation(session.length if at is None else at, SETTINGS, model="작은", vocabulary="v")
    for token in tokens:
        assert session.extend_generation(number, (token,)) is not None
    session.end_generation(number, reason, seed=7)
    return session.node


def origins(session: Session) -> str:
    """A letter a character: w, g or e."""
    return "".join(span.origin[0] * (span.end - span.start) for span in session.spans())


class Plain:
    """What a session must be: every state a string of characters with their origins, and the way through them."""

    def __init__(self) -> None:
        self.way: list[str] = [""]
        self.place = 0

    def add(self, text: str) -> None:
        self.way = [*self.way[: self.place + 1], text]
        self.place += 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 60))
def test_it_does_what_a_list_of_texts_does(seed: int, count: int) -> None:  # noqa: PLR0912, PLR0915
    """Edits, generations, retries, branches, moves, undo and redo in any order; then the file gives the same again."""
    dice = random.Random(seed)
    session, plain = Session(), Plain()
    text_of = {0: ""}  # of every node that ever was
    shown = ""  # as a screen has it, which only hears of changes
    actions: list[Any] = []

    def apply(change: Change | None) -> None:
        nonlocal shown
        assert change is not None
        shown = shown[: change.start] + change.inserted + shown[change.start + change.removed :]

    for _ in range(count):
        session.seal()
        text = session.text
        low, high = sorted((dice.randint(0, len(text)), dice.randint(0, len(text))))
        high = min(high, low + 6)
        what = dice.choice(["type", "type", "type", "delete", "generate", "generate", "retry", "branch", "sibling"])
        what = dice.choice([what, what, what, "move", "undo", "undo", "redo", "token"])
        if what == "type":
            new = dice.choice(["가", "나무 ", "abc", "바다가\n", "한글 문장이다. "])
            apply(session.replace(low, high, new))
            plain.add(text[:low] + new + text[high:])
        elif what == "delete" and low < high:
            apply(session.delete(low, high))
            plain.add(text[:low] + text[high:])
        elif what in {"generate", "retry", "token"}:
            at = dice.choice([len(text), low])
            chosen = session.token_at(low) if what == "token" else None
            back = session.retry() if what == "retry" else None
            back = session.branch_for_token(low) if chosen is not None else back
            if back is not None:
                apply(back.change)
                at = back.at
            base = session.text
            parts = dice.choices(["빛", "이 ", "", "넓", "은 들", "x"], k=dice.randint(0, 5))
            number = session.begin_generation(at, SETTINGS)
            for part in parts:
                apply(session.extend_generation(number, (TokenRecord(token_id=9, text=part, logprob=-1.0),)))
            ended = session.end_generation(number, "length", seed=1)
            if ended is not None:
                apply(ended)
            if "".join(parts):
                plain.add(base[:at] + "".join(parts) + base[at:])
            else:
                assert session.text == text or back is None or chosen is not None
        elif what == "branch":
            apply(session.branch(low))
            if low < len(text):
                plain.add(text[:low])
        elif what == "sibling":
            step = dice.choice([-1, 1])
            change = session.move_sibling(step)
            if change is not None:
                apply(change)
                plain.add(shown)  # what was changed before it is carried over
        elif what == "move":
            node = dice.choice(list(text_of))
            apply(session.move_to(node))
            plain.add(text_of[node])
        elif what == "undo" and session.can_undo:
            apply(session.undo())
            plain.place -= 1
        elif what == "redo":
            assert session.can_redo == (plain.place + 1 < len(plain.way))
            if session.can_redo:
                apply(session.redo())
                plain.place += 1
        assert session.text == shown == plain.way[plain.place]
        assert session.length == len(shown) == len(origins(session))
        text_of.setdefault(session.node, session.text)
        assert text_of[session.node] == session.text
        actions += session.take_actions()

    lines = journal.header() + b"".join(journal.lines_of(actions, first=1))
    again = Session(journal.read(lines, where="x")[0])
    whole = journal.header() + b"".join(journal.lines_of(session.take_all(), first=1))
    compact = Session(journal.read(whole, where="x")[0])
    for other in (again, compact):
        assert other.text == session.text
        assert origins(other) == origins(session)
        assert other.outline() == session.outline()
        assert other.siblings() == session.siblings()
        assert other.tokens() == session.tokens()
        for node, text in text_of.items():
            other.move_to(node)
            assert other.text == text
    steps = []
    while session.can_undo:
        session.undo()
        steps.append(session.text)
    assert steps == plain.way[: plain.place][::-1]


def test_typing_in_one_go_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    session = Session()
    for place, character in enumerate("나는 "):
        session.insert(place, character)
    now[0] += 5  # a pause
    for place, character in enumerate("책을\n읽", 3):
        session.insert(place, character)
    assert [session.undo() and session.text for _ in range(3)] == ["나는 책을\n", "나는 ", ""]
    assert session.undo() is None
    for _ in range(3):
        session.redo()
    assert session.text == "나는 책을\n읽"
    for end in (7, 6, 5):
        session.delete(end - 1, end)
    session.undo()
    assert session.text == "나는 책을\n읽"


def test_a_long_stretch_of_typing_is_several_steps() -> None:
    session = Session()
    for place in range(module.RUN_CHARACTERS + 20):
        session.insert(place, "가")
    session.undo()
    assert session.length == module.RUN_CHARACTERS


def test_who_wrote_what(tokens: Make) -> None:
    session = Session()
    session.insert(0, "옛날에 ")
    generated(session, tokens("나무", "가 ", "있었다."))
    assert origins(session) == "wwww" + "g" * 8
    session.insert(session.length, " 끝")  # behind it: written
    session.insert(6, "는")  # inside of it: edited
    session.replace(7, 8, "만")  # over it: edited
    session.insert(0, "아주 ")
    session.insert(7, "!")  # where written and generated meet
    assert session.text == "아주 옛날에 !나무는만 있었다. 끝"
    assert origins(session) == "www" + "wwww" + "w" + "gg" + "ee" + "ggggg" + "ww"
    assert session.spans(0, 1)[0].end == 1


def test_tokens_stay_known_where_their_text_does(tokens: Make) -> None:
    session = Session()
    session.insert(0, "옛날에 ")
    generated(session, tokens("나무", "", "", "가", " 있", "었다"))
    assert [(view.start, view.end, len(view.records)) for view in session.tokens()] == [
        (4, 6, 1), (6, 7, 3), (7, 9, 1), (9, 11, 1),
    ]  # fmt: skip
    session.insert(5, "X")
    assert [(view.start, view.end) for view in session.tokens()] == [(7, 8), (8, 10), (10, 12)]
    view = session.token_at(9)
    assert view is not None
    assert (view.record.text, view.record.candidates[1].kept, view.logprob) == (" 있", False, -0.5)
    assert session.token_at(4) is None
    assert session.token_at(99) is None
    session.insert(0, "더 ")
    run, rest = session.draft().runs[0], session.draft().runs[1:]
    assert (run.start, run.end, run.token_ids, run.whole_start, rest) == (9, 14, (11, 12, 13, 14, 15), False, ())


def test_another_try_is_a_sibling_and_undo_gives_the_first_back(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    generated(session, tokens("이", " 온다"))
    session.insert(session.length, "!")
    for number, text in enumerate(("은", "날", "비"), 2):
        back = session.retry()
        assert back is not None
        assert (session.text, back.at) == ("봄", 1)
        generated(session, tokens(text))
        siblings = session.siblings()
        assert siblings is not None
        assert (siblings.index, siblings.count) == (number, number)
    session.undo()
    assert session.text == "봄날"
    session.undo()
    session.undo()
    assert session.text == "봄이 온다!"
    assert session.move_sibling(-1) is None
    assert session.move_sibling(1) is not None
    assert session.text == "봄은"
    session.move_sibling(-1)
    assert session.text == "봄이 온다!"  # with what was written on it


def test_another_try_keeps_what_was_changed_before_it(tokens: Make) -> None:
    session = Session()
    session.insert(0, "그는")
    generated(session, tokens(" 웃었다", "."))
    session.insert(session.length, " 그리고")
    session.replace(0, 1, "그녀")
    back = session.retry()
    assert back is not None
    assert (session.text, back.at) == ("그녀는", 3)
    generated(session, tokens(" 울었다."), at=back.at)
    siblings = session.siblings()
    assert siblings is not None
    assert (siblings.index, siblings.count) == (2, 2)
    back = session.retry()
    assert back is not None
    generated(session, tokens(" 잤다."), at=back.at)
    assert session.text == "그녀는 잤다."
    session.move_sibling(-1)
    session.move_sibling(-1)
    assert session.text == "그녀는 웃었다. 그리고"
    for text in ("그녀는 울었다.", "그녀는 잤다.", "그녀는 울었다.", "그녀는 웃었다. 그리고", "그는 웃었다. 그리고"):
        session.undo()
        assert session.text == text


def test_another_version_keeps_what_was_changed_before_it(tokens: Make) -> None:
    session = Session()
    session.insert(0, "그는 집에서")
    generated(session, tokens(" 웃었다."))
    session.retry()
    generated(session, tokens(" 울었다."))
    session.replace(0, 1, "그녀")
    before = session.node
    assert session.move_sibling(-1) == Change(start=0, removed=12, inserted="그녀는 집에서 웃었다.")
    siblings = session.siblings()
    assert siblings is not None
    assert (siblings.index, siblings.count) == (1, 2)
    assert origins(session) == "ww" + "w" * 5 + "g" * 5
    session.move_sibling(1)
    assert (session.text, session.node) == ("그녀는 집에서 울었다.", before)
    session.undo()
    session.undo()
    session.undo()
    assert session.text == "그는 집에서 울었다."


def test_another_try_in_a_gap_keeps_what_was_changed_around_it(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄이 핀다.")
    generated(session, tokens(" 오면", " 꽃이"), at=2)
    session.delete(session.length - 1, session.length)
    session.insert(session.length, "!")
    session.replace(0, 1, "여름")
    session.insert(5, "는")
    assert session.text == "여름이 오는면 꽃이 핀다!"
    back = session.retry()
    assert back is not None
    assert (session.text, back.at) == ("여름이 핀다!", 3)
    outline = session.outline()
    number = session.begin_generation(back.at, SETTINGS)
    change = session.end_generation(number, "cancelled")
    assert change is not None
    assert session.text == "여름이 오는면 꽃이 핀다!"
    session.retry()  # the changes that were carried are there already
    assert session.outline() == outline


def test_a_prompt_with_other_text_in_it_is_carried_with_its_hands(tokens: Make) -> None:
    session = Session()
    session.insert(0, "하나 셋")
    generated(session, tokens(" 넷"))
    generated(session, tokens(" 둘"), at=2)  # in what is the prompt of the other
    session.undo()
    generated(session, tokens(" 다섯"))
    first = session.siblings()
    assert first is not None
    assert first.count == 1
    session.insert(2, "째")
    session.retry()
    assert (session.text, origins(session)) == ("하나째 셋 넷", "wwwwwgg")


def test_a_seed_that_is_known_late_is_kept(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    number = session.begin_generation(1, SETTINGS)
    session.extend_generation(number, tokens("이"))
    session.end_generation(number, "cancelled")
    session.insert(2, " 온")
    session.set_seed(number, 77)
    session.set_seed(number, 78)
    session.insert(4, "다")
    lines = journal.header() + b"".join(journal.lines_of(session.take_actions(), first=1))
    again = Session(journal.read(lines, where="x")[0])
    for known in (session, again):
        made = next(source.generation for source in known.versions.tree.sources.values() if source.generation)
        assert (made.reason, made.seed) == ("cancelled", 77)
    session.undo()
    assert session.text == "봄이"  # typing went on as one step


def test_the_space_before_a_gap_is_read_and_not_owed(tokens: Make) -> None:
    for fills, owed in ((False, True), (True, False)):
        session = Session()
        session.insert(0, "봄이 핀다")
        number = session.begin_generation(3, SETTINGS, vocabulary="v", fills=fills)
        session.extend_generation(number, tokens("꽃이 "))
        assert session.draft().runs[0].space_owed is owed
    session = Session()
    session.insert(0, "봄이 ")
    number = session.begin_generation(3, SETTINGS, vocabulary="v", fills=True)
    session.extend_generation(number, tokens("온다"))
    assert session.draft().runs[0].space_owed


def test_a_try_that_nothing_came_of_changes_nothing(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    generated(session, tokens("이"))
    before = session.outline()
    assert session.retry() is not None
    number = session.begin_generation(1, SETTINGS)
    assert session.end_generation(number, "cancelled") == Change(start=1, removed=0, inserted="이")
    assert session.outline() == before
    number = session.begin_generation(2, SETTINGS)
    assert session.end_generation(number, "cancelled") is None
    assert session.text == "봄이"
    assert session.end_generation(number, "cancelled") is None


@pytest.mark.parametrize("meddle", ["type", "undo", "move"])
def test_a_text_that_was_changed_takes_no_more_tokens(tokens: Make, meddle: str) -> None:
    session = Session()
    session.insert(0, "봄")
    number = session.begin_generation(1, SETTINGS)
    assert session.extend_generation(number, tokens("이")) == Change(start=1, removed=0, inserted="이")
    if meddle == "type":
        session.insert(0, "새")
    elif meddle == "undo":
        session.undo()
    else:
        session.move_to(0)
    text = session.text
    assert session.extend_generation(number, tokens(" 온다")) is None
    session.end_generation(number, "cancelled", seed=1)
    assert session.text == text


def test_typing_before_the_first_token_counts_as_a_change(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    number = session.begin_generation(1, SETTINGS)
    session.insert(1, "날")
    assert session.extend_generation(number, tokens("이")) is None


def test_a_branch_in_the_middle_of_a_generation_splits_it(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    whole = generated(session, tokens("이", " 온", "다", "."))
    session.insert(session.length, " 꽃이 핀다.")
    assert session.branch(4) == Change(start=4, removed=9, inserted="")
    generated(session, tokens(" 날"))
    assert session.text == "봄이 온 날"
    siblings = session.siblings()
    assert siblings is not None
    assert (siblings.index, siblings.count) == (2, 2)
    session.move_to(whole)
    assert session.text == "봄이 온다."
    back = session.retry()  # of the whole generation, not of its second half
    assert back is not None
    assert (session.text, back.at) == ("봄", 1)


def test_a_branch_keeps_corrections_before_it(tokens: Make) -> None:
    session = Session()
    session.insert(0, "보미 ")
    generated(session, tokens("온", "다", "."))
    session.replace(0, 2, "봄이")
    session.branch(4)
    assert session.text == "봄이 온"
    session.undo()
    assert session.text == "봄이 온다."


def test_another_token_goes_on_from_its_place(tokens: Make) -> None:
    session = Session()
    session.insert(0, "봄")
    generated(session, tokens("이", " 온", "다", "."))
    session.insert(session.length, " 끝")
    back = session.branch_for_token(3)
    assert back is not None
    assert (session.text, back.at) == ("봄이", 2)
    generated(session, tokens(" 간"))
    assert session.text == "봄이 간"
    session.undo()
    assert session.text == "봄이 온다. 끝"
    assert session.branch_for_token(0) is None


@pytest.mark.parametrize("corrected", [False, True])
def test_another_token_in_a_gap_keeps_what_follows_the_gap(tokens: Make, corrected: bool) -> None:
    session = Session()
    session.insert(0, "봄이 핀다.")
    generated(session, tokens(" 오면", " 꽃", "이"), at=2)
    assert session.text == "봄이 오면 꽃이 핀다."
    if corrected:
        session.insert(0, "새")
    offset = session.text.index("꽃")
    back = session.branch_for_token(offset)
    assert back is not None
    assert session.text == ("새" if corrected else "") + "봄이 오면 핀다."
    assert back.at == offset - 1


def test_what_is_typed_is_nfc_also_where_it_meets_the_text() -> None:
    session = Session()
    assert session.insert(0, unicodedata.normalize("NFD", "한글")).inserted == "한글"
    assert session.insert(2, "\r\n둘\r셋").inserted == "\n둘\n셋"
    session.set_text("ᄒ x")
    assert session.insert(1, "ᅡ") == Change(start=0, removed=1, inserted="하")
    assert session.insert(1, "ᆫ") == Change(start=0, removed=1, inserted="한")
    assert session.text == "한 x"
    session.set_text("a-́b")
    assert session.delete(1, 2) == Change(start=0, removed=3, inserted="á")
    assert unicodedata.is_normalized("NFC", session.text)
    with pytest.raises(InputError, match="character 1"):
        session.insert(0, "가\ud800")
    assert session.text == "áb"


def test_the_smallest_replacement_is_made() -> None:
    session = Session()
    session.insert(0, "바다는 넓고 깊다")
    assert session.set_text("바다는 아주 넓고 깊다") == Change(start=4, removed=0, inserted="아주 ")
    assert session.set_text("바다는 아주 넓고 깊다").nothing
    assert session.set_text("") == Change(start=0, removed=12, inserted="")


def test_the_tree_as_rows(tokens: Make) -> None:
    session = Session()
    for place, word in enumerate(("하나 ", "둘 ", "셋 ")):
        session.seal()
        session.insert(3 * place if place < 2 else 5, word)
    generated(session, tokens("넷", " 다섯"))
    session.retry()
    generated(session, tokens("사"))
    rows = session.outline()
    assert [(row.depth, row.kind, row.excerpt, row.tokens, row.current, row.children) for row in rows] == [
        (0, "edit", "하나 둘 셋", 0, False, 2),
        (1, "generation", "넷 다섯", 2, False, 0),
        (1, "generation", "사", 1, True, 0),
    ]
    assert [row.on_path for row in rows] == [True, False, True]
    session.move_to(rows[1].node)
    assert session.text == "하나 둘 셋 넷 다섯"


def test_opening_a_file_is_not_undone_but_its_change_from_outside_is() -> None:
    session = Session()
    session.open("첫째 줄\r\n둘째 줄\n")
    assert session.text == "첫째 줄\n둘째 줄\n"
    assert not session.can_undo
    session.insert(0, "새 ")
    assert session.open("첫째 줄\n셋째 줄\n").nothing is False
    assert session.text == "첫째 줄\n셋째 줄\n"
    session.undo()
    assert session.text == "새 첫째 줄\n둘째 줄\n"


def test_facts_beside_the_text() -> None:
    session = Session()
    session.insert(0, "\n  제목이 되는 줄  \n본문")
    assert session.title == "제목이 되는 줄"
    session.cursor = 3
    session.settings = SETTINGS
    session.model = "/어디/모델"
    session.take_actions()
    session.model = "/어디/모델"
    assert session.take_actions() == []
    assert (session.cursor, session.settings, session.model, session.file) == (3, SETTINGS, "/어디/모델", None)
    session.set_text("짧다")
    assert session.cursor == 2


@pytest.mark.parametrize("call", ["insert", "delete", "branch", "begin", "move"])
def test_places_that_there_are_not(call: str) -> None:
    session = Session()
    session.insert(0, "가")
    calls: dict[str, Callable[[], object]] = {
        "insert": lambda: session.insert(2, "나"),
        "delete": lambda: session.delete(1, 0),
        "branch": lambda: session.branch(5),
        "begin": lambda: session.begin_generation(9, SETTINGS),
        "move": lambda: session.move_to(77),
    }
    with pytest.raises((IndexError, KeyError)):
        calls[call]()
    assert session.text == "가"


def test_a_keystroke_moves_no_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing into a long text touches the pieces at hand only: the text is never put together."""
    session = Session()
    session.open("가나다라 마바사.\n" * 100_000)

    def refuse(*given: object) -> str:
        raise AssertionError("the whole text was put together")

    monkeypatch.setattr(type(session), "text", property(refuse))
    for place in range(500):
        session.insert(500_000 + place, "글")
    session.delete(100, 200)
    session.undo()
    pieces = list(session.versions.tree.table.pieces())
    assert len(pieces) < 10
    assert session.slice(499_999, 500_001)[1] == "글"


def test_versions_refuse_actions_that_make_no_sense() -> None:
    for action in (
        {"op": "node", "id": 1, "parent": 0, "kind": "edit", "at": 5, "remove": 0},
        {"op": "node", "id": 0, "parent": 0, "kind": "edit", "at": 0, "remove": 0},
        {"op": "grow", "id": 3, "text": "x"},
        {"op": "go", "id": 9},
        {"op": "undo"},
        {"op": "source", "id": 1, "origin": "nobody", "text": ""},
        {"op": "source", "id": -1, "origin": "written", "text": ""},
        {"op": "source", "id": 1, "origin": "written", "text": 3},
        {"op": "way", "ids": [], "place": 0, "visited": []},
        {"op": "dance"},
    ):
        with pytest.raises((KeyError, ValueError, IndexError, TypeError)):
            Versions().do(action)
