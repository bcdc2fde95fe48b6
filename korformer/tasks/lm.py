"""Language modelling: perplexity and bits per character of held-out text, or of an encoder how well it guesses hidden
tokens; going on learning on one's own text.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from korformer.config import build
from korformer.errors import UsageError
from korformer.evaluation.language_model import LmSettings, evaluate_lm
from korformer.evaluation.report import EvalRequest, Plot, Report, Table
from korformer.evaluation.result import LmResult
from korformer.events import Listener, ignore
from korformer.model.decode import PRECISIONS, Precision, StepwiseModel
from korformer.model.directory import load_model
from korformer.supervised.language_model import LmCourse, LmPredictor, LmTaskSettings
from korformer.supervised.masked import MaskedSettings, measure_masked
from korformer.text.documents import Documents, ReadSettings

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel
    from korformer.supervised.course import CourseRequest


WITHOUT_USE = ("--worst", "--resamples", "--seed")
"""Options of `korformer eval` that say nothing here: the figures are sums over all tokens."""


class LanguageModelling:
    """Going on with a language model."""

    name = "lm"
    summary = "go on learning to write, or to fill in words, on one's own text"
    settings = LmTaskSettings
    recipe: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {"training": {"epochs": 10.0, "batch_tokens": 8192, "learning_rate": 3e-4, "patience": 2}}
    )

    def course(self, request: CourseRequest, listen: Listener = ignore) -> LmCourse:
        """Packs of the text; errors as of `LmCourse`."""
        return LmCourse(request, listen)

    def predictor(
        self, loaded: LoadedModel, max_tokens: int | None = None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> LmPredictor:
        """How probable lines of text are.

        Raises:
            UsageError: there are options, of which this has none, or as of `LmPredictor`.
        """
        if options:
            raise UsageError(f"no such setting of lm: {', '.join(options)}", where="--set", hint="Leave that out.")
        return LmPredictor(loaded, max_tokens)


TASK = LanguageModelling()


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Measure a model on texts.

    Raises:
        PathError: a path is missing or unreadable.
        InputError: there is no text in the data.
        ModelDirectoryError: the checkpoint is none, or damaged.
        UsageError: the model cannot be measured on text, the window is larger than its own, there is no such precision
            of weights, or an option says nothing to an encoder.
    """
    if request.score is not None or request.checkpoint is None:
        raise UsageError("lm has no predictions to score", where="--task lm", hint="Give a model with -m.")
    if request.keep_predictions:
        raise UsageError("lm has no predictions to write", where="--predictions")
    if request.weights is not None:
        _precision(request.weights)
    values = {"window": request.window, "max_documents": request.max_documents, "by_context": request.by_context}
    read = build(ReadSettings, {"document": request.document, "errors": request.errors}, where="options")
    documents = Documents(request.data, read, listen=listen)  # first: a missing file shows before a model is read
    loaded = load_model(request.checkpoint, n_hashes=request.hashes, device=request.device)
    if not loaded.model.config.causal:
        return _evaluate_encoder(request, loaded, documents, listen)
    settings = build(LmSettings, {**values, **request.options}, where="--set")
    model = loaded.model if request.weights is None else StepwiseModel(loaded.model, _precision(request.weights))
    result = evaluate_lm(model, loaded.vocabulary, documents, settings, listen)
    how = {
        "weights": request.weights or "fp32",
        "reading": "in parallel" if request.weights is None else "token by token",
    }
    return Report(
        metrics=_where(request, loaded) | how | result.as_json(), tables=_tables(result), plots=_plots(result)
    )


def _evaluate_encoder(request: EvalRequest, loaded: LoadedModel, documents: Documents, listen: Listener) -> Report:
    """How well an encoder guesses hidden tokens. Errors as of `measure_masked`; UsageError: an option of decoders."""
    given = {
        "--weights": request.weights is not None,
        "--window": request.window is not None,
        "--no-context": not request.by_context,
    }
    without_use = [name for name, is_given in given.items() if is_given]
    if without_use:
        raise UsageError(f"an encoder does not use {' and '.join(without_use)}", where=str(request.checkpoint))
    settings = build(MaskedSettings, request.options, where="--set")
    texts = itertools.islice(documents, request.max_documents)
    figures = measure_masked(loaded, texts, settings, listen)
    rows = [
        (name.replace("_", " "), f"{value:,.0f}" if value.is_integer() else f"{value:.4f}")
        for name, value in figures.items()
    ]
    note = "Hidden tokens are guessed from both sides: not comparable with a decoder's figures."
    table = Table(title="Hidden tokens", columns=("", ""), rows=tuple(rows), note=note)
    return Report(metrics={**_where(request, loaded), **figures}, tables=(table,))


def _where(request: EvalRequest, loaded: LoadedModel) -> dict[str, object]:
    return {
        "task": "lm",
        "model": str(request.checkpoint),
        "data": list(request.data),
        "hashes": loaded.model.config.n_hashes,
        "device": str(loaded.model.device),
    }


def _precision(weights: str) -> Precision:
    if weights not in PRECISIONS:
        raise UsageError(f"no such precision: {weights}", where="--weights", hint=f"Use {', '.join(PRECISIONS)}.")
    return weights


def _tables(result: LmResult) -> tuple[Table, ...]:
    tables = [_summary(result)]
    if result.by_position:
        tables.append(_by_position(result))
    if result.by_context:
        tables.append(_by_context(result))
    return tuple(tables)


def _summary(result: LmResult) -> Table:
    error = f" +- {result.standard_error:.4f}" if result.standard_error is not None else ""
    name = "bits per character" if result.not_comparable is None else "bits per character (not comparable)"
    rows = [
        (name, f"{result.bits_per_character:.4f}{error}"),
        ("perplexity per token", f"{result.perplexity:.3f}"),
        ("bits per token", f"{result.bits_per_token:.4f}"),
        ("documents", f"{result.documents:,}"),
        ("characters", f"{result.characters:,}"),
        ("tokens predicted", f"{result.tokens:,}"),
        ("window in tokens", f"{result.window:,}"),
    ]
    if result.empty_documents:
        rows.append(("documents without text (left out)", f"{result.empty_documents:,}"))
    note = f"Not comparable: {result.not_comparable}." if result.not_comparable else ""
    return Table(title="Language model", columns=("", ""), rows=tuple(rows), note=note)


def _by_position(result: LmResult) -> Table:
    rows = tuple(
        (
            _span(row.first, row.last),
            f"{row.bits_per_token:.4f}",
            f"{row.bits_per_character:.4f}" if row.bits_per_character is not None else "-",
            f"{row.tokens:,}",
            f"{row.documents:,}",
        )
        for row in result.by_position
    )
    return Table(
        title="By position in the document (first windows)",
        columns=("position", "bits/token", "bits/character", "tokens", "documents"),
        rows=rows,
        note="Later positions are other tokens, of fewer documents.",
    )


def _by_context(result: LmResult) -> Table:
    rows = tuple(
        (
            f"{row.context_tokens:,}",
            f"{row.bits_per_token:.4f}",
            f"{row.above_longest:+.4f}",
            f"{row.standard_error:.4f}" if row.standard_error is not None else "-",
        )
        for row in result.by_context
    )
    return Table(
        title=f"The same {result.by_context[0].tokens:,} late tokens, seeing only the last N tokens",
        columns=("N", "bits/token", "above longest", "+- (s.e.)"),
        rows=rows,
        note="A model that uses what is far back falls from row to row.",
    )


def _plots(result: LmResult) -> tuple[Plot, ...]:
    plots = [
        Plot(
            title="bits/token by position in the document",
            labels=tuple(_span(row.first, row.last) for row in result.by_position),
            values=tuple(row.bits_per_token for row in result.by_position),
        ),
        Plot(
            title="bits/token of the same late tokens by length of context",
            labels=tuple(str(row.context_tokens) for row in result.by_context),
            values=tuple(row.bits_per_token for row in result.by_context),
        ),
    ]
    return tuple(plot for plot in plots if len(plot.values) > 1)


def _span(first: int, last: int) -> str:
    return f"{first}-{last}"
