import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from model_variants import CHUNKED, VARIANTS, VOCABULARY, make

from korformer.errors import UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.decode import DecodeState
from korformer.model.decode import state as state_module
from korformer.model.decode.step import Stepper
from korformer.model.products import stays_fp32

DECODERS = {**VARIANTS, **CHUNKED}
IDS = torch.randint(5, VOCABULARY, (250,), generator=torch.Generator().manual_seed(0)).tolist()
KNOWN: dict[str, tuple[ReformerModel, torch.Tensor]] = {}


def known(variant: str) -> tuple[ReformerModel, torch.Tensor]:
    """A model and what it says after each of IDS, read token by token."""
    if variant not in KNOWN:
        model = make(variant)
        state = model.new_state()
        KNOWN[variant] = model, torch.stack([state.append([token]) for token in IDS])
    return KNOWN[variant]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_token_by_token_equals_the_parallel_forward(model: ReformerModel, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model.logits(model(tokens))[0]
    state = model.new_state()
    stepped = torch.stack([state.append([token]) for token in tokens[0].tolist()])
    assert close(stepped, expected)
    assert state.length == tokens.shape[1]
    assert state.tokens == tuple(tokens[0].tolist())


@pytest.mark.parametrize("variant", DECODERS)
@given(parts=st.lists(st.integers(1, 90), min_size=1, max_size=8), chunk=st.sampled_from([7, 64, 8192]))
@settings(max_examples=12, deadline=None)
def test_any_chunking_gives_the_same(variant: str, parts: list[int], chunk: int) -> None:
    model, expected = known(variant)
    state, begin = model.new_state(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module, "CHUNK_TOKENS", chunk)
        for part in parts:
            if begin + part > len(IDS):
                break
            logits = state.append(IDS[begin : begin + part])
            begin += part
            assert close(logits, expected[begin - 1])


@pytest.mark.parametrize("variant", DECODERS)
@given(turns=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), min_size=1, max_size=6))
@settings(max_examples=8, deadline=None)
def test_rewinding_and_replaying_gives_the_same(variant: str, turns: list[tuple[float, int]]) -> None:
    model, expected = known(variant)
    state = model.new_state()
    state.append(IDS[:200])
    for share, count in turns:
        state.rewind(int(state.length * share))
        length = min(state.length + count, len(IDS))
        assert close(state.append(IDS[state.length : length]), expected[length - 1])
        assert state.tokens == tuple(IDS[:length])


@pytest.mark.parametrize("variant", DECODERS)
def test_forks_go_their_own_ways(variant: str) -> None:
    model, expected = known(variant)
    state = model.new_state()
    state.append(IDS[:100])
    other = state.fork()
    third = other.fork()
    for at in range(100, 104):
        assert close(state.append([IDS[at]]), expected[at])
        other.append([9])
    foreign = model.new_state().append([*IDS[:100], 9, 9, 9, 9])
    other.rewind(103)
    assert close(other.append([9]), foreign)
    assert close(third.append(IDS[100:150]), expected[149])
    other.rewind(60)
    fourth = other.fork()
    assert close(other.append(IDS[60:100]), expected[99])
    assert close(fourth.append(IDS[60:62]), expected[61])
    assert close(state.append(IDS[104:180]), expected[179])
    del state, third
    for at in range(100, 120):
        assert close(other.append([IDS[at]]), expected[at])
    other.rewind(10)
    fourth.rewind(30)
    assert close(other.append(IDS[10:200]), expected[199])
    assert close(fourth.append(IDS[30:200]), expected[199])


def test_a_fork_copies_no_keys_and_values() -> None:
    model, _ = known("full, rotary")
    state = model.new_state()
    state.append(IDS[:100])
    twin = state.fork()
    rows = [each._context.key_values.layer(0).data_ptr() for each in (state, twin)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("variant", DECODERS)
def test_a_restored_state_goes_on_as_the_saved_one(variant: str) -> None:
    model, expected = known(variant)
    state = model.new_state()
    state.append(IDS[:90])
    for token in IDS[90:95]:
        state.append([token])
    snapshot = state.snapshot()
    assert all(tensor.is_contiguous() for tensor in snapshot.values())
    state.append(IDS[200:210])  # the snapshot shares no memory with the state
    restored = DecodeState.restore(model, snapshot)
    assert restored.tokens == tuple(IDS[:95])
    assert close(restored.append([IDS[95]]), expected[95])
    restored.rewind(20)
    assert close(restored.append(IDS[20:60]), expected[59])


@pytest.mark.parametrize("variant", DECODERS)
def test_greedy_text_does_not_depend_on_how_it_was_read(variant: str) -> None:
    model = make(variant)
    ids = IDS[:40]

    def greedy(parts: list[int], rewound: bool = False) -> list[int]:
        state, begin = model.new_state(), 0
        for part in parts:
            logits = state.append(ids[begin : begin + part])
            begin += part
        if rewound:
            state.append(IDS[40:90])
            state.rewind(39)
            logits = state.append(ids[39:])
        written = []
        for _ in range(60):
            written.append(int(logits.argmax()))
            logits = state.append(written[-1:])
        return written

    assert greedy([40]) == greedy([1] * 40) == greedy([20, 20]) == greedy([13, 27], rewound=True)


def test_the_window_is_a_limit() -> None:
    model = make("mixed heads, axial")
    state = model.new_state()
    state.append((IDS * 2)[: state.max_tokens])
    assert state.length == state.max_tokens == 256
    with pytest.raises(ValueError, match="257 tokens do not fit the window of 256"):
        state.append([5])
    with pytest.raises(ValueError, match="at least one"):
        state.append([])
    with pytest.raises(ValueError, match="cannot rewind"):
        state.rewind(257)


def test_progress_ends_at_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "CHUNK_TOKENS", 20)
    state = make("mixed heads, axial").new_state()
    for begin, end in ((5, 55), (5, 45)):
        heard: list[tuple[int, int]] = []
        state.append(list(range(begin, end)), progress=lambda done, total: heard.append((done, total)))  # noqa: B023
        assert heard[-1] == (end - begin, end - begin)
        assert [done for done, _ in heard] == sorted(done for done, _ in heard)
        assert len(heard) >= 6


@pytest.mark.parametrize("variant", DECODERS)
@pytest.mark.parametrize("calls", [1, 2, 5])
@pytest.mark.parametrize("parts", [[50], [3, 5], [10, 60]])
def test_a_reading_that_was_stopped_leaves_nothing_behind(
    variant: str, calls: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "CHUNK_TOKENS", 25)
    model, expected = known(variant)
    left = calls

    def stop(done: int, total: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    state, begin = model.new_state(), 0
    with pytest.raises(KeyboardInterrupt):
        for part in parts:
            state.append(IDS[begin : begin + part], progress=stop)
            begin += part
    length = state.length
    assert length < sum(parts)
    assert state.tokens == tuple(IDS[:length])
    assert close(state.append(IDS[length : length + 9]), expected[length + 8])


def _record(owner: type, name: str, results: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    method = getattr(owner, name)

    def recorded(*given: object) -> torch.Tensor:
        result: torch.Tensor = method(*given)
        results.append(result.view(-1, result.shape[-1]))
        return result

    monkeypatch.setattr(owner, name, recorded)


@pytest.mark.parametrize("variant", DECODERS)
def test_attention_for_display_is_what_the_token_saw(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shown weights, applied to the values, are what the step computed."""
    model, expected = known(variant)
    state = model.new_state()
    state.append(IDS[:60])
    with pytest.raises(ValueError, match="watch"):
        state.attention(0)
    state.watch = True
    attended: list[torch.Tensor] = []
    for part in ("_near", "_span", "_scattered"):
        _record(Stepper, part, attended, monkeypatch)
    assert close(state.append(IDS[60:100]), expected[99])
    attended.clear()
    assert close(state.append([IDS[100]]), expected[100])
    outputs = iter(attended)
    for layer in range(model.config.depth):
        weights = state.attention(layer)
        assert weights.shape == (model.config.heads, 101)
        assert torch.allclose(weights.sum(dim=1), torch.ones(model.config.heads), atol=1e-5)
        values = state._context.key_values.span(layer, 0, 101)[..., model.config.head_width :]
        shown = torch.einsum("ht,thd->hd", weights, values)
        seen = torch.zeros(0, model.config.head_width)
        while len(seen) < model.config.heads:
            seen = torch.cat([seen, next(outputs)])
        assert torch.allclose(shown, seen, atol=1e-5)
    state.watch = False
    state.append([7])
    with pytest.raises(ValueError, match="watch"):
        state.attention(0)


def test_the_shown_weights_are_the_merged_softmax_by_definition() -> None:
    """Each head's own buckets by hand: the last W of every round, duplicates counted, one softmax."""
    model = make("hashed heads, rotary")
    config = model.config
    state = model.new_state()
    state.watch = True
    state.append(IDS[:120])
    weights = state.attention(0)
    pages = state._context.pages["causal_lsh"]
    history = pages.history(0, 120).long().view(120, config.heads, config.n_hashes)
    rows = state._context.key_values.span(0, 0, 120)
    keys = rows[..., : config.head_width]
    for head in range(config.heads):
        seen: list[int] = []
        for r in range(config.n_hashes):
            same = [t for t in range(119) if history[t, head, r] == history[119, head, r]]
            seen += same[-config.bucket_window :]
        # The query is the key before it was made one long; the length is what the weights do not tell, so find it.
        scores = keys[seen, head] @ keys[119, head]
        ratio = weights[head, seen].log() + torch.tensor([-torch.tensor(float(seen.count(s))).log() for s in seen])
        ratio, scores = ratio - ratio.max(), scores - scores[ratio.argmax()]
        length = (ratio @ scores) / (scores @ scores)
        merged = torch.zeros(120).scatter_add_(0, torch.tensor(seen), F.softmax(length * scores, dim=0))
        assert torch.allclose(weights[head], merged, atol=1e-5)


def test_encoders_cannot_write() -> None:
    with pytest.raises(UsageError, match="encoder"):
        make("encoder, full").new_state()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="fp12"):
        make("full, rotary").new_state("fp12")  # type: ignore[arg-type]


def test_double_precision_models_are_read_in_double() -> None:
    model = make("mixed heads, axial").double()
    tokens = torch.tensor([IDS[:80]])
    with torch.no_grad():
        expected = model.lm.out[0](model(tokens)) @ model.head_weight.T
    state = model.new_state()
    state.append(IDS[:50])
    assert torch.allclose(state.append(IDS[50:80]).double(), expected[0, -1], atol=1e-5)
    assert torch.allclose(model.new_state().append(IDS[:80]).double(), expected[0, -1], atol=1e-5)


@pytest.mark.skipif(not stays_fp32(), reason="on this processor products have no order to rely on")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n_local_attn_heads": 2, "n_hashes": 2},
        {"axial_position_emb": False, "n_local_attn_heads": 1},
        {"ff_glu": True},
        {"attention": "lsh", "n_hashes": 2},
    ],
    ids=["hashed", "mixed", "rotary", "gated", "lsh"],
)
def test_how_a_text_was_read_changes_no_bit(fields: dict[str, object]) -> None:
    """At widths of real models, where a difference in the last digit would turn a hash somewhere."""
    config = ModelConfig.model_validate(
        {"dim": 256, "depth": 3, "heads": 4, "max_seq_len": 1024, "bucket_size": 32, **fields}
    )
    model = ReformerModel(config, 500)
    model.initialise(0)
    tokens = torch.randint(5, 500, (700,), generator=torch.Generator().manual_seed(1)).tolist()
    at_once = model.eval().new_state()
    expected = at_once.append(tokens)
    for size in (300, 33, 7, 1):
        state = model.new_state()
        for first in range(0, len(tokens), size):
            scores = state.append(tokens[first : first + size])
        for layer in range(config.depth):
            ours, theirs = (each._context.key_values.span(layer, 0, len(tokens)) for each in (state, at_once))
            assert torch.equal(ours, theirs)
        torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"n_local_attn_heads": 6, "axial_position_emb": False},
        {"attention": "full", "axial_position_emb": False},
        {"attention_layers": ("local", "causal_lsh", "full")},
    ],
    ids=["hashed and local", "full", "layers differ"],
)
def test_reading_is_the_parallel_forward_at_full_width(fields: dict[str, object]) -> None:
    config = ModelConfig.model_validate(
        {"dim": 768, "depth": 3, "heads": 12, "max_seq_len": 1024, "bucket_size": 64, **fields}
    )
    model = ReformerModel(config, 500)
    model.initialise(0)
    tokens = torch.randint(5, 500, (1, 500), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.eval().logits(model(tokens))[0]
    state = model.new_state()
    for end in (200, 230, *range(231, 240), 400, 500):
        scores = state.append(tokens[0, state.length : end].tolist())
        torch.testing.assert_close(scores, expected[end - 1], rtol=1e-5, atol=2e-5)
