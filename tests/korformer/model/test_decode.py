import pytest
import torch
from model_variants import make

from korformer.model.backbone import ReformerModel


def test_token_by_token_equals_the_parallel_forward(model: ReformerModel, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model.logits(model(tokens))[0]
    state = model.new_state()
    stepped = torch.stack([state.append([token]) for token in tokens[0].tolist()])
    assert torch.allclose(stepped, expected, atol=1e-5)
    assert state.length == tokens.shape[1]
    assert state.tokens == tuple(tokens[0].tolist())


@pytest.mark.parametrize("parts", [[150], [1, 149], [100, 3, 47], [5, 16, 17, 112], [149, 1]])
def test_any_chunking_gives_the_same(model: ReformerModel, tokens: torch.Tensor, parts: list[int]) -> None:
    with torch.no_grad():
        expected = model.logits(model(tokens))[0]
    state, begin = model.new_state(), 0
    for part in parts:
        logits = state.append(tokens[0, begin : begin + part].tolist())
        begin += part
        assert torch.allclose(logits, expected[begin - 1], atol=1e-5)


def test_rewinding_and_replaying_gives_the_same(model: ReformerModel, tokens: torch.Tensor) -> None:
    ids = tokens[0].tolist()
    state = model.new_state()
    expected = [state.append([token]) for token in ids]
    for length in (120, 119, 60, 1, 0):
        state.rewind(length)
        assert state.length == length
        assert torch.allclose(state.append([ids[length]]), expected[length], atol=1e-5)
        assert torch.allclose(state.append(ids[length + 1 : length + 4]), expected[length + 3], atol=1e-5)


def test_forks_go_their_own_ways(model: ReformerModel, tokens: torch.Tensor) -> None:
    ids = tokens[0].tolist()
    state = model.new_state()
    state.append(ids[:100])
    fork = state.fork()
    other = fork.append([9, 9, 9, 9])
    assert torch.allclose(state.append(ids[100:104]), model.new_state().append(ids[:104]), atol=1e-5)
    assert torch.allclose(other, model.new_state().append([*ids[:100], 9, 9, 9, 9]), atol=1e-5)


def test_greedy_text_does_not_depend_on_how_it_was_read(tokens: torch.Tensor) -> None:
    model = make("mixed heads, axial")
    ids = tokens[0, :40].tolist()

    def greedy(parts: list[int]) -> list[int]:
        state, begin = model.new_state(), 0
        for part in parts:
            logits = state.append(ids[begin : begin + part])
            begin += part
        written = []
        for _ in range(100):
            written.append(int(logits.argmax()))
            logits = state.append(written[-1:])
        return written

    assert greedy([40]) == greedy([1] * 40) == greedy([20, 20])


def test_the_window_is_a_limit(tokens: torch.Tensor) -> None:
    model = make("mixed heads, axial")
    state = model.new_state()
    full = (tokens[0].tolist() * 2)[: state.max_tokens]
    state.append(full)
    assert state.length == state.max_tokens == 256
    with pytest.raises(ValueError, match="257 tokens do not fit the window of 256"):
        state.append([5])
    with pytest.raises(ValueError, match="at least one"):
        state.append([])
    with pytest.raises(ValueError, match="cannot rewind"):
        state.rewind(257)


def test_progress_ends_at_the_whole() -> None:
    model = make("mixed heads, axial")
    heard: list[tuple[int, int]] = []
    model.new_state().append(list(range(5, 35)), progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (30, 30)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


@pytest.mark.parametrize("parts", [[30], [3, 5]])
def test_a_reading_that_was_stopped_leaves_nothing_behind(tokens: torch.Tensor, parts: list[int]) -> None:
    model = make("mixed heads, axial")
    ids, heard = tokens[0].tolist(), 0

    def stop_at_the_second(done: int, total: int) -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            raise KeyboardInterrupt

    state, begin = model.new_state(), 0
    with pytest.raises(KeyboardInterrupt):
        for part in parts:
            state.append(ids[begin : begin + part], progress=stop_at_the_second)
            begin += part
    length = state.length
    assert torch.allclose(
        state.append(ids[length : length + 9]), model.new_state().append(ids[: length + 9]), atol=1e-5
    )
