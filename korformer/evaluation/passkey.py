"""Passkey retrieval (Mohtashami and Jaggi 2023): a number stands somewhere in a long text; is it known at the end?

    [CLS] sentence sentence … 여기서 꼭 외워 둘 비밀번호는 48213이다. … sentence 아까 외워 둔 비밀번호는 ▁48213
                              ◀──────────── depth ───────────▶

What the text says at its end is read with the right number and with another one. The model recalls the number if each
of its tokens is the likeliest one, which is when greedy decoding writes it; it prefers the right number if that is more
probable than the other. A model that knows nothing gives a digit log2 10 = 3.32 bits and prefers the right one in half
of the trials, so the second figure shows a beginning where the first is still zero.

The sentences are made up of parts by a key, so that they neither repeat nor tell anything about the number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from korformer.config import Settings
from korformer.errors import DivergedError, UsageError
from korformer.evaluation.scoring import evaluating
from korformer.events import Listener, Progress, ignore
from korformer.text.special import CLS_ID

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel

SHORTEST_TOKENS = 128
"""Fewest tokens of a text."""

NEEDLE = "여기서 꼭 외워 둘 비밀번호는 {key}이다."
QUESTION = "아까 외워 둔 비밀번호는"

_WHO = ("할머니는", "우체부는", "옆집 아이는", "빵집 주인은", "늙은 어부는", "역무원은", "선생님은", "나그네는")
_WHEN = (
    "아침마다",
    "해가 지면",
    "비가 그치자",
    "장이 서는 날이면",
    "눈이 오는 날에도",
    "점심을 먹고 나서",
    "늦은 밤까지",
)
_WHERE = (
    "강가에서",
    "시장 골목에서",
    "낮은 언덕에서",
    "기차역 앞에서",
    "오래된 다리 위에서",
    "뒷마당에서",
    "등대 아래에서",
)
_WHAT = (
    "편지를 읽었다.",
    "그물을 손질했다.",
    "노래를 불렀다.",
    "꽃에 물을 주었다.",
    "친구를 기다렸다.",
    "감자를 삶았다.",
)


class PasskeySettings(Settings):
    """What is hidden where."""

    lengths: Annotated[tuple[Annotated[int, Field(ge=SHORTEST_TOKENS)], ...], Field(min_length=1)] | None = None
    """Tokens of the texts; 256, 512, … up to the window if not given."""
    depths: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
    )
    """Where the number stands: 0 at the beginning, 1 just before the question."""
    trials: Annotated[int, Field(ge=1)] = 4
    """Texts of each length and depth."""
    digits: Annotated[int, Field(ge=1, le=12)] = 5
    """Digits of a number."""


class OffsetVocabulary(Protocol):
    """What the probe needs of a vocabulary; `korformer.text.vocabulary.Vocabulary` is one."""

    def encode_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Ids of each text, and the characters of each token."""


@dataclass(frozen=True, kw_only=True)
class PasskeyCell:
    """What was found at one length and depth.

    Attributes:
        tokens: of the texts, at most.
        depth: where the number stood.
        trials: texts.
        recalled: in how many of them greedy decoding would write the number.
        preferred: in how many of them it was more probable than another number.
        bits_per_digit: of the right number.
        bits_per_digit_wrong: of the other.
    """

    tokens: int
    depth: float
    trials: int
    recalled: int
    preferred: int
    bits_per_digit: float
    bits_per_digit_wrong: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """A text with its question and a number.

    Attributes:
        ids: (T,) with [CLS].
        first: place of the number's first token.
    """

    ids: NDArray[np.int64]
    first: int


def lengths_for(window: int) -> tuple[int, ...]:
    """256, 512, … tokens and the window itself."""
    if window < SHORTEST_TOKENS:
        raise UsageError(f"a window of {window} tokens is too short for a passkey; {SHORTEST_TOKENS} are needed")
    powers = itertools.takewhile(lambda length: length < window, (256 << step for step in range(24)))
    return (*powers, window)


def measure_passkeys(
    model: ReformerModel,
    vocabulary: OffsetVocabulary,
    settings: PasskeySettings,
    *,
    window: int,
    seed: int,
    listen: Listener = ignore,
) -> list[PasskeyCell]:
    """Ask a model for numbers that it was told.

    Args:
        model: a decoder.
        vocabulary: the model's.
        settings: what is hidden where.
        window: most tokens of a text.
        seed: of numbers and sentences.
        listen: hears Progress (stage "passkeys", unit "texts").

    Returns:
        A cell for each length and depth, in that order.

    Raises:
        UsageError: a length is longer than the window.
        DivergedError: probabilities are not finite.
    """
    lengths = settings.lengths if settings.lengths is not None else lengths_for(window)
    if max(lengths) > window:
        raise UsageError(f"{max(lengths)} tokens do not fit into the window; at most {window}", where="lengths")
    total = len(lengths) * len(settings.depths) * settings.trials
    cells: list[PasskeyCell] = []
    done = 0
    with evaluating(model):
        for tokens, depth in itertools.product(lengths, settings.depths):
            results = []
            for trial in range(settings.trials):
                random = np.random.default_rng([seed, tokens, round(depth * 1000), trial])
                right, wrong = _numbers(random, settings.digits)
                words = int(random.integers(2**32))
                texts = [_trial(vocabulary, words, tokens, depth, told=right, asked=asked) for asked in (right, wrong)]
                results.append([_bits(model, text) for text in texts])
                done += 1
                listen(Progress(stage="passkeys", done=done, total=total, unit="texts"))
            cells.append(_cell(tokens, depth, settings.digits, results))
    return cells


def _cell(tokens: int, depth: float, digits: int, results: list[list[tuple[float, bool]]]) -> PasskeyCell:
    right, wrong = (np.array([pair[side][0] for pair in results]) for side in (0, 1))
    if not (np.isfinite(right).all() and np.isfinite(wrong).all()):
        raise DivergedError("the model gives probabilities that are not finite", hint="Use an earlier checkpoint.")
    return PasskeyCell(
        tokens=tokens,
        depth=depth,
        trials=len(results),
        recalled=sum(pair[0][1] for pair in results),
        preferred=int((right < wrong).sum()),
        bits_per_digit=float(right.mean()) / digits,
        bits_per_digit_wrong=float(wrong.mean()) / digits,
    )


def _numbers(random: np.random.Generator, digits: int) -> tuple[str, str]:
    """Two numbers of as many digits, different in the first."""
    right = random.integers(0, 10, size=digits)
    wrong = random.integers(0, 10, size=digits)
    wrong[0] = (right[0] + random.integers(1, 10)) % 10
    return "".join(map(str, right)), "".join(map(str, wrong))


def _sentences(seed: int) -> Iterator[str]:
    random = np.random.default_rng(seed)
    while True:
        yield " ".join(str(parts[random.integers(len(parts))]) for parts in (_WHEN, _WHO, _WHERE, _WHAT))


def _trial(vocabulary: OffsetVocabulary, seed: int, tokens: int, depth: float, *, told: str, asked: str) -> _Trial:
    """A text of at most that many tokens; the same sentences for the same seed, whatever is asked."""
    needle, ending = NEEDLE.format(key=told), f"{QUESTION} {asked}"
    sentences = list(itertools.islice(_sentences(seed), max(1, tokens // 4)))
    # A sentence with the space before it has about as many tokens alone as in the text; the rest is cut by measuring.
    sizes = np.cumsum([len(ids) for ids, _ in vocabulary.encode_offsets([f" {one}" for one in sentences])])
    count = int(np.searchsorted(sizes, tokens, side="right"))
    while True:
        place = round(depth * count)
        text = " ".join([*sentences[:place], needle, *sentences[place:count], ending])
        ids, offsets = vocabulary.encode_offsets([text])[0]
        if len(ids) + 1 <= tokens or count == 0:
            break
        count = max(0, count - 1)
    number = len(text) - len(asked)
    first = next(index for index, (_, end) in enumerate(offsets) if end > number)
    return _Trial(ids=np.array([CLS_ID, *ids], dtype=np.int64), first=first + 1)


def _bits(model: ReformerModel, trial: _Trial) -> tuple[float, bool]:
    """Bits of the number at the end, and whether each of its tokens is the likeliest."""
    tokens = torch.from_numpy(trial.ids).to(model.device)[None]
    hidden_1TD = model(tokens[:, :-1])
    logits = model.logits(hidden_1TD[:, trial.first - 1 :])[0].double()
    targets = tokens[0, trial.first :]
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    return float(nats) / math.log(2), bool((logits.argmax(dim=-1) == targets).all())
