"""`korformer finetune`: a checkpoint, or a new model, learns a task from examples."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from korformer.errors import UsageError

if TYPE_CHECKING:
    from korformer.finetuning.results import Results
    from korformer.finetuning.settings import FinetuneSettings
    from korformer.model.directory import LoadedModel
    from korformer.text.vocabulary import Vocabulary


class Resume(StrEnum):
    """What to do with a run that is already in the output folder."""

    auto = "auto"
    never = "never"


def command(
    task: Annotated[
        str | None,
        typer.Option(help="What to learn: korquad, ner, classify, pair or lm (go on learning to write, on your text)."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("-m", "--model", metavar="DIR", help="Checkpoint to begin with.")
    ] = None,
    train: Annotated[
        list[str] | None, typer.Option(metavar="FILE...", help="Training examples; may be given again.")
    ] = None,
    valid: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="Examples that choose the best checkpoint; may be given again."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Run folder [default: checkpoints/TASK-MODEL].")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, each of another seed; tells mean and deviation.")] = 1,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Take shape and vocabulary of -m, but new weights, to compare with.")
    ] = False,
    vocab: Annotated[Path | None, typer.Option(metavar="DIR", help="Vocabulary of a new model, without -m.")] = None,
    preset: Annotated[str | None, typer.Option(help="Shape of a new model, as in pretrain.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings: sections model, data, training and the task's.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting on top of all; repeat.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Times the examples are seen (training.epochs).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random (training.seed).")] = None,
    resume: Annotated[Resume, typer.Option(help="auto goes on with a run in the folder; never refuses one.")] = (
        Resume.auto
    ),
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where tokenized text is kept, for lm [default: the user's cache]."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves while it trains (on a terminal).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved settings and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Learn a task from examples. The best checkpoint stays. Ctrl-C saves; the same command goes on."""
    needed = {"--task": task, "--train": train, "--valid": valid}
    missing = [name for name, given in needed.items() if not given and not (print_config and name != "--task")]
    if missing or task is None:
        raise UsageError(
            f"{' and '.join(missing)} missing",
            where="finetune",
            hint="For example: korformer finetune -m DIR --task classify --train train.tsv --valid valid.tsv",
        )
    if plot and seeds > 1:
        raise UsageError(
            "draws the curves of one run",
            where="--plot, --seeds",
            hint="`korformer runs DIR` draws those of several, while they train too.",
        )
    from korformer import tasks

    tasks.check(task)
    base, vocabulary, settings = _begin(
        task, model, vocab, preset, config, assignments or [], scratch=scratch, epochs=epochs, seed=seed
    )
    if print_config:
        from korformer.config import to_toml

        typer.echo(to_toml(settings), nl=False)
        return
    _finetune(
        settings,
        vocabulary,
        base,
        output or Path("checkpoints") / _default_name(task, model, preset, config, scratch=scratch),
        train=train or [],
        valid=valid or [],
        seeds=seeds,
        resume=resume is Resume.auto,
        cache=cache,
        plot=plot,
        quiet=quiet,
        as_json=as_json,
    )


def _default_name(task: str, model: Path | None, preset: str | None, config: Path | None, *, scratch: bool) -> str:
    if model is None:
        return f"{task}-{preset or (config.stem if config else 'model')}"
    return f"{task}-{model.resolve().name}{'-scratch' if scratch else ''}"


def _begin(
    task: str,
    model: Path | None,
    vocab: Path | None,
    preset: str | None,
    config: Path | None,
    assignments: list[str],
    *,
    scratch: bool,
    epochs: float | None,
    seed: int | None,
) -> tuple[LoadedModel | None, Vocabulary, FinetuneSettings]:
    """What the run begins with, and its settings: preset, then file, then --set, then options with a name."""
    from korformer.commands import checkpoint
    from korformer.config import merge, parse_assignments, read_toml
    from korformer.finetuning.settings import finetune_settings
    from korformer.model.directory import load_model
    from korformer.text.vocabulary import Vocabulary
    from korformer.training.presets import read_preset

    if model is None and vocab is None:
        raise UsageError(
            "needed: what to begin with",
            where="-m",
            hint="Give a checkpoint with -m, or --vocab DIR and --preset NAME for a new model.",
        )
    if model is not None and (vocab is not None or preset is not None):
        raise UsageError(
            "brings a vocabulary and a shape of its own",
            where="-m",
            hint="Leave --vocab and --preset out; --scratch begins with new weights.",
        )
    values: dict[str, Any] = {}
    if preset is not None:
        values = {"model": read_preset(preset).get("model", {})}
    if config is not None:
        from_file = read_toml(config)
        for name in ("task", "base"):  # a run.toml may be given
            from_file.pop(name, None)
        values = merge(values, from_file)
    values = merge(values, parse_assignments(assignments))
    named = {"epochs": epochs, "seed": seed}
    values = merge(values, {"training": {name: value for name, value in named.items() if value is not None}})
    if model is None:
        assert vocab is not None
        return None, Vocabulary.load(vocab), finetune_settings(task, values)
    loaded = load_model(checkpoint.resolve(model))
    settings = finetune_settings(task, values, base="" if scratch else str(model), shape=loaded.model.config)
    return None if scratch else loaded, loaded.vocabulary, settings


def _finetune(
    settings: FinetuneSettings,
    vocabulary: Vocabulary,
    base: LoadedModel | None,
    path: Path,
    *,
    train: list[str],
    valid: list[str],
    seeds: int,
    resume: bool,
    cache: Path | None,
    plot: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from korformer.commands.console import reporting
    from korformer.finetuning.runs import finetune

    with reporting(quiet=quiet, plot=path if plot else None) as listen:
        results = finetune(
            settings,
            vocabulary,
            base,
            path,
            train=train,
            valid=valid,
            seeds=seeds,
            resume=resume,
            cache=cache,
            listen=listen,
        )
    _show(results, path, as_json=as_json)


def _show(results: Results, path: Path, *, as_json: bool) -> None:
    """The results on stdout."""
    from korformer.storage.atomic import finite

    if as_json:
        value = finite({"path": str(path), **results.as_json()})
        sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        return
    rows = results.rows()
    width = max(len(name) for name, _ in rows)
    sys.stdout.write("".join(f"{name:<{width}}  {value.replace('±', '+-')}\n" for name, value in rows))
    sys.stdout.write(f"{path}\n")
