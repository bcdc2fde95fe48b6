"""Bits per character against slow, obvious computations with models whose probabilities are known."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from korformer.errors import DivergedError, InputError, UsageError
from korformer.evaluation.context import BLOCK_TOKENS, context_lengths
from korformer.evaluation.language_model import LmSettings, evaluate_lm, token_characters, validate
from korformer.evaluation.sampling import read_window, sample_windows
from korformer.evaluation.windows import IGNORED, document_segments
from korformer.events import Event, Progress

TEXTS = [
    "바닷가 마을에는 등대지기가 살았다.\n밤마다 그는 불을 켰다.",
    "짧다",
    "비가 오면 지붕을 두드리는 소리가 노래처럼 들렸고, 아이들은 처마 밑에 모여 앉았다. " * 4,
    "🙂 café 한 잔",
]
SIZE = 5 + 256


class ByteVocabulary:
    """One token a byte."""

    scheme = "lossless"
    size = SIZE

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        ids = [[5 + byte for byte in text.encode()] for text in texts]
        return [[2, *line, 3] for line in ids] if add_special_tokens else ids

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id - 5]) if token_id >= 5 else b""


class FakeModel:
    """A strictly causal model: logits from a fading sum over the earlier tokens of the document, and the position."""

    def __init__(self, window: int = 32, *, strictly_causal: bool = True) -> None:
        self.config = SimpleNamespace(max_seq_len=window)
        self.strictly_causal = strictly_causal
        self.training = True
        self.forward_tokens = 0
        self.modes: list[bool] = []
        random = torch.Generator().manual_seed(1)
        self.table = torch.randn(SIZE, 8, generator=random, dtype=torch.float64)
        self.out = torch.randn(8, SIZE, generator=random, dtype=torch.float64)

    def train(self, mode: bool = True) -> FakeModel:
        self.training = mode
        self.modes.append(mode)
        return self

    def parameters(self) -> Iterator[torch.Tensor]:
        yield self.table

    def __call__(
        self, tokens_BT: torch.Tensor, *, documents_BT: torch.Tensor, positions_BT: torch.Tensor
    ) -> torch.Tensor:
        assert not self.training
        assert tokens_BT.shape[1] <= self.config.max_seq_len
        assert (tokens_BT.dtype, documents_BT.dtype, positions_BT.dtype) == (torch.int64, torch.int32, torch.int64)
        self.forward_tokens += tokens_BT.numel()
        hidden = self.table[tokens_BT] + 0.01 * positions_BT[..., None].double()
        for row in range(hidden.shape[0]):
            for column in range(1, hidden.shape[1]):
                if documents_BT[row, column] == documents_BT[row, column - 1]:
                    hidden[row, column] += 0.8 * hidden[row, column - 1]
        return hidden

    def token_losses(self, hidden_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(
            (hidden_BTD @ self.out).flatten(0, 1), targets_BT.flatten(), reduction="none", ignore_index=-100
        ).view(targets_BT.shape)

    def nats(self, context: Sequence[int], target: int) -> float:
        """The definition, one prediction at a time; the first token of `context` has position 0."""
        state = torch.zeros(8, dtype=torch.float64)
        for position, token in enumerate(context):
            state = 0.8 * state + self.table[token] + 0.01 * position
        return float(-torch.log_softmax(state @ self.out, dim=0)[target])


def slow_bits(model: FakeModel, text: str, window: int) -> list[float]:
    """Bits of each token after [CLS] by the rule in words: half a window further each time."""
    ids = ByteVocabulary().encode_batch([text], add_special_tokens=True)[0]
    bits = []
    for target in range(1, len(ids)):
        start = 0
        while target - start > window:
            start += window // 2
        bits.append(model.nats(ids[start:target], ids[target]) / math.log(2))
    return bits


@pytest.mark.parametrize("batch_tokens", [1, 50, 5000])
def test_bits_per_character_is_its_definition_however_it_is_batched(batch_tokens: int) -> None:
    model = FakeModel()
    result = evaluate_lm(model, ByteVocabulary(), TEXTS, LmSettings(batch_tokens=batch_tokens))
    bits = [bit for text in TEXTS for bit in slow_bits(model, text, 32)]
    characters = sum(map(len, TEXTS))
    assert result.bits_per_character == pytest.approx(sum(bits) / characters, rel=1e-9)
    assert result.bits_per_token == pytest.approx(sum(bits) / len(bits), rel=1e-9)
    assert result.perplexity == pytest.approx(2 ** (sum(bits) / len(bits)), rel=1e-9)
    assert (result.tokens, result.characters, result.documents) == (len(bits), characters, len(TEXTS))
    assert result.label == "bits_per_character"


def test_a_model_that_is_not_strictly_causal_sees_each_segment_alone_and_gets_another_label() -> None:
    causal = evaluate_lm(FakeModel(), ByteVocabulary(), TEXTS)
    other = evaluate_lm(FakeModel(strictly_causal=False), ByteVocabulary(), TEXTS)
    assert other.bits == pytest.approx(causal.bits, rel=1e-9)
    figures = other.as_json()
    assert "bits_per_character" not in figures
    assert figures["bits_per_character_not_comparable"] == pytest.approx(causal.bits_per_character)
    assert "strictly causal" in str(figures["not_comparable_because"])


def test_a_vocabulary_that_is_not_lossless_gets_another_label_and_counts_the_text() -> None:
    vocabulary = ByteVocabulary()
    vocabulary.scheme = "bert"
    result = evaluate_lm(FakeModel(), vocabulary, TEXTS)
    assert result.characters == sum(map(len, TEXTS))
    assert "lossless" in str(result.not_comparable)
    assert next(iter(result.metrics())) == "bits_per_character_not_comparable"
    assert all(row.bits_per_character is None for row in result.by_position)


def test_decomposed_text_is_measured_composed_and_documents_without_text_are_left_out() -> None:
    decomposed = [unicodedata.normalize("NFD", text) for text in TEXTS]
    result = evaluate_lm(FakeModel(), ByteVocabulary(), ["", *decomposed, " \n\t　\n"])
    plain = evaluate_lm(FakeModel(), ByteVocabulary(), TEXTS)
    assert (result.bits, result.characters) == (plain.bits, plain.characters)
    assert (result.documents, result.empty_documents) == (len(TEXTS), 2)


def test_a_smaller_window_is_the_rule_with_that_window() -> None:
    model = FakeModel()
    result = evaluate_lm(model, ByteVocabulary(), TEXTS, LmSettings(window=11))
    assert result.bits == pytest.approx(sum(sum(slow_bits(model, text, 11)) for text in TEXTS), rel=1e-9)
    with pytest.raises(UsageError, match="32"):
        evaluate_lm(model, ByteVocabulary(), TEXTS, LmSettings(window=33))


def test_by_position_counts_first_windows_only() -> None:
    model = FakeModel()
    result = evaluate_lm(model, ByteVocabulary(), TEXTS)
    per_document = [slow_bits(model, text, 32)[:32] for text in TEXTS]
    assert [(row.first, row.last) for row in result.by_position] == [(1, 15), (16, 32)]
    for row in result.by_position:
        bits = [bit for document in per_document for bit in document[row.first - 1 : row.last]]
        assert row.tokens == len(bits)
        assert row.bits_per_token == pytest.approx(sum(bits) / len(bits), rel=1e-9)
        assert row.documents == sum(len(document) >= row.first for document in per_document)


def test_by_context_predicts_the_same_tokens_with_less_context() -> None:
    model = FakeModel(window=64)
    text = TEXTS[2] * 3
    ids = ByteVocabulary().encode_batch([text], add_special_tokens=True)[0]
    longest = 64 - BLOCK_TOKENS + 1
    assert context_lengths(64) == [16, longest]
    whole_sample = LmSettings(context_sample=100_000, context_share=1000.0)
    rows = evaluate_lm(model, ByteVocabulary(), [text], whole_sample).by_context
    first_targets = range(longest, len(ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS)
    for row, context in zip(rows, (16, longest), strict=True):
        bits = [
            model.nats(ids[first - context : target], ids[target]) / math.log(2)
            for first in first_targets
            for target in range(first, first + BLOCK_TOKENS)
        ]
        assert (row.context_tokens, row.tokens) == (context, len(bits))
        assert row.bits_per_token == pytest.approx(sum(bits) / len(bits), rel=1e-9)
    assert rows[1].above_longest == 0
    assert rows[0].above_longest == pytest.approx(rows[0].bits_per_token - rows[1].bits_per_token)


def test_by_context_is_a_repeatable_sample_within_its_budget() -> None:
    texts = [text * 6 for text in TEXTS]
    plain = FakeModel(window=64)
    evaluate_lm(plain, ByteVocabulary(), texts, LmSettings(by_context=False))
    runs = []
    for _ in range(2):
        model = FakeModel(window=64)
        result = evaluate_lm(model, ByteVocabulary(), texts, LmSettings(context_share=1.0, context_sample=800))
        assert model.forward_tokens <= 2.2 * plain.forward_tokens  # as much again, and padding
        runs.append(result.by_context)
    assert runs[0] == runs[1]
    assert 0 < runs[0][0].tokens <= 800


def test_documents_too_short_for_any_context_give_no_rows() -> None:
    assert evaluate_lm(FakeModel(window=2000), ByteVocabulary(), ["짧은 글"]).by_context == ()


def test_the_limit_counts_documents_with_text() -> None:
    result = evaluate_lm(FakeModel(), ByteVocabulary(), ["", *TEXTS], LmSettings(max_documents=2))
    assert result.documents == 2
    assert result.characters == len(TEXTS[0]) + len(TEXTS[1])


@pytest.mark.parametrize("documents", [[], ["", "\n \n"]])
def test_no_text_is_an_input_error(documents: list[str]) -> None:
    with pytest.raises(InputError, match="no text"):
        evaluate_lm(FakeModel(), ByteVocabulary(), documents)


def test_a_model_that_diverged_is_told_and_left_in_its_mode() -> None:
    model = FakeModel()
    model.out[0, 0] = float("nan")
    with pytest.raises(DivergedError):
        evaluate_lm(model, ByteVocabulary(), TEXTS)
    assert model.training
    assert model.modes == [False, True]


def test_json_has_no_nan_and_no_infinity() -> None:
    model = FakeModel()
    model.out *= 1e5  # a perplexity that no float holds
    figures = evaluate_lm(model, ByteVocabulary(), ["가"]).as_json()
    parsed = json.loads(json.dumps(figures, allow_nan=False))
    assert parsed["perplexity"] is None
    assert parsed["bits_per_character_standard_error"] is None
    assert parsed["examples"] == 1


def test_standard_error_is_of_the_size_of_the_spread_over_resampled_documents() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(chr(0xAC00 + int(c)) for c in random.integers(0, 400, length)) for length in range(3, 33)]
    single = [evaluate_lm(FakeModel(), ByteVocabulary(), [text]) for text in texts]
    bits, characters = np.array([r.bits for r in single]), np.array([r.characters for r in single])
    draws = random.integers(0, len(texts), (2000, len(texts)))
    spread = (bits[draws].sum(1) / characters[draws].sum(1)).std()
    error = evaluate_lm(FakeModel(), ByteVocabulary(), texts).standard_error
    assert error == pytest.approx(spread, rel=0.25)


def test_progress_ends_at_its_total() -> None:
    heard: list[Event] = []
    result = evaluate_lm(FakeModel(), ByteVocabulary(), TEXTS, listen=heard.append)
    last = heard[-1]
    assert isinstance(last, Progress)
    assert last.done == last.total == result.tokens


class Store:
    """Tokenized documents in memory."""

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = ByteVocabulary().encode_batch(texts, add_special_tokens=True)
        self.ids = np.array([token for ids in encoded for token in ids], dtype=np.uint16)
        self.ends = np.cumsum([len(ids) for ids in encoded])
        self.documents = len(texts)
        self.tokens = len(self.ids)
        self.characters = sum(map(len, texts))

    def spans(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        begins = np.concatenate([[0], self.ends[:-1]])
        return np.stack([begins, self.ends], axis=1)[indices]

    def read(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint16]:
        return np.concatenate([self.ids[begin:end] for begin, end in zip(begins, ends, strict=True)])


@pytest.mark.parametrize("max_tokens", [None, 10**6])
def test_validation_on_everything_is_the_evaluation(max_tokens: int | None) -> None:
    expected = evaluate_lm(FakeModel(), ByteVocabulary(), TEXTS)
    result = validate(FakeModel(), ByteVocabulary(), Store(TEXTS), max_tokens=max_tokens)
    assert result.metrics() == pytest.approx(expected.metrics(), rel=1e-9)
    assert [row.tokens for row in result.by_position] == [row.tokens for row in expected.by_position]
    assert result.standard_error == pytest.approx(expected.standard_error, rel=1e-9)


@pytest.mark.parametrize("scheme", ["lossless", "bert"])
def test_validation_stops_at_its_budget_and_counts_only_the_characters_it_saw(scheme: str) -> None:
    vocabulary = ByteVocabulary()
    vocabulary.scheme = scheme
    store = Store(TEXTS * 5)
    one, two = (validate(FakeModel(), vocabulary, store, max_tokens=200) for _ in range(2))
    assert one.metrics() == two.metrics()
    assert one.tokens == 200
    # Three bytes a syllable, one a space: between a third and all of the tokens.
    assert 60 <= one.characters <= 200
    assert validate(FakeModel(), vocabulary, store, max_tokens=200, seed=1).bits != one.bits


def test_samples_of_validation_estimate_the_whole() -> None:
    # One long document must be neither all of a sample nor absent from it.
    store = Store([TEXTS[2] * 5, *TEXTS])
    whole = validate(FakeModel(), ByteVocabulary(), store).bits_per_token
    samples = [validate(FakeModel(), ByteVocabulary(), store, max_tokens=150, seed=seed) for seed in range(40)]
    figures = np.array([sample.bits_per_token for sample in samples])
    assert abs(figures.mean() - whole) < 3 * figures.std(ddof=1) / math.sqrt(len(figures))
    assert figures.std(ddof=1) < 0.15 * whole


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    window=st.integers(2, 12),
    max_tokens=st.one_of(st.none(), st.integers(1, 200)),
)
def test_sampled_windows_are_windows_of_the_whole(lengths: list[int], window: int, max_tokens: int | None) -> None:
    store = Store(["a" * length for length in lengths])
    store.ids = np.arange(store.tokens, dtype=np.uint16)  # so that a token tells its place
    every = {}
    for document, (begin, end) in enumerate(store.spans(np.arange(store.documents))):
        for segment in document_segments(document, store.ids[begin:end], window):
            every[document, segment.start] = segment
    windows = sample_windows(store, window=window, max_tokens=max_tokens, seed=3)
    counted = 0
    shortened = 0
    for index, document in enumerate(windows.document.tolist()):
        segment = read_window(store, windows, index, window=window, name=document)
        whole = every.pop((document, segment.start))
        np.testing.assert_array_equal(segment.inputs, whole.inputs[: len(segment)])
        np.testing.assert_array_equal(segment.targets, whole.targets[: len(segment)])
        shortened += len(segment) < len(whole)
        counted += int((segment.targets != IGNORED).sum())
    everything = store.tokens - store.documents
    assert counted == (everything if max_tokens is None else min(max_tokens, everything))
    assert shortened <= 1
    assert not every or max_tokens is not None


def test_characters_of_tokens_add_up_to_the_text() -> None:
    characters = token_characters(ByteVocabulary())
    assert characters is not None
    for text in TEXTS:
        ids = ByteVocabulary().encode_batch([text], add_special_tokens=True)[0]
        assert characters[ids].sum() == len(text)
