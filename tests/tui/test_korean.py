"""What the library says, in Korean: what it really says, and that no translation outlives its original."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from stage import TEXT, Play, Stage
from textual.widgets import Input

import korformer
import korformer.tui
from korformer.errors import DivergedError, InputError, KorformerError, ModelDirectoryError, PathError
from korformer.generation.settings import SamplingSettings
from korformer.model.directory import load_model
from korformer.storage.failures import failure
from korformer.tui import words
from korformer.tui.fields import FIELDS, read
from korformer.tui.korean import KINDS, SAID, in_korean
from korformer.writing import presets, store
from korformer.writing.text_file import read_text


def raised(act: Callable[[], object]) -> KorformerError:
    with pytest.raises(KorformerError) as caught:
        act()
    return caught.value


def english_sentences(text: str) -> list[str]:
    """Runs of three words and more in Latin letters: no path, name or figure has them."""
    return re.findall(r"[a-z]+ [a-z]+ [a-z]+", text)


def test_every_original_is_still_somewhere_in_the_library() -> None:
    roots = {Path(str(package.__file__)).resolve().parent for package in (korformer, korformer.tui)}
    files = [path for root in roots for path in root.rglob("*.py") if path.name != "korean.py"]
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files)).lower()
    elsewhere = re.compile(  # words of the operating system, of pydantic, and what is put together from parts
        r"input should be|permission denied|no such file|not a directory|is a directory|read-only|input/output"
        r"|file name too long|cannot \w+ it|free$|this session is in use"
    )
    for english in SAID:
        pieces = [piece.strip(" :") for piece in re.split(r"\{\w+\}", english.lower()) if len(piece) > 3]
        assert elsewhere.search(english) or all(piece in source for piece in pieces), english


def test_both_languages_have_the_same_values() -> None:
    for english, korean in SAID.items():
        assert set(re.findall(r"\{(\w+)\}", korean)) <= set(re.findall(r"\{(\w+)\}", english)), english
        assert not english_sentences(korean)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@pytest.mark.parametrize("number", [*FULL, errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG])
def test_refusals_of_the_system(number: int) -> None:
    for doing in ("write", "make") if number in FULL else ("write", "make", "read", "remove"):
        error = failure(OSError(number, os.strerror(number)), Path("/tmp/글"), doing=doing, bytes_needed=5)
        told = in_korean(error)
        assert told.startswith("/tmp/글: ")
        assert not english_sentences(told), told


def test_what_a_person_meets(tmp_path: Path) -> None:
    (tmp_path / "cp949.txt").write_bytes("한글".encode("cp949"))
    (tmp_path / "model").mkdir()
    by_name = {field.name: field for field in FIELDS}
    settings = SamplingSettings()
    session = store.create_session("글")
    acts: list[Callable[[], object]] = [
        lambda: read_text(tmp_path / "cp949.txt"),
        lambda: read_text(tmp_path / "no" / "such.txt"),
        lambda: read_text(tmp_path),
        lambda: store.open_session(tmp_path / "nowhere"),
        lambda: store.open_session(session.path),
        lambda: load_model(tmp_path / "model"),
        lambda: load_model(tmp_path / "gone"),
        lambda: presets.load_preset("없는 것"),
        lambda: presets.save_preset("a/b", settings),
        lambda: presets.delete_preset("창작"),
        lambda: read(by_name["temperature"], "-1", settings),
        lambda: read(by_name["top_p"], "1.5", settings),
        lambda: read(by_name["top_k"], "2.5", settings),
        lambda: read(by_name["temperature"], "따뜻하게", settings),
        lambda: read(by_name["banned_tokens"], "하나", settings),
        lambda: read(by_name["logit_bias"], "812", settings),
        lambda: read(by_name["stop"], '"", "끝"', settings),
    ]
    for act in acts:
        error = raised(act)
        told = in_korean(error)
        assert re.search("[가-힣]", told)
        assert not english_sentences(told.removeprefix(f"{error.where}: ")), (str(error), told)
    session.close()


def test_what_has_no_korean_is_told_as_it_is_behind_its_kind() -> None:
    assert in_korean(PathError("something new", where="a.txt")) == "파일이나 폴더 문제: a.txt: something new"
    assert in_korean(ModelDirectoryError("odd")).startswith(KINDS[ModelDirectoryError])
    assert in_korean(DivergedError("odd")) == "odd"
    assert in_korean("a notice without Korean") == "a notice without Korean"


def test_notices_and_several_problems_at_once() -> None:
    told = in_korean("the text has 6,000 tokens and the model reads 5,120: the first 880 are not read any more")
    assert told == "글은 6,000토큰이고 모델은 5,120토큰을 읽습니다: 처음 880토큰은 이제 읽지 않습니다"
    two = "a: input should be greater than 0 (given: -1); b: input should be less than or equal to 1 (given: 3)"
    assert in_korean(InputError(two)) == "0보다 커야 합니다 (-1); 1 이하여야 합니다 (3)"


def test_the_screen_speaks_one_language(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        words.choose_language("ko")
        await stage.press("ctrl+s")
        entry = stage.app.screen.query_one(Input)
        entry.value = str(tmp_path / "없는-폴더" / "글.txt")
        await stage.press("enter")
        assert stage.foot.endswith("폴더가 없습니다. 먼저 폴더를 만드세요.")

    play(scene, text=TEXT)
