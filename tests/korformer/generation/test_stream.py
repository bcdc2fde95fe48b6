from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import torch

from korformer.errors import UsageError
from korformer.events import Event, Notice, Progress
from korformer.generation.context import ContextWindow
from korformer.generation.sampler import Sampler
from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import GeneratedToken, generate, prompt_ids

Make = Callable[..., Any]
SEP = 3
OPEN = SamplingSettings(temperature=1.0, top_p=1.0, seed=11, max_new_tokens=40)
GREEDY = SamplingSettings(temperature=0.0, seed=0)


def ids(vocabulary: Any, *pieces: str | bytes) -> list[int]:
    return [vocabulary.id_of(piece) for piece in pieces]


def text_of(tokens: list[GeneratedToken]) -> str:
    return "".join(token.text for token in tokens)


def test_writes_to_the_end_of_the_document(vocabulary: Any, speller: Make) -> None:
    spelled = ids(vocabulary, "안녕", "하세요", "\n", "나무")
    stream = generate(speller(spelled), vocabulary, "", GREEDY)
    tokens = list(stream)
    assert [token.token_id for token in tokens] == [*spelled, SEP]
    assert [token.text for token in tokens] == ["안녕", "하세요", "\n", "나무", ""]
    assert [token.position for token in tokens] == [1, 2, 3, 4, 5]
    summary = stream.summary
    assert (summary.text, summary.stop_reason, summary.tokens) == ("안녕하세요\n나무", "end", 5)
    assert (summary.seed, summary.prompt_tokens) == (0, 1)
    assert summary.tokens_per_second > 0


def test_the_prompt_is_the_beginning_of_a_document(vocabulary: Any, make_model: Make) -> None:
    model = make_model()
    list(generate(model, vocabulary, unicodedata.normalize("NFD", "나무 가"), SamplingSettings(max_new_tokens=1)))
    assert model.states[0].tokens == [2, *ids(vocabulary, "나무", " ", "가")]


def test_names_of_special_tokens_in_a_prompt_are_text(vocabulary: Any) -> None:
    assert prompt_ids(vocabulary, "[SEP]") == [2, *ids(vocabulary, "[", "S", "E", "P", "]")]


def test_stops_at_the_limit_without_reading_the_last_token(vocabulary: Any, make_model: Make) -> None:
    model = make_model()
    stream = generate(model, vocabulary, "가", SamplingSettings(max_new_tokens=7, seed=2, banned_tokens=(SEP,)))
    assert len(list(stream)) == 7
    assert (stream.summary.stop_reason, stream.summary.tokens) == ("length", 7)
    assert model.states[0].length == 2 + 6


def test_every_text_is_valid_and_is_the_sum_of_its_tokens(vocabulary: Any, make_model: Make) -> None:
    model = make_model(max_tokens=24)
    sampler = Sampler(vocabulary)
    for seed in range(30):
        settings = SamplingSettings(temperature=1.3, top_p=1.0, seed=seed, max_new_tokens=50, stop=("가a",))
        stream = generate(model, vocabulary, "나무", settings, sampler=sampler)
        tokens = list(stream)
        assert text_of(tokens) == stream.summary.text
        assert "�" not in stream.summary.text
        written = b"".join(vocabulary.token_bytes(token.token_id) for token in tokens)
        if stream.summary.stop_reason != "stop":
            assert written.decode("utf-8", "ignore") == stream.summary.text
        else:
            assert written.decode("utf-8", "ignore").split("가a")[0] == stream.summary.text


def test_a_character_spread_over_tokens_comes_with_the_last_of_them(vocabulary: Any, speller: Make) -> None:
    spelled = ids(vocabulary, "a", b"\xed", b"\x9e", b"\xa3", "b")
    tokens = list(generate(speller(spelled), vocabulary, "", GREEDY))
    assert [token.text for token in tokens] == ["a", "", "", "힣", "b", ""]


def test_a_character_cut_off_by_the_limit_is_left_out(vocabulary: Any, speller: Make) -> None:
    spelled = ids(vocabulary, "a", b"\xed", b"\x9e", b"\xa3")
    stream = generate(speller(spelled), vocabulary, "", GREEDY.model_copy(update={"max_new_tokens": 3}))
    assert text_of(list(stream)) == "a"
    assert stream.summary.tokens == 3


def test_a_character_begun_in_the_prompt_is_finished(vocabulary: Any, speller: Make) -> None:
    prompt = [2, *ids(vocabulary, "a", b"\xed")]
    tokens = list(generate(speller(ids(vocabulary, b"\x9e", b"\xa3"), prompt_tokens=3), vocabulary, prompt, GREEDY))
    assert [token.text for token in tokens] == ["", "힣", ""]


def test_the_same_seed_writes_the_same_text(vocabulary: Any, make_model: Make) -> None:
    def write(seed: int) -> str:
        stream = generate(make_model(), vocabulary, "나무", OPEN.model_copy(update={"seed": seed}))
        list(stream)
        return stream.summary.text

    assert write(1) == write(1)
    assert len({write(seed) for seed in range(8)}) == 8


def test_without_a_seed_one_is_drawn_and_told(vocabulary: Any, make_model: Make) -> None:
    free = OPEN.model_copy(update={"seed": None})
    first = generate(make_model(), vocabulary, "나무", free)
    second = generate(make_model(), vocabulary, "나무", free)
    text = text_of(list(first))
    assert text != text_of(list(second))
    again = generate(make_model(), vocabulary, "나무", OPEN.model_copy(update={"seed": first.summary.seed}))
    assert text_of(list(again)) == text


def test_a_text_stopped_and_continued_is_the_same(vocabulary: Any, make_model: Make) -> None:
    whole = [token.token_id for token in generate(make_model(max_tokens=16), vocabulary, "나무", OPEN)]
    assert len(whole) > 20
    for cut in (1, 9, 20):
        prompt = [*prompt_ids(vocabulary, "나무"), *whole[:cut]]
        rest = generate(make_model(max_tokens=16), vocabulary, prompt, OPEN)
        assert [token.token_id for token in rest][: len(whole) - cut] == whole[cut:]


def test_a_window_kept_between_generations_changes_nothing(vocabulary: Any, make_model: Make) -> None:
    model = make_model(max_tokens=16)
    window, sampler = ContextWindow(model), Sampler(vocabulary)
    for seed in range(5):
        settings = OPEN.model_copy(update={"seed": seed})
        kept = list(generate(window, vocabulary, "나무가", settings, sampler=sampler))
        assert kept == list(generate(make_model(max_tokens=16), vocabulary, "나무가", settings))
    assert len(model.states) == 1


def test_settings_are_read_once_for_every_token(vocabulary: Any, make_model: Make) -> None:
    banned: list[int] = []
    asked = []

    def source() -> SamplingSettings:
        asked.append(1)
        return SamplingSettings(temperature=0.0, banned_tokens=tuple(banned), max_new_tokens=4)

    # The likeliest token is always the same one, until it is banned in the middle of the stream.
    favourite, second = ids(vocabulary, "가", "나무")
    scores = torch.zeros(vocabulary.size)
    scores[favourite], scores[second] = 9.0, 8.0
    stream = generate(make_model(rule=lambda _: scores), vocabulary, "", source)
    seen = [next(stream).token_id, next(stream).token_id]
    banned.append(favourite)
    seen += [token.token_id for token in stream]
    assert seen == [favourite, favourite, second, second]
    assert len(asked) == 4


def test_a_lowered_limit_ends_a_running_stream(vocabulary: Any, make_model: Make) -> None:
    limits = iter([10, 10, 2, 2])
    stream = generate(make_model(), vocabulary, "", lambda: OPEN.model_copy(update={"max_new_tokens": next(limits)}))
    assert len(list(stream)) == 2
    assert stream.summary.stop_reason == "length"


@pytest.mark.parametrize(
    ("pieces", "stop", "texts", "reason"),
    [
        (["가", "\n", "\n", "나무"], ("\n\n",), ["가", "", ""], "stop"),
        (["가", "\n", "나무"], ("\n\n",), ["가", "\n", "나무", ""], "end"),
        (["가", "하세요", "나무"], ("세",), ["가", "하"], "stop"),
        (["안녕", "하세요", "끝"], ("녕하세요끝", "요끝"), ["안", "", ""], "stop"),
        (["가", b"\xea", b"\xb0", b"\x80"], ("가가",), ["", "", "", ""], "stop"),
        (["가", "\n"], ("\n\n",), ["가", "\n", ""], "end"),
    ],
)
def test_stop_strings(
    vocabulary: Any, speller: Make, pieces: list[str], stop: tuple[str, ...], texts: list[str], reason: str
) -> None:
    stream = generate(speller(ids(vocabulary, *pieces)), vocabulary, "", SamplingSettings(temperature=0.0, stop=stop))
    assert [token.text for token in stream] == texts
    assert stream.summary.stop_reason == reason
    assert stream.summary.text == "".join(texts)


def test_a_stop_string_in_the_prompt_does_not_count(vocabulary: Any, speller: Make) -> None:
    stream = generate(
        speller(ids(vocabulary, "\n", "가"), prompt_tokens=3),
        vocabulary,
        "가\n",
        SamplingSettings(temperature=0.0, stop=("\n\n",)),
    )
    assert text_of(list(stream)) == "\n가"


def test_cancelling_keeps_what_waited_for_a_stop_string(vocabulary: Any, speller: Make) -> None:
    cancel = False
    stream = generate(
        speller(ids(vocabulary, "가", "\n", "나무")),
        vocabulary,
        "",
        SamplingSettings(temperature=0.0, stop=("가\n나무는",)),
        cancelled=lambda: cancel or stream.summary.tokens == 2,
    )
    assert text_of(list(stream)) == "가\n"
    assert (stream.summary.stop_reason, stream.summary.tokens, stream.summary.text) == ("cancelled", 2, "가\n")


def test_cancelling_between_tokens_draws_no_other(vocabulary: Any, make_model: Make) -> None:
    cancel: list[bool] = []
    model = make_model()
    stream = generate(model, vocabulary, "나무", OPEN, cancelled=lambda: bool(cancel))
    seen = [next(stream), next(stream)]
    length = model.states[0].length
    cancel.append(True)
    assert list(stream) == []
    assert model.states[0].length == length
    assert stream.summary.stop_reason == "cancelled"
    assert stream.summary.text == text_of(seen)


def test_cancelling_while_the_prompt_is_read(vocabulary: Any, make_model: Make) -> None:
    asked = iter(range(100))
    stream = generate(make_model(), vocabulary, "나무" * 20, OPEN, cancelled=lambda: next(asked) > 5)
    assert list(stream) == []
    summary = stream.summary
    assert (summary.stop_reason, summary.tokens, summary.tokens_per_second) == ("cancelled", 0, 0.0)


def test_a_prompt_longer_than_the_window(vocabulary: Any, make_model: Make) -> None:
    events: list[Event] = []
    stream = generate(make_model(max_tokens=16), vocabulary, ("나무가 " * 200).rstrip(), OPEN, listen=events.append)
    assert len(list(stream)) == 40
    notices = [event for event in events if isinstance(event, Notice)]
    assert "600 tokens" in notices[0].text
    assert len(notices) > 5
    assert any(isinstance(event, Progress) and event.done == event.total for event in events)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5])
def test_any_window_will_do(vocabulary: Any, make_model: Make, max_tokens: int) -> None:
    stream = generate(make_model(max_tokens=max_tokens), vocabulary, "나무가", OPEN)
    assert len(list(stream)) == 40


def test_alternatives_can_be_switched_on_while_it_streams(vocabulary: Any, make_model: Make) -> None:
    wanted = [0]
    stream = generate(make_model(), vocabulary, "", OPEN, alternatives=lambda: wanted[0])
    assert next(stream).alternatives == ()
    wanted[0] = 3
    token = next(stream)
    assert len(token.alternatives) in {3, 4}
    assert token.token_id in {alternative.token_id for alternative in token.alternatives}
    assert token.entropy is not None


def test_the_first_word_of_a_bert_document_has_no_space_before_it(vocabulary: Any, speller: Make) -> None:
    vocabulary.scheme = "bert"
    spelled = ids(vocabulary, " ", "가", " ", "나무")
    assert text_of(list(generate(speller(spelled), vocabulary, "", GREEDY))) == "가 나무"
    prompt = [2, *ids(vocabulary, "끝")]
    assert text_of(list(generate(speller(spelled, prompt_tokens=2), vocabulary, prompt, GREEDY))) == " 가 나무"


def test_nothing_happens_before_the_first_token_is_asked_for(vocabulary: Any, make_model: Make) -> None:
    model = make_model()
    stream = generate(model, vocabulary, "나무", OPEN)
    assert model.states[0].length == 0
    assert stream.summary.stop_reason is None
    next(stream)
    assert stream.summary.tokens == 1


def test_faults_of_a_user_reach_them(vocabulary: Any, make_model: Make) -> None:
    with pytest.raises(UsageError, match="no such token"):
        list(generate(make_model(), vocabulary, "", SamplingSettings(banned_tokens=(10**6,))))
    with pytest.raises(ValueError, match="at least one"):
        generate(make_model(), vocabulary, [], OPEN)


def test_a_space_at_the_end_of_a_prompt_belongs_to_the_first_word(vocabulary: Any, make_model: Make) -> None:
    """It is never read as a token of its own: the first token brings it, and its text leaves it out."""
    for seed in range(20):
        settings = SamplingSettings(seed=seed, max_new_tokens=6, temperature=2.0, top_p=1.0)
        window = ContextWindow(make_model())
        stream = generate(window, vocabulary, "안녕 ", settings)
        text = text_of(list(stream))
        first = window.tokens[2]
        assert vocabulary.token_bytes(first).startswith(b" ")
        spelt = b"".join(map(vocabulary.token_bytes, window.tokens))
        assert spelt.decode(errors="ignore").startswith("안녕 " + text[:1])
        assert stream.summary.prompt_tokens == 2


def test_the_space_of_a_prompt_does_not_become_two(vocabulary: Any, make_model: Make) -> None:
    """A model that wants nothing but spaces brings the owed one, and only later another."""

    def spaces(tokens: object) -> torch.Tensor:
        scores = torch.zeros(vocabulary.size)
        scores[vocabulary.id_of(" ")] = 50.0
        return scores

    settings = SamplingSettings(seed=0, max_new_tokens=3, temperature=1.0, top_p=1.0)
    tokens = list(generate(make_model(rule=spaces), vocabulary, "안녕 ", settings))
    pieces = [vocabulary.token_bytes(token.token_id) for token in tokens]
    assert pieces[0] == b" "
    assert tokens[0].text == ""
    assert not pieces[1].startswith(b" ")


@pytest.mark.parametrize("prompt", ["안녕  ", " ", "안녕\n", "안녕\n "])
def test_other_white_space_at_the_end_of_a_prompt_is_read_as_it_is(
    vocabulary: Any, make_model: Make, prompt: str
) -> None:
    window = ContextWindow(make_model())
    list(generate(window, vocabulary, prompt, SamplingSettings(seed=0, max_new_tokens=1)))
    expected = prompt_ids(vocabulary, prompt)
    assert list(window.tokens[: len(expected)]) == expected


def test_it_goes_on_to_the_end_of_the_sentence(vocabulary: Any, speller: Make) -> None:
    spelled = ids(vocabulary, "나무", "가", ".", "가", "나무", ".")
    settings = SamplingSettings(temperature=0.0, max_new_tokens=2, sentence_tokens=9)
    stream = generate(speller(spelled), vocabulary, "", settings)
    assert text_of(list(stream)) == "나무가."
    assert (stream.summary.stop_reason, stream.summary.tokens) == ("sentence", 3)


def test_a_sentence_that_does_not_end_is_left(vocabulary: Any, speller: Make) -> None:
    settings = SamplingSettings(temperature=0.0, max_new_tokens=2, sentence_tokens=3)
    stream = generate(speller(ids(vocabulary, *["가"] * 20)), vocabulary, "", settings)
    assert len(list(stream)) == 5
    assert stream.summary.stop_reason == "length"


def test_a_quotation_of_the_prompt_is_closed_first(vocabulary: Any, speller: Make) -> None:
    prompt = prompt_ids(vocabulary, '그가 "')
    spelled = ids(vocabulary, "가", ".", '"', "가")
    settings = SamplingSettings(temperature=0.0, max_new_tokens=1, sentence_tokens=9)
    stream = generate(speller(spelled, prompt_tokens=len(prompt)), vocabulary, prompt, settings)
    assert text_of(list(stream)) == '가."'


def test_a_limit_can_spare_characters(vocabulary: Any, speller: Make) -> None:
    spelled = ids(vocabulary, "a", b"\xed", b"\x9e", b"\xa3", "b")
    settings = SamplingSettings(temperature=0.0, max_new_tokens=2)
    plain = generate(speller(spelled), vocabulary, "", settings)
    assert text_of(list(plain)) == "a"
    whole = generate(speller(spelled), vocabulary, "", settings, whole_characters=True)
    assert text_of(list(whole)) == "a힣"
    assert (whole.summary.tokens, whole.summary.stop_reason) == (4, "length")


def test_a_person_can_choose_the_first_token(vocabulary: Any, make_model: Make) -> None:
    chosen = vocabulary.id_of("가나다")
    settings = OPEN.model_copy(update={"banned_tokens": (chosen,), "top_k": 1})
    first, second = list(generate(make_model(), vocabulary, "나무", settings, chosen=chosen, alternatives=4))[:2]
    assert (first.token_id, first.text) == (chosen, "가나다")
    own = next(alternative for alternative in first.alternatives if alternative.token_id == chosen)
    assert (own.kept, own.filtered_probability) == (False, 0.0)
    assert second.token_id != chosen
    with pytest.raises(UsageError, match="no such token"):
        list(generate(make_model(), vocabulary, "나무", settings, chosen=9999))


def test_token_ids_with_a_space_owed_are_the_text_with_it(vocabulary: Any, make_model: Make) -> None:
    text = list(generate(make_model(), vocabulary, "안녕 ", OPEN))
    prompt = prompt_ids(vocabulary, "안녕")
    stream = generate(make_model(), vocabulary, prompt, OPEN, space_owed=True)
    assert stream.prompt == prompt
    assert list(stream) == text
    assert list(generate(make_model(), vocabulary, prompt, OPEN)) != text
