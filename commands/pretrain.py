"""`korformer pretrain`: text to token store to trained model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from korformer.errors import UsageError

if TYPE_CHECKING:
    from korformer.training.settings import RunSettings


class Resume(StrEnum):
    """What to do with a run that is already in the output folder."""

    auto = "auto"
    never = "never"


def command(
    vocab: Annotated[Path | None, typer.Option(metavar="DIR", help="Vocabulary made by `korformer vocab`.")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Training text: files, folders, globs; compressed or not. NAME=FILE names a corpus of a mixture.",
        ),
    ] = None,
    valid: Annotated[list[str] | None, typer.Option(metavar="FILE...", help="Held-out text to validate on.")] = None,
    valid_split: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Hold out this share of the documents instead (data.valid_share)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Run folder [default: checkpoints/OBJECTIVE-PRESET]."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="What the model learns: ar (predict the next token), mlm (guess hidden ones), rtd (tell replaced "
            "ones). [default: the preset's, else ar]"
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Starting point; --list-presets shows them.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings on top of the preset.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting on top of all; repeat.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps (training.steps).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random (training.seed).")] = None,
    resume: Annotated[Resume, typer.Option(help="auto goes on with a run in the folder; never refuses one.")] = (
        Resume.auto
    ),
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where tokenized text is kept [default: the user's cache].")
    ] = None,
    document: Annotated[
        str, typer.Option(help="block: a blank line ends a document; file: each file is one, verbatim.")
    ] = "block",
    errors: Annotated[str, typer.Option(help="Bytes that are not text: strict, replace or skip.")] = "strict",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop where the data has problems instead of warning of them.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the loss while it trains (on a terminal).")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try a few steps and print what the whole run will take; write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print one JSON object.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved settings and stop.")] = False,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Print the presets and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train a model from the beginning, or go on training it. Ctrl-C saves; the same command goes on."""
    if list_presets:
        _print_presets()
        return
    objective = _objective(objective, preset, config)
    named: dict[str, dict[str, Any]] = {
        "training": {"steps": steps, "seed": seed},
        "data": {"valid_share": valid_split},
    }
    settings = _settings(objective, preset, config, assignments or [], named)
    if print_config:
        from korformer.config import to_toml

        typer.echo(to_toml(settings), nl=False)
        return
    sources = corpus or []
    missing = [name for name, given in (("--vocab", vocab), ("--corpus", sources)) if not given]
    if vocab is None or not sources:
        raise UsageError(
            f"{' and '.join(missing)} missing",
            where="pretrain",
            hint="For example: korformer pretrain --preset cpu-small --vocab vocab/ --corpus text.txt",
        )
    path = output or Path("checkpoints") / f"{objective}-{preset or (config.stem if config else 'model')}"
    if as_json and not dry_run:
        raise UsageError("is for --dry-run only", where="--json", hint="`korformer runs --json` tells what a run does.")
    if resume is Resume.never:  # before the text is read, which may take long
        from korformer.training.run_directory import RunDirectory

        RunDirectory(path).require_new()
    if dry_run:
        if strict:
            raise UsageError("is not for --dry-run, which does not read all of the data", where="--strict")
        from korformer.commands.dry_run import show_plan

        show_plan(
            settings, path, vocab, sources, valid or [], cache, _read(document, errors), quiet=quiet, as_json=as_json
        )
        return
    _train(
        settings,
        path,
        vocab,
        sources,
        valid or [],
        cache,
        _read(document, errors),
        strict,
        resume is Resume.auto,
        quiet,
        plot,
    )


def _print_presets() -> None:
    from korformer.training.presets import preset_names

    names = preset_names()
    width = max(map(len, names))
    for name, summary in names.items():
        typer.echo(f"{name:<{width}}  {summary}")


def _objective(given: str | None, preset: str | None, config: Path | None) -> str:
    """What is asked for; else what the file or the preset is for; else ar."""
    from korformer.config import read_toml
    from korformer.training.presets import preset_objective

    if given is not None:
        return given
    if config is not None and isinstance(meant := read_toml(config).get("objective"), str):
        return meant
    return (preset_objective(preset) if preset else None) or "ar"


def _settings(
    objective: str,
    preset: str | None,
    config: Path | None,
    assignments: list[str],
    named: dict[str, dict[str, Any]],
) -> RunSettings:
    """Preset, then file, then --set, then the options that have a name of their own."""
    from korformer.config import merge, parse_assignments, read_toml
    from korformer.training.presets import read_preset
    from korformer.training.settings import run_settings

    values: dict[str, Any] = read_preset(preset, objective) if preset else {}
    if config is not None:
        from_file = read_toml(config)
        meant = from_file.pop("objective", objective)
        if meant != objective:
            raise UsageError(f"is for objective {meant!r}, not {objective!r}", where=str(config))
        values = merge(values, from_file)
    values = merge(values, parse_assignments(assignments))
    options = {
        section: {name: value for name, value in given.items() if value is not None} for section, given in named.items()
    }
    return run_settings(objective, merge(values, options))


def _read(document: str, errors: str) -> Any:
    from korformer.config import build
    from korformer.text.documents import ReadSettings

    return build(ReadSettings, {"document": document, "errors": errors}, where="options")


def _train(
    settings: RunSettings,
    path: Path,
    vocab: Path,
    sources: list[str],
    valid: list[str],
    cache: Path | None,
    read: Any,
    strict: bool,
    resume: bool,
    quiet: bool,
    plot: bool,
) -> None:
    from korformer.commands.console import reporting
    from korformer.data.store import default_cache
    from korformer.storage import check_writable
    from korformer.text.vocabulary import Vocabulary
    from korformer.training.corpora import training_data
    from korformer.training.distributed import joined
    from korformer.training.loop import pretrain

    check_writable(path)
    vocabulary = Vocabulary.load(vocab)
    with (
        joined() as group,
        reporting(quiet=quiet or not group.leads, plot=path if plot and group.leads else None) as listen,
    ):
        data = training_data(
            sources,
            valid,
            vocabulary,
            settings.data,
            cache=cache or default_cache(),
            read=read,
            strict=strict,
            group=group,
            listen=listen,
        )
        pretrain(settings, data, path, resume=resume, listen=listen, group=group)
    if group.leads:
        typer.echo(path)
