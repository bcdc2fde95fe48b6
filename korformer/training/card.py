"""The model card of a run: what it was trained on, how, and what it reached."""

from __future__ import annotations

from collections.abc import Mapping

from korformer import __version__
from korformer.training.settings import RunSettings


def model_card(
    settings: RunSettings, sources: tuple[str, ...], results: Mapping[str, float], step: int, tokens: int
) -> str:
    """The card as Markdown.

    Args:
        settings: the run's.
        sources: names of the corpus files.
        results: the newest figures on held-out text; none where there is none.
        step, tokens: where the run stands.
    """
    model = settings.model
    shown = [f"| {name} | {value:.4f} |" for name, value in results.items()]
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
            f"- {step:,} steps, {tokens:,} tokens, sequences of {settings.pack_tokens:,} tokens; "
            "every setting is in `run.toml`",
            f"- korformer {__version__}",
            "",
            "## Results on held-out text",
            "",
            *(["| figure | value |", "|---|---|", *shown] if shown else ["None was given."]),
            "",
            "## Use",
            "",
            "    korformer generate -m THIS_DIRECTORY"
            if model.causal
            else "It is an encoder, which reads and does not write: `korformer.model.directory.load_model`.",
            "",
        ]
    )
