from __future__ import annotations

import pytest

from korformer.generation.sentences import ends_sentence


@pytest.mark.parametrize(
    "text",
    [
        "바람이 분다.",
        "정말?",
        "뭐라고?!",
        "그는 떠났다…",
        '그가 말했다. "가자."',
        "그가 말했다. “가자.”",
        "(끝났다.)",
        "첫 줄\n",
        '앞 줄에서 열린 "것은\n세지 않는다.',
        "봄이 왔다. ",
        "終わった。",
    ],
)
def test_sentences_that_end(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize(
    "text",
    ["", "바람이", "바람이 분다. 그", "3.", "제 12.", '그가 말했다. "가자.', "그가 말했다. “가자.", "(끝났다.", "가,"],
)
def test_sentences_that_go_on(text: str) -> None:
    assert not ends_sentence(text)
