"""What the screen says, in English and in Korean; the locale decides once, when the program starts."""

from __future__ import annotations

from korformer.errors import KorformerError
from korformer.tui import terminal
from korformer.tui.korean import in_korean

_language = terminal.language()


def choose_language(language: str) -> None:
    """Speak "en" or "ko" from now on."""
    global _language  # noqa: PLW0603  the one choice that holds for the whole screen
    _language = language


def chosen_language() -> str:
    """The language of the screen, "en" or "ko"."""
    return _language


def say(key: str, **values: object) -> str:
    """A phrase in the language of the screen.

    Args:
        key: of `PHRASES`.
        values: what its braces stand for; errors in the language of the screen too.
    """
    shown = {name: told(value) if isinstance(value, KorformerError) else value for name, value in values.items()}
    return PHRASES[key][_language == "ko"].format(**shown)


def told(said: KorformerError | str) -> str:
    """What the library says, in the language of the screen as far as there are words for it."""
    return in_korean(said) if _language == "ko" else str(said)


PHRASES: dict[str, tuple[str, str]] = {
    "placeholder": ("Write here. F5 writes on.", "여기에 쓰세요. F5가 이어 씁니다."),
    # Status line
    "no model": ("no model", "모델 없음"),
    "empty": ("no model", "모델 없음"),
    "loading": ("loading", "여는 중"),
    "idle": ("ready", "준비됨"),
    "reading": ("reading", "읽는 중"),
    "writing": ("writing", "쓰는 중"),
    "working": ("working", "계산 중"),
    "left": ("{time} left", "{time} 남음"),
    "rate": ("{rate:.0f} tok/s", "{rate:.0f}토큰/초"),
    "slow rate": ("{rate:.1f} tok/s", "{rate:.1f}토큰/초"),
    "entropy": ("entropy {nats:.2f}", "엔트로피 {nats:.2f}"),
    "characters": ("{count:,} chars", "{count:,}자"),
    "version": ("version {index}/{count}", "버전 {index}/{count}"),
    "unsaved": ("NOT SAVED", "저장 안 됨"),
    "colours origin": ("colour: origin", "색: 누가 썼나"),
    "colours probability": ("colour: probability", "색: 확률"),
    "colours none": ("colour: none", "색: 없음"),
    # Endings
    "end": ("The text ended.", "글이 끝났습니다."),
    "joined": ("The gap is filled.", "사이를 채웠습니다."),
    "stop string": ("A stop string came.", "멈춤 글이 나왔습니다."),
    "sentence": ("The sentence ended.", "문장이 끝났습니다."),
    "length": ("Stopped after {tokens:,} tokens.", "{tokens:,}토큰을 썼습니다."),
    "cancelled": ("Stopped.", "멈췄습니다."),
    "failed": ("Could not go on.", "더 쓰지 못했습니다."),
    "what follows is ignored": (
        "This model cannot fill in: what follows the cursor is not read.",
        "이 모델은 사이를 채우지 못합니다. 커서 뒤는 읽지 않습니다.",
    ),
    "text changed": ("The text was changed where it was being written; stopped.", "쓰던 자리를 고쳐서 멈췄습니다."),
    # What is missing
    "wait for the model": ("The model is not open yet.", "모델이 아직 열리지 않았습니다."),
    "open a model": ("Open a model first (Ctrl+O).", "먼저 모델을 여세요 (Ctrl+O)."),
    "nothing to retry": ("Nothing has been generated here yet.", "여기에는 생성한 글이 아직 없습니다."),
    "no siblings": ("There is only this version.", "이 버전 하나뿐입니다."),
    "nothing to undo": ("Nothing to undo.", "되돌릴 것이 없습니다."),
    "nothing to redo": ("Nothing to redo.", "다시 할 것이 없습니다."),
    "no token": ("Write something first.", "먼저 무엇이든 쓰세요."),
    "too small": (
        "The window is too small: {width} x {height}.\nAt least {least_width} x {least_height} are needed.\n"
        "The text is safe.",
        "창이 너무 작습니다: {width} x {height}.\n{least_width} x {least_height} 이상이어야 합니다.\n글은 안전합니다.",
    ),
    "busy": ("Stop writing first (Esc).", "먼저 쓰기를 멈추세요 (Esc)."),
    # Files
    "reopened": ("Went on with: {title}", "이어서 엽니다: {title}"),
    "new session": ("A new text.", "새 글입니다."),
    "state restored": ("The model remembers {tokens:,} tokens.", "모델이 {tokens:,}토큰을 기억합니다."),
    "not saved": (
        "Not saved: {error} The text is kept here; it is tried again.",
        "저장하지 못했습니다: {error} 글은 여기에 있고, 다시 해 봅니다.",
    ),
    "not saved, leave": (
        "Not saved: {error} Leave once more to go without what is new.",
        "저장하지 못했습니다: {error} 한 번 더 끝내면 새로 쓴 것을 버리고 나갑니다.",
    ),
    "not opened": ("Not opened: {error}", "열지 못했습니다: {error}"),
    "recover": (
        "Open what stands before the damage; the damaged file is kept",
        "손상된 데 앞까지 열기 (손상된 파일은 남겨 둡니다)",
    ),
    "changed outside": (
        "Another program changed {path}: that is in the text now, and undo takes it back.",
        "다른 프로그램이 {path} 파일을 고쳐서 글에 넣었습니다. 되돌리기로 물릴 수 있습니다.",
    ),
    "changed meanwhile": (
        "Another program changed {path} meanwhile. Write once more to replace what it wrote.",
        "그사이 다른 프로그램이 {path} 파일을 고쳤습니다. 한 번 더 쓰면 그 내용을 덮어씁니다.",
    ),
    "own model gone": (
        "The model of this text is gone: {path}. {name} is opened in its place.",
        "이 글을 쓰던 모델이 없습니다: {path}. 대신 {name} 모델을 엽니다.",
    ),
    "saved again": ("Saved again.", "다시 저장됩니다."),
    "written to": ("Written to {path}", "{path}에 썼습니다"),
    "model opened": ("{name} is open.", "{name} 모델을 열었습니다."),
    "model failed": ("Could not open the model: {error}", "모델을 열지 못했습니다: {error}"),
    "model gone": (
        "The folder of the model is gone: {path}. What is open still works; it cannot be opened again.",
        "모델 폴더가 없어졌습니다: {path}. 열린 것은 계속 쓸 수 있으나 다시 열 수는 없습니다.",
    ),
    "no models": ("No models found here. Type a path below.", "여기에는 모델이 없습니다. 아래에 경로를 쓰세요."),
    "no sessions": ("No other texts.", "다른 글이 없습니다."),
    "in use": ("open elsewhere", "다른 곳에 열림"),
    "crashed": (
        "The program failed: {error}. The text is saved; run korformer tui to go on, or with --debug to see more.",
        "프로그램 오류: {error}. 글은 저장했습니다. korformer tui로 이어서 쓰거나 --debug로 자세히 보세요.",
    ),
    # Dialogs
    "models": ("Open a model", "모델 열기"),
    "sessions": ("Open a text", "글 열기"),
    "presets": ("Load a preset", "프리셋 불러오기"),
    "path of a model": ("path of a model directory", "모델 폴더 경로"),
    "path of a text": ("path of a text file or session", "글 파일이나 세션 경로"),
    "save text as": ("Write the text to", "글을 쓸 파일"),
    "export json as": ("Write text and history as JSON to", "글과 기록을 JSON으로 쓸 파일"),
    "preset name": ("Name of the preset", "프리셋 이름"),
    "preset saved": ("Preset {name} saved.", "프리셋 {name}: 저장했습니다."),
    "preset loaded": ("Preset {name}.", "프리셋: {name}"),
    "overwrite": (
        "{path} exists. Press Enter again to replace it.",
        "{path}: 이미 있습니다. 바꾸려면 Enter를 한 번 더.",
    ),
    "search": ("a command", "명령"),
    "delete hint": ("Delete removes an own preset", "Delete는 내 프리셋 지우기"),
    "help title": ("Keys", "단축키"),
    "help foot": (
        'Keys can be changed in {path}, one line a command: generate = "f5". Esc closes.',
        '{path}에서 바꿀 수 있습니다. 한 줄에 하나: generate = "f5". Esc로 닫습니다.',
    ),
    "keys ignored": ("{path}: {problems}", "{path}: {problems}"),
    # Panels
    "sampling": ("Controls", "조절"),
    "next": ("Others", "후보"),
    "history": ("Tree", "기록"),
    "attention": ("Lens", "주목"),
    "panel sampling": ("Left/right: step. Enter or a figure: type.", "왼쪽/오른쪽: 한 칸. Enter나 숫자: 입력."),
    "panel next": ("Enter: take it. Delete: ban it.", "Enter: 고르기. Delete: 금지."),
    "panel history": ("Enter: go there.", "Enter: 그리로."),
    "panel attention": ("Enter: jump there.", "Enter: 그 대목으로."),
    "alternatives of": ("Instead of {text}", "{text} 대신"),
    "alternatives next": ("What comes next", "다음에 올 것"),
    "before and after": ("before", "전"),
    "after": ("after", "뒤"),
    "cut": ("cut", "잘림"),
    "banned": (
        "{text} will not come any more. Delete once more allows it.",
        "{text}: 이제 안 나옵니다. Delete로 다시 허용.",
    ),
    "allowed": ("{text} may come again.", "{text}: 다시 나올 수 있습니다."),
    "banned mark": ("banned", "금지"),
    "no alternatives": ("Move to a token and press F10.", "토큰으로 가서 F10을 누르세요."),
    "no history": ("Nothing yet.", "아직 없습니다."),
    "lens off": ("F12 shows what the model attends to.", "F12로 모델이 주목하는 대목을 봅니다."),
    "lens waits": ("Write on, or move to a token.", "이어 쓰거나 토큰으로 가세요."),
    "off": ("off", "끔"),
    "on": ("on", "켬"),
    "random": ("random", "무작위"),
    "none": ("none", "없음"),
    "all": ("all", "전체"),
    "model's own": ("the model's", "모델대로"),
    "generation": ("generated", "생성"),
    "edit": ("edited", "편집"),
    "root": ("beginning", "처음"),
    "branch": ("branch", "가지"),
}
"""English and Korean by key."""
