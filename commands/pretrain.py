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
        typer.Option(metavar="FILE...", help="Training text: files, folders, globs; compressed or not."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE", hidden=True)] = None,
    valid: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Held-out text to validate on.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Run folder [default: checkpoints/OBJECTIVE-PRESET]."),
    ] = None,
    objective: Annotated[str, typer.Option(help="What the model learns: ar (predict the next token).")] = "ar",
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
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved settings and stop.")] = False,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="Print the presets and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train a model from the beginning, or go on training it. Ctrl-C saves; the same command goes on."""
    if list_presets:
        _print_presets()
        return
    settings = _settings(objective, preset, config, assignments or [], steps, seed)
    if print_config:
        from korformer.config import to_toml

        typer.echo(to_toml(settings), nl=False)
        return
    sources = [*(corpus or []), *(more or [])]
    missing = [name for name, given in (("--vocab", vocab), ("--corpus", sources)) if not given]
    if vocab is None or not sources:
        raise UsageError(
            f"{' and '.join(missing)} missing",
            where="pretrain",
            hint="For example: korformer pretrain --preset cpu-small --vocab vocab/ --corpus text.txt",
        )
    path = output or Path("checkpoints") / f"{objective}-{preset or (config.stem if config else 'model')}"
    _train(settings, path, vocab, sources, valid or [], cache, _read(document, errors), resume is Resume.auto, quiet)
    typer.echo(path)


def _print_presets() -> None:
    from korformer.training.presets import preset_names

    names = preset_names()
    width = max(map(len, names))
    for name, summary in names.items():
        typer.echo(f"{name:<{width}}  {summary}")


def _settings(
    objective: str,
    preset: str | None,
    config: Path | None,
    assignments: list[str],
    steps: int | None,
    seed: int | None,
) -> RunSettings:
    """Preset, then file, then --set, then the options that have a name of their own."""
    from korformer.config import merge, parse_assignments, read_toml
    from korformer.training.presets import read_preset
    from korformer.training.settings import run_settings

    values: dict[str, Any] = read_preset(preset) if preset else {}
    if config is not None:
        from_file = read_toml(config)
        named = from_file.pop("objective", objective)
        if named != objective:
            raise UsageError(f"is for objective {named!r}, not {objective!r}", where=str(config))
        values = merge(values, from_file)
    values = merge(values, parse_assignments(assignments))
    options = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    return run_settings(objective, merge(values, {"training": options}))


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
    resume: bool,
    quiet: bool,
) -> None:
    from korformer.commands.console import reporting
    from korformer.data.store import cached_store, default_cache
    from korformer.storage import check_writable
    from korformer.text.vocabulary import Vocabulary
    from korformer.training.loop import TrainingData, pretrain

    check_writable(path)
    vocabulary = Vocabulary.load(vocab)
    place = cache or default_cache()
    with reporting(quiet=quiet) as listen:
        store = cached_store(sources, vocabulary, place, read=read, listen=listen)
        held_out = cached_store(valid, vocabulary, place, read=read, listen=listen) if valid else None
        data = TrainingData(
            store=store,
            valid=held_out,
            vocabulary=vocabulary,
            sources=tuple(Path(source).name if source != "-" else "standard input" for source in sources),
        )
        pretrain(settings, data, path, resume=resume, listen=listen)
