from __future__ import annotations

import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from korformer.errors import InputError, UsageError
from korformer.generation.context import ContextWindow, window_start
from korformer.generation.settings import SamplingSettings
from korformer.model.decode import Decoder, DecodeState
from korformer.model.directory import LoadedModel, load_model
from korformer.writing import snapshots
from korformer.writing.draft import Draft
from korformer.writing.looking import inspect, lens_of
from korformer.writing.reader import Reader, Writing
from korformer.writing.session import Session

SETTINGS = SamplingSettings(seed=4, max_new_tokens=12, banned_tokens=(3,), temperature=1.2, top_p=1.0)
TEXT = "등대지기는 해가 지면 불을 켰다. 바다는 조용했고, 배는 한 척도 없었다.\n고양이 한 마리만 남았다."


@pytest.fixture
def reader(loaded: LoadedModel) -> Reader:
    return Reader(loaded)


@pytest.fixture
def appended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each call of a state's `append` read."""
    counts: list[int] = []
    append = DecodeState.append

    def counted(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        counts.append(len(token_ids))
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", counted)
    return counts


def begin(reader: Reader, draft: Draft, settings: SamplingSettings = SETTINGS, **given: Any) -> Writing:
    return reader.write(draft, lambda: settings, candidates=lambda: 5, **given)


def write(reader: Reader, session: Session, settings: SamplingSettings = SETTINGS, at: int | None = None) -> Writing:
    """Write into the session; what is half a character at the end goes, as in the engine."""
    at = session.length if at is None else at
    number = session.begin_generation(at, settings, vocabulary=reader.info.vocabulary)
    writing = begin(reader, session.draft(at), settings)
    records = [reader.record(token, chosen=False, seconds=0.0) for token in writing.stream]
    session.extend_generation(number, tuple(records))
    session.end_generation(number, "length", seed=4)
    return writing


def scores(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    return ContextWindow(Decoder(model=loaded.model, weights="fp32")).read(ids)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_edits_the_state_is_that_of_a_fresh_reading(loaded: LoadedModel, seed: int) -> None:
    """Also where the text outgrows the window of 64 tokens."""
    dice, session, reader = random.Random(seed), Session(), Reader(loaded)
    session.insert(0, TEXT * (1 + 3 * (seed % 2)))
    for _ in range(8):
        what = dice.random()
        near_the_end = max(0, session.length - 20)
        at = dice.randint(dice.choice([0, near_the_end]), session.length)
        if what < 0.5:
            write(reader, session, SETTINGS.model_copy(update={"seed": dice.randint(0, 99)}))
        elif what < 0.7:
            session.replace(at, min(at + 5, session.length), dice.choice(["", "바다 ", "고양이는\n"]))
        elif what < 0.8:
            session.undo()
        elif what < 0.9:
            session.branch(at)
        else:
            inspect(reader, session.draft(), at, SETTINGS, 3)
        ids = reader.tokenize(session.draft()).ids
        torch.testing.assert_close(reader.window.read(ids), scores(loaded, ids), atol=1e-5, rtol=1e-5)


def test_writing_on_reads_nothing_again(reader: Reader, appended: list[int]) -> None:
    session = Session()
    session.insert(0, TEXT)
    write(reader, session)
    first = session.text
    appended.clear()
    write(reader, session)
    # The last token of the first part was drawn but not read yet.
    assert appended[0] <= 4
    whole = Session()
    whole.insert(0, TEXT)
    write(reader, whole, SETTINGS.model_copy(update={"max_new_tokens": 24}))
    assert whole.text.startswith(first)
    both = sorted((whole.text, session.text), key=len)  # one of them may end some bytes of a character later
    assert both[1].startswith(both[0])
    assert len(both[0]) > len(first) + 3


def test_an_edit_near_the_end_reads_from_there(reader: Reader, appended: list[int]) -> None:
    session = Session()
    session.insert(0, TEXT)
    reader.read(reader.tokenize(session.draft()))
    total = appended.pop()
    session.replace(session.length - 4, session.length, "떠났다.")
    reader.read(reader.tokenize(session.draft()))
    assert appended.pop() < 12 < total
    reader.read(reader.tokenize(session.draft(20)))  # known already: the rest is kept
    reader.read(reader.tokenize(session.draft()))
    assert appended == []


def test_the_meter_tells_what_is_outside(reader: Reader) -> None:
    text = "\n".join([TEXT] * 4)
    draft = Draft(text=text, cursor=len(text))
    tokenized = reader.tokenize(draft)
    meter = reader.meter(tokenized)
    outside = window_start(len(tokenized.ids), 64)
    assert outside > 0
    assert (meter.window_tokens, meter.text_tokens) == (64, len(tokenized.ids))
    assert (meter.outside_tokens, meter.read_tokens) == (outside, len(tokenized.ids) - outside)
    assert reader.tokenize(Draft(text=text, cursor=meter.outside_characters)).ids == tokenized.ids[:outside]
    writing = begin(reader, draft)
    list(writing.stream)
    live = reader.meter_of(writing)
    assert live.text_tokens > meter.text_tokens
    assert live.read_tokens <= 64
    assert reader.meter(reader.tokenize(Draft(text="", cursor=0))).text_tokens == 1


def test_what_is_told_of_a_token_is_what_was_recorded(reader: Reader) -> None:
    """Looking at a generated token afterwards gives the probabilities that it was drawn with."""
    session = Session()
    session.insert(0, TEXT)
    settings = SETTINGS.model_copy(update={"top_k": 3, "repetition_penalty": 1.3, "max_new_tokens": 20})
    write(reader, session, settings)
    views = [view for view in session.tokens() if len(view.records) == 1]
    assert len(views) > 3
    for view in views:
        start, end, record, _ = inspect(reader, session.draft(), view.start, settings, 5)
        assert (start, end) == (view.start, view.end)
        assert record.token_id == view.record.token_id
        assert record.text == view.record.text
        assert record.logprob == pytest.approx(view.record.logprob, abs=1e-4)
        assert record.entropy == pytest.approx(view.record.entropy, abs=1e-4)
        for new, old in zip(record.candidates, view.record.candidates, strict=True):
            assert (new.token_id, new.text, new.kept) == (old.token_id, old.text, old.kept)
            assert new.probability == pytest.approx(old.probability, abs=1e-5)
            assert new.filtered_probability == pytest.approx(old.filtered_probability, abs=1e-4)
        assert sum(candidate.kept for candidate in record.candidates) <= 3


def test_written_text_can_be_looked_at_too(reader: Reader, loaded: LoadedModel) -> None:
    draft = Draft(text=TEXT, cursor=len(TEXT))
    ids = reader.tokenize(draft).ids
    with torch.inference_mode():
        logs = torch.log_softmax(loaded.model.logits(loaded.model(torch.tensor([ids])))[0], dim=-1)
    seen = set()
    for offset in range(len(TEXT)):
        start, end, record, _ = inspect(reader, draft, offset, SETTINGS, 3)
        assert start <= offset < end
        assert record.text == TEXT[start:end]
        place = reader.tokenize(Draft(text=TEXT, cursor=len(TEXT))).token_at(offset)
        assert record.logprob == pytest.approx(float(logs[place - 1, ids[place]]), abs=1e-3)
        seen.add(place)
    assert len(seen) > 10
    start, end, record, lens = inspect(reader, draft, len(TEXT), SETTINGS, 3)
    assert start == end == lens.offset == len(TEXT)
    assert record.token_id == int(logs[-1].argmax())
    assert record.probability == pytest.approx(max(candidate.probability for candidate in record.candidates))


def test_looking_leaves_what_was_read_as_it_is(reader: Reader, appended: list[int]) -> None:
    session = Session()
    session.insert(0, "\n".join([TEXT] * 4))  # more than the window
    write(reader, session)
    for offset in (3, 60, session.length - 2):
        inspect(reader, session.draft(), offset, SETTINGS, 3)
    appended.clear()
    write(reader, session)
    assert appended[0] <= 4


def test_a_chosen_token_comes_first(reader: Reader) -> None:
    session = Session()
    session.insert(0, TEXT + " ")
    writing = begin(reader, session.draft())
    first = next(writing.stream)
    other = next(a.token_id for a in first.alternatives if a.token_id != first.token_id)
    chosen = list(begin(reader, session.draft(), chosen=other).stream)
    assert chosen[0].token_id == other
    assert chosen[0].position == first.position
    with pytest.raises(UsageError, match="no such token"):
        list(begin(reader, session.draft(), chosen=10**6).stream)


def test_another_number_of_hashes_is_as_if_loaded_so(model_path: Path, reader: Reader) -> None:
    draft = Draft(text=TEXT * 2, cursor=2 * len(TEXT))
    ids = reader.tokenize(draft).ids
    two = reader.window.read(ids)
    reader.rehash(5)
    assert reader.info.hashes == 5
    five = reader.window.read(ids)
    torch.testing.assert_close(five, scores(load_model(model_path, n_hashes=5), ids))
    assert not torch.allclose(two, five)
    reader.rehash(2)
    torch.testing.assert_close(reader.window.read(ids), two)
    with pytest.raises(UsageError, match="from 1 to 256, not 0.*nearest is 1"):
        reader.rehash(0)


def test_another_number_of_hashes_counts_in_a_text_that_is_being_written(model_path: Path, reader: Reader) -> None:
    session, tokens = Session(), []
    session.insert(0, TEXT)
    stream = begin(reader, session.draft()).stream
    tokens += [next(stream) for _ in range(3)]
    before = [*stream.prompt, *(token.token_id for token in tokens)]
    reader.rehash(5)
    next(stream)
    assert reader.window.tokens[: len(before)] == before
    five = scores(load_model(model_path, n_hashes=5), reader.window.tokens)
    state = reader.window.state
    assert state.length == len(reader.window.tokens)
    torch.testing.assert_close(reader.window.read(reader.window.tokens), five, atol=1e-5, rtol=1e-5)


# A state on disk


def test_a_state_that_was_saved_is_gone_on_with(loaded: LoadedModel, tmp_path: Path, appended: list[int]) -> None:
    session, path = Session(), tmp_path / "state.safetensors"
    session.insert(0, TEXT)
    first = Reader(loaded)
    write(first, session)
    count = first.save_state(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Reader(loaded)
    assert again.restore_state(path) == count > 20
    appended.clear()
    before = session.draft()
    write(again, session)
    assert appended[0] <= 4
    other = Session()
    other.insert(0, before.text)
    ids = again.tokenize(before).ids
    torch.testing.assert_close(again.window.read(ids), scores(loaded, ids), atol=1e-5, rtol=1e-5)


def test_of_a_text_that_changed_the_beginning_counts(loaded: LoadedModel, tmp_path: Path, appended: list[int]) -> None:
    path, reader, again = tmp_path / "state", Reader(loaded), Reader(loaded)
    reader.read(reader.tokenize(Draft(text=TEXT, cursor=len(TEXT))))
    reader.save_state(path)
    again.restore_state(path)
    appended.clear()
    text = TEXT[:-4] + "떠났다."
    ids = again.tokenize(Draft(text=text, cursor=len(text))).ids
    torch.testing.assert_close(again.window.read(ids), scores(loaded, ids), atol=1e-5, rtol=1e-5)
    assert appended[0] < len(ids) / 2


def test_a_state_of_another_model_does_not_count(loaded: LoadedModel, model_path: Path, tmp_path: Path) -> None:
    path, reader = tmp_path / "state", Reader(loaded)
    assert reader.restore_state(path) == 0
    assert reader.save_state(path) == 0
    assert not path.exists()
    reader.read(reader.tokenize(Draft(text=TEXT, cursor=len(TEXT))))
    reader.save_state(path)
    assert Reader(load_model(model_path, n_hashes=3)).restore_state(path) == 0
    assert Reader(loaded, "int8").restore_state(path) == 0
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="state"):
        Reader(loaded).restore_state(path)


def test_a_state_is_cut_to_the_size_that_is_allowed(loaded: LoadedModel, tmp_path: Path) -> None:
    path, reader = tmp_path / "state", Reader(loaded)
    ids = reader.tokenize(Draft(text=TEXT, cursor=len(TEXT))).ids
    reader.window.read(ids)
    limit = 10 * snapshots.token_bytes(loaded.model)
    assert snapshots.save(path, reader.window, loaded.model, "fp32", limit_bytes=limit) == 10
    assert path.stat().st_size < 2 * limit + 4096
    assert reader.window.state.length == len(ids)
    again = Reader(loaded)
    assert again.restore_state(path) == 10
    torch.testing.assert_close(again.window.read(ids), scores(loaded, ids), atol=1e-5, rtol=1e-5)


# Between two texts


def test_a_model_that_was_trained_for_it_fills_the_gap(filling_path: Path) -> None:
    reader = Reader(load_model(filling_path))
    assert reader.info.fills_in_the_middle
    session = Session()
    session.insert(0, TEXT)
    gap = TEXT.index(" 바다는") + 1
    reader.window.watch = True
    writing = write(reader, session, at=gap)
    assert writing.between
    assert session.text.startswith(TEXT[:gap])
    assert session.text.endswith(TEXT[gap:])
    assert session.length > len(TEXT)
    ids = writing.window.tokens
    assert ids[:2] == [2, 4]
    vocabulary = load_model(filling_path).vocabulary
    assert vocabulary.decode(ids[2 : ids.index(4, 2)]) == TEXT[gap:]


def test_another_model_sees_only_what_is_before(reader: Reader) -> None:
    session = Session()
    session.insert(0, TEXT)
    writing = write(reader, session, at=18)
    assert not writing.between
    assert session.text.endswith(TEXT[18:])
    plain = Session()
    plain.insert(0, TEXT[:18])
    write(reader, plain)
    assert session.text == plain.text + TEXT[18:]


# The lens


def expected_weights(loaded: LoadedModel, ids: list[int]) -> Any:
    state = loaded.model.new_state()
    state.watch = True
    state.append(ids)
    return sum(state.attention(layer).mean(dim=0) for layer in range(2)).numpy() / 2


@pytest.mark.parametrize("length", [40, 4 * len(TEXT)])
def test_the_lens_shows_where_the_attention_went(loaded: LoadedModel, length: int) -> None:
    reader, text = Reader(loaded), (TEXT + " ") * 4
    draft = Draft(text=text[:length].rstrip(), cursor=len(text[:length].rstrip()))
    reader.window.watch = True
    writing = begin(reader, draft)
    texts: list[str] = []
    tokenized = reader.tokenize(draft)
    for token in writing.stream:
        texts.append(token.text)
        lens = lens_of(reader, writing, texts)
        assert lens is not None
        start, ids = writing.window.start, list(writing.window.tokens)
        weights = expected_weights(loaded, ids[start:])
        ends = np.concatenate([tokenized.ends, len(draft.text) + np.cumsum([len(text) for text in texts])])
        places = [(int(ends[n - 1]) if n else 0, int(ends[n])) for n in range(start, len(ids))]
        shown, whole = lens.passages, draft.text + "".join(texts)
        tokens = [(float(w), a, b) for w, (a, b) in zip(weights[:-1], places[:-1], strict=True) if b > a]
        seen = [any(passage.start < b <= passage.end for passage in shown) for _, _, b in tokens]
        total = sum(token[0] for token, is_seen in zip(tokens, seen, strict=True) if is_seen)
        assert sum(passage.weight for passage in shown) == pytest.approx(total, abs=1e-5)
        left = [whole[a:b] for (w, a, b), is_seen in zip(tokens, seen, strict=True) if w > 1e-6 and not is_seen]
        assert len(shown) == 12 or not "".join(left).strip()
        assert [p.weight for p in shown] == sorted((p.weight for p in shown), reverse=True)
        for passage in shown[:3]:
            inside = [
                (float(w), place)
                for w, place in zip(weights[:-1], places[:-1], strict=True)
                if place[1] > place[0] and passage.start < place[1] <= passage.end
            ]
            assert passage.weight == pytest.approx(sum(w for w, _ in inside), abs=1e-5)
            assert (passage.peak_start, passage.peak_end) == max(inside, key=lambda found: found[0])[1]
    reader.window.watch = False
    assert lens_of(reader, writing, texts) is None


def test_looking_at_a_token_shows_what_it_was_written_from(loaded: LoadedModel) -> None:
    reader = Reader(loaded)
    draft = Draft(text=TEXT, cursor=len(TEXT))
    offset = TEXT.index("고양이")
    _, _, _, lens = inspect(reader, draft, offset, SETTINGS, 3)
    tokenized = reader.tokenize(draft)
    place = tokenized.token_at(offset)
    weights = expected_weights(loaded, tokenized.ids[:place])
    assert sum(passage.weight for passage in lens.passages) == pytest.approx(float(weights[1:-1].sum()), abs=1e-5)
    assert all(passage.end <= offset for passage in lens.passages)


@pytest.mark.parametrize("share", [0.5, 0])
def test_the_lens_looks_to_both_sides_of_a_gap(tmp_path: Path, model_maker: Callable[..., Path], share: float) -> None:
    training = {"objective": {"fim_rate": 0.5, "fim_spm_share": share}}
    reader = Reader(load_model(model_maker(tmp_path / "model", training=training)))
    gap = TEXT.index(" 바다는") + 1
    reader.window.watch = True
    writing = begin(reader, Draft(text=TEXT, cursor=gap))
    texts, behind = [], False
    for token in writing.stream:
        texts.append(token.text)
        lens = lens_of(reader, writing, texts)
        assert lens is not None
        now = TEXT[:gap] + "".join(texts) + TEXT[gap:]
        for passage in lens.passages:
            assert 0 <= passage.start <= passage.peak_start < passage.peak_end <= len(now)
            behind = behind or passage.peak_start >= gap + len("".join(texts))
    assert behind
    # The places of the tokens that were shown spell the text.
    vocabulary = load_model(tmp_path / "model").vocabulary
    for token, start, end in zip(writing.stream.prompt, writing.starts, writing.ends, strict=True):
        spelt = vocabulary.decode([token], skip_special_tokens=True)
        assert spelt == TEXT[start:end] or "\ufffd" in spelt
