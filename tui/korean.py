"""What the library says, in Korean: its errors and notices reach the screen in English.

`SAID` holds, by the English with its values in braces, the Korean for what a person at the page can meet. Anything
else is told as it is, behind a line that says in Korean what sort of trouble it is.
"""

from __future__ import annotations

import re
from functools import cache

from korformer.errors import (
    InputError,
    KorformerError,
    ModelDirectoryError,
    PathError,
    ResourceError,
    UsageError,
)


def in_korean(said: KorformerError | str) -> str:
    """An error, or a notice, in Korean as far as there are words for it; `said` itself where there are none."""
    if isinstance(said, str):
        return _translated(said) or said
    what = _translated(said.what)
    if what is None:
        kind = next((words for sort, words in KINDS.items() if isinstance(said, sort)), "")
        return f"{kind}: {said}" if kind else str(said)
    text = f"{said.where}: {what}" if said.where else what
    hint = _translated(said.hint) or said.hint if said.hint else ""
    return f"{text}. {hint}" if hint else text


def _translated(english: str) -> str | None:
    """The Korean for a message, and for those inside its values; None where there is none."""
    parts = english.split("; ")
    if len(parts) > 1:
        translated = [part for part in map(_translated, parts) if part is not None]
        if len(translated) == len(parts):
            return "; ".join(translated)
    for pattern, korean in _patterns():
        found = pattern.fullmatch(english)
        if found:
            return korean.format(**{name: _translated(value) or value for name, value in found.groupdict().items()})
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(_expression(english), re.DOTALL), korean) for english, korean in SAID.items())


def _expression(english: str) -> str:
    parts = re.split(r"\{(\w+)\}", english)
    return "".join(f"(?P<{part}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(parts))


KINDS: dict[type[KorformerError], str] = {
    PathError: "파일이나 폴더 문제",
    UsageError: "쓸 수 없는 값",
    InputError: "읽을 수 없는 내용",
    ModelDirectoryError: "모델 폴더 문제",
    ResourceError: "메모리나 디스크 부족",
}
"""What sort of trouble it is, for messages without Korean words."""

SAID: dict[str, str] = {
    # The operating system
    "cannot read it ({reason})": "읽지 못했습니다 ({reason})",
    "cannot write it ({reason})": "쓰지 못했습니다 ({reason})",
    "cannot make it ({reason})": "만들지 못했습니다 ({reason})",
    "cannot remove it ({reason})": "지우지 못했습니다 ({reason})",
    "cannot write it: {reason}": "쓰지 못했습니다: {reason}",
    "cannot make it: {reason}": "만들지 못했습니다: {reason}",
    "permission denied": "권한이 없습니다",
    "no such file or directory": "그런 파일이나 폴더가 없습니다",
    "not a directory": "폴더가 아닙니다",
    "is a directory": "폴더입니다",
    "read-only file system": "읽기만 되는 디스크입니다",
    "input/output error": "디스크가 읽고 쓰기에 실패했습니다",
    "file name too long": "파일 이름이 너무 깁니다",
    "the disk is full": "디스크가 찼습니다",
    "the disk quota is used up": "디스크 할당량을 다 썼습니다",
    "the file would be larger than this system or its limit (ulimit -f) allows": (
        "이 시스템이나 한도(ulimit -f)보다 큰 파일이 됩니다"
    ),
    "{count} bytes": "{count}바이트",
    "{size} needed, {free} free": "{size} 필요, {free} 남음",
    "{size} free": "{size} 남음",
    "Make room or choose another folder; what was there before is intact.": (
        "자리를 만들거나 다른 폴더를 고르세요. 전에 있던 것은 그대로입니다."
    ),
    "Make room or choose another folder.": "자리를 만들거나 다른 폴더를 고르세요.",
    "needs {size} on disk, {free} free": "디스크에 {size}가 필요하고 {free} 남았습니다",
    "its folder does not exist": "폴더가 없습니다",
    "its folder may not be written to": "폴더에 쓸 수 없습니다",
    "Make the folder first.": "먼저 폴더를 만드세요.",
    "is a folder, not a file": "파일이 아니라 폴더입니다",
    "is a file, not a folder": "폴더가 아니라 파일입니다",
    "no such folder": "그런 폴더가 없습니다",
    "is there already, and is never overwritten": "이미 있으며, 덮어쓰지 않습니다",
    "Choose another name.": "다른 이름을 고르세요.",
    "no files can be made in {folder}": "{folder}에 파일을 만들 수 없습니다",
    "Choose a folder that you may write to.": "쓸 수 있는 폴더를 고르세요.",
    # Texts and sessions
    "is not a file": "파일이 아닙니다",
    "Give a text file, or the folder of a session.": "글 파일이나 세션 폴더를 주세요.",
    "not UTF-8 at byte {place}": "{place}번째 바이트가 UTF-8이 아닙니다",
    "Convert it first, for example with iconv.": "먼저 바꾸세요. 예를 들어 iconv로.",
    "no session is there": "거기에는 세션이 없습니다",
    "Give the folder that has its session.jsonl.": "session.jsonl이 있는 폴더를 주세요.",
    "this session is in use by process {pid} on {host}": "{host}의 프로세스 {pid}이(가) 이 세션을 쓰고 있습니다",
    "Close it there, or open another one.": "그쪽을 닫거나 다른 것을 여세요.",
    "is not a session of korformer": "korformer의 세션이 아닙니다",
    "A text file is opened by its own name as FILE.": "글 파일은 그 이름으로 여세요.",
    "has version {version}, this korformer reads {own}": ("판이 {version}입니다. 이 korformer는 {own}을(를) 읽습니다"),
    "Install the korformer that wrote it, or a newer one.": "이것을 쓴 korformer나 더 새 것을 설치하세요.",
    "half of a surrogate pair (U+{code}) at character {place}": "{place}번째 글자가 서로게이트 반쪽(U+{code})입니다",
    "It stands for no character; take it out.": "아무 글자도 아니니 빼세요.",
    "has a session already": "이미 세션이 있습니다",
    "Open it, or choose another folder.": "그것을 열거나 다른 폴더를 고르세요.",
    "is damaged at line {line}": "{line}번째 줄에서 손상됐습니다",
    "The {lines} lines before can be recovered; the damaged file is kept beside them then.": (
        "그 앞 {lines}줄은 되살릴 수 있고, 손상된 파일은 곁에 남습니다."
    ),
    "Open a copy of it, or begin a new session.": "사본을 열거나 새 글을 시작하세요.",
    "there is no such home folder": "그런 홈 폴더가 없습니다",
    "Write out the whole path.": "전체 경로를 쓰세요.",
    "is not the path of a file": "파일 경로가 될 수 없습니다",
    # The model
    "has no {name}": "{name}이(가) 없습니다",
    "Is it a finished model directory?": "다 만들어진 모델 폴더인가요?",
    "does not list {name}": "{name}이(가) 목록에 없습니다",
    "is damaged: {found} bytes instead of {wanted}": "손상됐습니다: {wanted}바이트가 아니라 {found}바이트",
    "is damaged: its content does not match the manifest": "손상됐습니다: 내용이 목록과 다릅니다",
    "Copy or make it again.": "다시 복사하거나 만드세요.",
    "is not a safetensors file, or is cut off": "safetensors 파일이 아니거나 잘렸습니다",
    "is not valid JSON ({problem})": "올바른 JSON이 아닙니다 ({problem})",
    "is not the configuration of a korformer model": "korformer 모델의 설정이 아닙니다",
    "does not fit its config.json: {problems}": "config.json과 맞지 않습니다: {problems}",
    "the vocabulary is not the one the model was trained with": "모델을 학습할 때 쓴 어휘가 아닙니다",
    "Copy the whole directory from where the model was trained.": "모델을 학습한 곳에서 폴더째 복사하세요.",
    "not enough memory": "메모리가 모자랍니다",
    "Close other programs, or use a smaller model or window.": ("다른 프로그램을 닫거나 더 작은 모델이나 창을 쓰세요."),
    "the model failed ({problem})": "모델이 실패했습니다 ({problem})",
    "Load it again; if that fails, another one.": "다시 열어 보고, 안 되면 다른 모델을 여세요.",
    "the model's output is not a number": "모델이 수가 아닌 것을 내놓았습니다",
    "Its weights are damaged.": "가중치가 손상됐습니다.",
    "no model is loaded": "열린 모델이 없습니다",
    "Open one first.": "먼저 하나 여세요.",
    "no CUDA device is available": "쓸 수 있는 CUDA 장치가 없습니다",
    "`korformer doctor` tells why; or use cpu.": "까닭은 `korformer doctor`가 알려 줍니다. 아니면 cpu를 쓰세요.",
    # Controls
    "{name}: input should be greater than or equal to {limit} (given: {given})": "{limit} 이상이어야 합니다 ({given})",
    "{name}: input should be less than or equal to {limit} (given: {given})": "{limit} 이하여야 합니다 ({given})",
    "{name}: input should be greater than {limit} (given: {given})": "{limit}보다 커야 합니다 ({given})",
    "{name}: input should be less than {limit} (given: {given})": "{limit}보다 작아야 합니다 ({given})",
    "{name}: input should be a valid integer, got a number with a fractional part (given: {given})": (
        "정수여야 합니다 ({given})"
    ),
    "{name}: input should be a finite number (given: {given})": "유한한 수여야 합니다 ({given})",
    "{name}: an empty string is everywhere; leave it out": "빈 글은 어디에나 있으니 빼세요",
    "{text} is not a number": "{text}: 수가 아닙니다",
    "{text} is not a number of at least 1": "{text}: 1 이상의 수가 아닙니다",
    "{text} is not a list of token ids": "{text}: 토큰 번호의 목록이 아닙니다",
    "{text} is not ID=BIAS": "{text}: 번호=가중 꼴이 아닙니다",
    "For example 812=-5.": "예: 812=-5.",
    "no such token: {ids}": "그런 토큰이 없습니다: {ids}",
    "Ids go from 0 to {last}.": "번호는 0부터 {last}까지입니다.",
    "every token that could come is banned": "나올 수 있는 토큰이 모두 금지됐습니다",
    "Ban fewer tokens.": "금지를 줄이세요.",
    "the number of hash rounds must be from 1 to {most}, not {given}": "해시 횟수는 1부터 {most}까지입니다 ({given})",
    "The nearest is {number}.": "가장 가까운 값은 {number}입니다.",
    "no such preset: {name}": "그런 프리셋이 없습니다: {name}",
    "no preset of your own: {name}": "내 프리셋이 아닙니다: {name}",
    "Did you mean {name}?": "{name}인가요?",
    "cannot be the name of a preset: {name}": "프리셋 이름으로 쓸 수 없습니다: {name}",
    "Use letters, digits, spaces and hyphens; it becomes the name of a file.": (
        "글자, 숫자, 빈칸, 붙임표를 쓰세요. 파일 이름이 됩니다."
    ),
    # Notices
    "what follows the cursor is ignored: the model was not trained to fill in gaps": (
        "커서 뒤는 읽지 않습니다: 사이를 채우도록 학습한 모델이 아닙니다"
    ),
    "the text has {length} tokens and the model reads {window}: the first {unread} are not read any more": (
        "글은 {length}토큰이고 모델은 {window}토큰을 읽습니다: 처음 {unread}토큰은 이제 읽지 않습니다"
    ),
    "the model reads {window} tokens: the first {before} of the text before and the last {after} of the text after "
    "are not read": (
        "모델은 {window}토큰을 읽습니다: 앞 글의 처음 {before}토큰과 뒤 글의 마지막 {after}토큰은 읽지 않습니다"
    ),
    "at most {tokens} tokens are written, half of the model's window": "{tokens}토큰까지, 모델 창의 절반만 씁니다",
}
"""Korean by English; a value in braces is any text, translated too where it is one of these."""
