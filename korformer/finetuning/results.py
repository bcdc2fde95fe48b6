"""What fine-tuning came to: of one run, of several seeds, as a file, as a table and on the model card."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from korformer import __version__
from korformer.errors import KorformerError
from korformer.finetuning.settings import FinetuneSettings
from korformer.storage import read_json, write_json
from korformer.training.curves import lower_is_better
from korformer.training.runs import RESULTS_NAME


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run came to.

    Attributes:
        seed: of the run.
        data: identity of what it was trained and validated on.
        headline: name of the figure that chose the checkpoint.
        best_step: step of the checkpoint.
        metrics: its figures on the held-out data, the headline first.
        step, steps: where the run ended, and of how many steps; fewer where it ended early.
        tokens: trained on.
        seconds: of training and validating, over all sittings.
    """

    seed: int
    data: str
    headline: str
    best_step: int
    metrics: Mapping[str, float]
    step: int
    steps: int
    tokens: int
    seconds: float

    @property
    def score(self) -> float:
        """The headline, larger where it is better; minus infinity where it is no number."""
        value = self.metrics.get(self.headline, math.nan)
        if not math.isfinite(value):
            return -math.inf
        return -value if lower_is_better(self.headline) else value

    def write(self, path: Path) -> None:
        """Keep it in a run's folder."""
        write_json(path / RESULTS_NAME, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Outcome | None:
        """The outcome of a run that is finished; None where it is not."""
        if not (path / RESULTS_NAME).is_file():
            return None
        try:
            value = read_json(path, RESULTS_NAME)
            metrics = {
                name: math.nan if figure is None else float(figure) for name, figure in value.pop("metrics").items()
            }
            return cls(metrics=metrics, **value)
        except (KorformerError, TypeError, KeyError, AttributeError, ValueError):
            return None


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the runs of one or several seeds came to."""

    outcomes: Sequence[Outcome]

    @property
    def best(self) -> Outcome:
        """The run with the best headline, the first of equals."""
        return max(self.outcomes, key=lambda outcome: outcome.score)

    def summary(self) -> dict[str, tuple[float, float | None]]:
        """Mean and sample standard deviation of each figure over the seeds, no deviation of a single one; both are NaN
        where the figure is no number in one of them.
        """
        figures = {}
        for name in self.best.metrics:
            values = [outcome.metrics[name] for outcome in self.outcomes if name in outcome.metrics]
            figures[name] = (_mean(values), _deviation(values) if len(values) > 1 else None)
        return figures

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file or for stdout; what is no number is null."""
        return {
            "headline": self.best.headline,
            "seeds": [asdict(outcome) for outcome in self.outcomes],
            "mean": {name: mean for name, (mean, _) in self.summary().items()},
            "deviation": {name: deviation for name, (_, deviation) in self.summary().items()},
        }

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, or mean ± deviation, of each figure."""
        return [
            (name, _shown(mean) if deviation is None else f"{_shown(mean)} ± {_shown(deviation)}")
            for name, (mean, deviation) in self.summary().items()
        ]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if all(map(math.isfinite, values)) else math.nan


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def _shown(value: float) -> str:
    """A count whole, a measured figure with four digits behind the point."""
    return f"{value:,.0f}" if isinstance(value, int) or (value.is_integer() and abs(value) > 1) else f"{value:.4f}"


def card(settings: FinetuneSettings, data: Mapping[str, Sequence[str]], facts: Mapping[str, int], done: Results) -> str:
    """The model card of a fine-tuned model as Markdown.

    Args:
        settings: the run's.
        data: names of files, by "training" and "validation".
        facts: counts of examples and the like.
        done: results so far; of several seeds where there were several.
    """
    model, best = settings.model, done.best
    several = len(done.outcomes) > 1
    seeds = ", ".join(str(outcome.seed) for outcome in done.outcomes)
    chosen = f"step {best.best_step:,} of {best.steps:,}, the best by {best.headline}"
    began = f"the weights of `{Path(settings.base).name}`" if settings.base else "new weights (not pretrained)"
    use = "eval -m THIS_DIRECTORY --task lm --data FILE" if settings.task == "lm" else "predict -m THIS_DIRECTORY FILE"
    return "\n".join(
        [
            "---",
            "language: ko",
            "library_name: korformer",
            "---",
            "",
            f"# A korformer model for {settings.task}",
            "",
            f"Fine-tuned for the task `{settings.task}` from {began}: {model.depth} layers of width {model.dim}, "
            f"{model.heads} heads, attention {', '.join(dict.fromkeys(model.layer_kinds))}, window of "
            f"{model.max_seq_len:,} tokens.",
            "",
            "## Training",
            "",
            *(f"- Data, {name}: {', '.join(Path(file).name for file in files)}" for name, files in data.items()),
            *(f"- {name.replace('_', ' ').capitalize()}: {count:,}" for name, count in facts.items()),
            "- Licence of the data: to be named by whoever shares this model",
            f"- {best.step:,} steps, {best.tokens:,} tokens, seed {best.seed}; the checkpoint is {chosen}",
            "- Every setting is in `run.toml`" + (" of each seed's folder" if several else ""),
            f"- korformer {__version__}",
            "",
            "## Results on the validation data",
            "",
            "Chosen on the same data that they are measured on, so a little too good.",
            "",
            f"| figure | {f'mean ± deviation over seeds {seeds}' if several else 'value'} |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in done.rows()),
            "",
            "## Use",
            "",
            f"    korformer {use}",
            "",
        ]
    )
