"""`korformer pretrain --dry-run`: what a run will take, as a table or as JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from korformer.commands.console import format_bytes, format_seconds, printable, reporting
from korformer.data.store import default_cache
from korformer.errors import ResourceError, UsageError
from korformer.storage import check_writable
from korformer.text.documents import ReadSettings
from korformer.text.vocabulary import Vocabulary
from korformer.training.corpus_sample import planned_data
from korformer.training.distributed import joined
from korformer.training.fitting import advice
from korformer.training.plan import Plan, plan, scratch_folder
from korformer.training.settings import RunSettings


def show_plan(
    settings: RunSettings,
    path: Path,
    vocab: Path,
    sources: Sequence[str],
    valid: Sequence[str],
    cache: Path | None,
    read: ReadSettings,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print what the run of these settings will take. Arguments as of `pretrain`.

    Raises:
        ResourceError: it will not fit into memory or on the disk; what is known is printed first.
    """
    check_writable(path)
    vocabulary = Vocabulary.load(vocab)
    with joined() as group, reporting(quiet=quiet) as listen, scratch_folder() as scratch:
        if group.world_size > 1:
            raise UsageError("a dry run is of one process", where="--dry-run", hint="Start it without torchrun.")
        planned = planned_data(
            sources,
            valid,
            vocabulary,
            settings.data,
            cache=cache or default_cache(),
            scratch=scratch,
            read=read,
            listen=listen,
        )
        found = plan(settings, planned, path, listen=listen)
    if as_json:
        sys.stdout.write(json.dumps(facts(found), allow_nan=False) + "\n")
    else:
        sys.stdout.write("\n".join(lines(found)) + "\n")
    sys.stdout.flush()
    if not found.fit.fits:
        raise ResourceError(
            f"a step needs {format_bytes(found.peak_bytes)}, which is more than is free; no step was tried",
            hint=advice(settings, found.fit),
        )
    if not found.fits_on_disk:
        raise ResourceError(
            f"needs {format_bytes(found.run_bytes)} on disk, {format_bytes(found.free_disk_bytes or 0)} free",
            where=str(path),
            hint="Make room, choose another folder, or lower training.keep.",
        )


def facts(found: Plan) -> dict[str, Any]:
    """The plan as one JSON object; what was not measured is null."""
    pace, training = found.pace, found.settings.training
    seconds = found.seconds()
    return {
        "parameters": sum(found.parameters.values()),
        "parameters_by_part": dict(found.parameters),
        "device": found.device,
        "precision": found.precision,
        "threads": found.threads,
        "micro_batch": found.fit.micro_batch,
        "passes": found.fit.passes,
        "reversible": found.fit.reversible,
        "pack_tokens": found.settings.pack_tokens,
        "step_tokens": found.step_tokens,
        "steps": training.steps,
        "fits": found.fit.fits and found.fits_on_disk,
        "peak_bytes": found.peak_bytes,
        "reckoned_peak_bytes": found.fit.memory.peak,
        "memory_by_part": found.fit.memory.parts(),
        "free_bytes": found.free_bytes,
        "tokens_per_second": pace.tokens_per_second if pace else None,
        "seconds_per_step": pace.step if pace else None,
        "steps_tried": pace.steps if pace else 0,
        "corpus_tokens": sum(found.corpora.values()),
        "corpus_exact": found.corpus_exact,
        "corpora": {name or "corpus": tokens for name, tokens in found.corpora.items()},
        "epochs": {name or "corpus": epochs for name, epochs in found.epochs.items()},
        "seconds_by_work": seconds or None,
        "seconds": sum(seconds.values()) if seconds else None,
        "store_bytes": found.store_bytes,
        "run_bytes": found.run_bytes,
        "free_disk_bytes": found.free_disk_bytes,
    }


def lines(found: Plan) -> Iterator[str]:
    """The plan as a table of at most 80 columns."""
    settings, fit, pace = found.settings, found.fit, found.pace
    training = settings.training
    total = sum(found.parameters.values())
    yield f"parameters        {total:>15,}"
    for part, count in found.parameters.items():
        yield f"  {part:<16}{count:>15,}  {count / total:>5.1%}"
    yield ""
    twice = ", layers computed twice" if fit.reversible else ""
    cut = f"{fit.passes} x {fit.micro_batch} x {settings.pack_tokens:,}"
    yield f"a step            {found.step_tokens:>15,}  tokens, {cut}{twice}"
    yield f"device            {found.device:>15}  {found.precision}, {found.threads} threads"
    yield ""
    how = f"of {pace.steps} steps" if pace else "reckoned, no step was tried"
    yield f"memory, peak      {format_bytes(found.peak_bytes):>15}  {how}; {format_bytes(found.free_bytes)} free"
    for part, size in fit.memory.parts().items():
        if size:
            yield f"  {part:<16}{format_bytes(size):>15}" + ("  reckoned" if part == "activations" else "")
    yield ""
    about = "" if found.corpus_exact else " (about)"
    for name, tokens in found.corpora.items():
        label = printable(name)[:17] if name else "corpus"
        share = f", {found.shares[name]:.0%} of the sequences" if name else ""
        yield f"{label:<18}{tokens:>15,}  tokens{about}, {found.epochs[name]:.3g} epochs{share}"
    yield f"disk, run folder  {format_bytes(found.run_bytes):>15}  {_free(found)}"
    if found.store_bytes:
        yield f"disk, tokens      {format_bytes(found.store_bytes):>15}  in the cache"
    if pace is None:
        return
    yield ""
    yield f"speed             {pace.tokens_per_second:>15,.0f}  tokens a second, {pace.step:.3g} s a step"
    seconds = found.seconds()
    yield f"time in all       {format_seconds(sum(seconds.values())):>15}  {training.steps:,} steps"
    for work, length in seconds.items():
        if length:
            yield f"  {work:<16}{format_seconds(length):>15}"


def _free(found: Plan) -> str:
    return "" if found.free_disk_bytes is None else f"{format_bytes(found.free_disk_bytes)} free"
