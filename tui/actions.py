"""Every command of the writing screen in one table: its key, and what it is called in both languages.

Keys are function keys and Ctrl with a letter, for those reach a program while an input method composes Hangul; a
letter alone would not. The identifiers are those of the key file (`keys.toml`).
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType

from korformer.tui.words import chosen_language


@dataclass(frozen=True, kw_only=True)
class Action:
    """A command.

    Attributes:
        id: its name in the key file, and in `WritingScreen.commands`.
        keys: its keys, separated by commas.
        english, korean: one line of help each.
        short: what the bottom line says in English and Korean; None keeps it off that line.
    """

    id: str
    keys: str
    english: str
    korean: str
    short: tuple[str, str] | None = None

    @property
    def help(self) -> str:
        """One line of help in the language of the screen."""
        return self.korean if chosen_language() == "ko" else self.english

    @property
    def label(self) -> str:
        """A word in the language of the screen."""
        return "" if self.short is None else self.short[chosen_language() == "ko"]


ACTIONS = (
    Action(
        id="generate",
        keys="f5,ctrl+g",
        english="Write on at the cursor",
        korean="커서 자리에서 이어 쓰기",
        short=("write", "쓰기"),
    ),
    Action(
        id="stop",
        keys="escape",
        english="Stop writing, or go back to the page",
        korean="쓰기를 멈추거나 글로 돌아가기",
        short=("stop", "멈춤"),
    ),
    Action(
        id="retry",
        keys="f6,ctrl+r",
        english="Write the last continuation anew, beside the old one",
        korean="마지막 이어 쓰기를 새로 쓰기 (옛것은 남음)",
        short=("again", "다시"),
    ),
    Action(
        id="previous_sibling",
        keys="f7",
        english="Previous version of this continuation",
        korean="이 자리의 앞 버전",
        short=("prev", "앞 버전"),
    ),
    Action(
        id="next_sibling",
        keys="f8",
        english="Next version of this continuation",
        korean="이 자리의 다음 버전",
        short=("next", "뒤 버전"),
    ),
    Action(
        id="step",
        keys="f9",
        english="Write one token and show what else could have come",
        korean="토큰 하나만 쓰고 다른 후보 보기",
        short=("step", "한 토큰"),
    ),
    Action(
        id="alternatives",
        keys="f10,ctrl+t",
        english="What could have come at the cursor",
        korean="커서 자리에 올 수 있던 후보",
        short=("others", "후보"),
    ),
    Action(
        id="colours",
        keys="f3",
        english="Colour by origin, by probability, or not at all",
        korean="색: 누가 썼는지, 확률, 없음",
        short=("colour", "색"),
    ),
    Action(
        id="panel",
        keys="f2",
        english="Next panel beside the page; after the last one none",
        korean="다음 옆판 (마지막 다음은 닫기)",
        short=("panel", "옆판"),
    ),
    Action(
        id="switch",
        keys="f4",
        english="Go between page and panel",
        korean="글과 옆판 사이 오가기",
        short=("go", "오가기"),
    ),
    Action(
        id="lens",
        keys="f12,ctrl+l",
        english="Show the passages that the model attends to",
        korean="모델이 주목하는 대목 보이기",
        short=("lens", "주목"),
    ),
    Action(id="generate_end", keys="ctrl+e", english="Write on at the end of the text", korean="글 끝에서 이어 쓰기"),
    Action(
        id="branch",
        keys="ctrl+b",
        english="Branch at the cursor: what follows stays in the history",
        korean="커서에서 가지치기 (뒤는 기록에 남음)",
    ),
    Action(id="undo", keys="ctrl+z", english="Undo, edits and generations alike", korean="되돌리기 (편집과 생성 모두)"),
    Action(id="redo", keys="ctrl+y", english="Redo", korean="다시 하기"),
    Action(id="models", keys="ctrl+o", english="Open a model", korean="모델 열기"),
    Action(id="sessions", keys="f11,ctrl+f", english="Open a session", korean="글 열기"),
    Action(id="new_session", keys="ctrl+n", english="Begin a new text", korean="새 글"),
    Action(id="save_text", keys="ctrl+s", english="Write the text to its file", korean="글을 파일로 쓰기"),
    Action(
        id="export_json",
        keys="ctrl+right_square_bracket",
        english="Export text and history as JSON",
        korean="글과 기록을 JSON으로",
    ),
    Action(id="presets", keys="ctrl+d", english="Load a preset of the controls", korean="프리셋 불러오기"),
    Action(id="save_preset", keys="ctrl+k", english="Save the controls as a preset", korean="프리셋 저장"),
    Action(id="reset_sampling", keys="ctrl+u", english="Reset the controls", korean="조절값 처음으로"),
    Action(id="palette", keys="ctrl+p", english="All commands, by name", korean="모든 명령 찾기"),
    Action(id="theme", keys="ctrl+underscore", english="Light or dark", korean="밝게 또는 어둡게"),
    Action(id="help", keys="f1", english="This help", korean="도움말", short=("help", "도움")),
    Action(
        id="leave",
        keys="ctrl+q",
        english="Leave; everything is saved",
        korean="끝내기 (모두 저장됨)",
        short=("quit", "끝"),
    ),
)
"""In the order of the help screen."""


HINTS = (
    "generate",
    "stop",
    "retry",
    "panel",
    "alternatives",
    "lens",
    "help",
    "leave",
    "colours",
    "step",
    "previous_sibling",
    "next_sibling",
    "switch",
)
"""What the bottom line shows, as far as there is room for it."""


def action_of(id: str) -> Action:
    """The command of an identifier."""
    return next(action for action in ACTIONS if action.id == id)


def bindings() -> list[BindingType]:
    """The keys of the table."""
    return [Binding(action.keys, f"do('{action.id}')", action.english, id=action.id) for action in ACTIONS]
