"""The model card of a run: what it was trained on, how, and what it reached."""

from __future__ import annotations

from pathlib import Path

from korformer import __version__
from korformer.training.metrics import read_metrics
from korformer.training.settings import RunSettings


def model_card(settings: RunSettings, sources: tuple[str, ...], metrics_path: Path, step: int, tokens: int) -> str:
    """The card as Markdown.

    Args:
        settings: the run's.
        sources: names of the corpus files.
        metrics_path: the run's metrics, for the results; it may be missing.
        step, tokens: where the run stands.
    """
    model = settings.model
    results = [line for line in read_metrics(metrics_path) if line["event"] == "validation"]
    shown = [
        f"| {name} | {value:.4f} |"
        for name, value in (results[-1] if results else {}).items()
        if name not in ("event", "step") and isinstance(value, int | float)
    ]
    return "\n".join(
        [
            "---",
            "language: ko",
            "library_name: korformer",
            "---",
            "",
            "# A korformer model",
            "",
            f"Objective `{settings.objective}`, {model.depth} layers of width {model.dim}, {model.heads} heads, "
            f"attention {', '.join(dict.fromkeys(model.layer_kinds))}, window of {model.max_seq_len:,} tokens.",
            "",
            "## Training",
            "",
            f"- Data: {', '.join(sources) if sources else 'not recorded'}",
            "- Licence of the data: to be named by whoever shares this model",
            f"- {step:,} steps, {tokens:,} predicted tokens, sequences of {settings.pack_tokens:,} tokens; "
            "every setting is in `run.toml`",
            f"- korformer {__version__}",
            "",
            "## Results on held-out text",
            "",
            *(["| figure | value |", "|---|---|", *shown] if shown else ["None was given."]),
            "",
            "## Use",
            "",
            "    korformer generate -m THIS_DIRECTORY",
            "",
        ]
    )
