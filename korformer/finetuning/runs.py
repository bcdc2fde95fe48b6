"""Fine-tuning from the files to the model directory, for one seed or several.

One seed: the folder is the run's. Several: it has a folder of each seed's run, and is the model directory of the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from korformer import tasks
from korformer.errors import PathError, UsageError
from korformer.events import Listener, Notice, Saved, ignore
from korformer.finetuning.folders import check_output, check_run, require_same_data, run_folders
from korformer.finetuning.loop import FineTuner
from korformer.finetuning.results import Outcome, Results, card
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.directory import CARD_NAME, MODEL_FILES, LoadedModel
from korformer.storage import check_writable, lock_directory, update_directory, write_bytes, write_json, write_text
from korformer.supervised.course import Course, CourseRequest
from korformer.text.vocabulary import Vocabulary
from korformer.training.interrupt import StopRequest, stop_on_signal
from korformer.training.run_directory import SETTINGS_NAME
from korformer.training.runs import RESULTS_NAME


def finetune(
    settings: FinetuneSettings,
    vocabulary: Vocabulary,
    base: LoadedModel | None,
    path: Path,
    *,
    train: Sequence[str],
    valid: Sequence[str],
    seeds: int = 1,
    resume: bool = True,
    cache: Path | None = None,
    listen: Listener = ignore,
) -> Results:
    """Learn a task; `path` is a model directory afterwards, of the best checkpoint by the task's figure.

    Args:
        settings: the run's.
        vocabulary: the model's.
        base: the checkpoint it begins with; None for new weights.
        path: the run's folder; made where it is missing.
        train, valid: names of files.
        seeds: how many runs, of seeds `settings.training.seed` and those after it.
        resume: go on with runs found there, and take finished ones as they are; where it is False, any is refused.
        cache: where tokenized text is kept, for tasks that read plain text.
        listen: hears Progress, Step, Validation, Saved and Notice.

    Raises:
        PathError, InputError: data or output cannot be read, used or written; nothing was trained.
        UsageError: settings do not fit together, or the folder holds another run or another model.
        ResourceError, DivergedError, InterruptedRun: see `FineTuner.run`.
    """
    if seeds < 1:
        raise UsageError(f"must be at least 1, not {seeds}", where="--seeds")
    check_output(path, settings, base.path if base is not None else None, seeds=seeds, resume=resume)
    check_writable(path)
    if settings.training.threads is not None:
        torch.set_num_threads(settings.training.threads)
    request = CourseRequest(
        model=settings.model,
        vocabulary=vocabulary,
        base=base,
        train=train,
        valid=valid,
        task=settings.task_settings,
        data=settings.data,
        training=settings.training,
        cache=cache,
    )
    course = tasks.trainable(settings.task).course(request, listen)
    data = {"training": list(train), "validation": list(valid)}
    return finetune_course(course, settings, vocabulary, data, path, seeds=seeds, resume=resume, listen=listen)


def finetune_course(
    course: Course,
    settings: FinetuneSettings,
    vocabulary: Vocabulary,
    data: Mapping[str, Sequence[str]],
    path: Path,
    *,
    seeds: int = 1,
    resume: bool = True,
    listen: Listener = ignore,
) -> Results:
    """The same with a course that is made already.

    Args:
        course: what is learnt.
        settings, vocabulary, path, seeds, resume, listen: as of `finetune`.
        data: names of files, by "training" and "validation", for the model card.
    """
    first = settings.training.seed
    outcomes = []
    with stop_on_signal() as stop, ExitStack() as held:
        if seeds > 1:
            held.enter_context(lock_directory(path))
        for seed, folder in enumerate(run_folders(path, first, seeds), first):
            of_seed = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
            if seeds > 1:
                listen(Notice(text=f"seed {seed}, run {seed - first + 1} of {seeds}"))
            outcomes.append(_run(course, of_seed, vocabulary, data, folder, resume, listen, stop))
        results = Results(outcomes=outcomes)
        if seeds > 1:
            _take_best(path, settings, data, course, results)
            listen(Saved(path=path))
    return results


def _run(
    course: Course,
    settings: FinetuneSettings,
    vocabulary: Vocabulary,
    data: Mapping[str, Sequence[str]],
    folder: Path,
    resume: bool,
    listen: Listener,
    stop: StopRequest,
) -> Outcome:
    """The run of one seed; one that is finished is not run again."""
    check_writable(folder)
    with lock_directory(folder):
        if not resume and (folder / SETTINGS_NAME).exists():
            raise UsageError("holds a run already", where=str(folder), hint="Choose another -o, or resume it.")
        course.begin(settings.training.seed)
        tuner = FineTuner(course, settings, vocabulary, data, folder, listen, stop)
        done = Outcome.read(folder)
        if done is not None:
            check_run(folder, settings)
            require_same_data(done.data, course.fingerprint, folder)
            listen(Notice(text=f"the run in {folder} is finished; its results are taken as they are"))
            return done
        return tuner.run()


def _take_best(
    path: Path, settings: FinetuneSettings, data: Mapping[str, Sequence[str]], course: Course, results: Results
) -> None:
    """Make `path` the model directory of the best seed, with the results of all."""
    source = path / f"seed-{results.best.seed}"
    with update_directory(path, MODEL_FILES) as staged:
        for name in MODEL_FILES:
            if name == CARD_NAME:
                write_text(staged / name, card(settings, data, course.facts, results))
            else:
                try:
                    write_bytes(staged / name, (source / name).read_bytes())
                except OSError as error:
                    raise PathError(f"cannot be read ({error.strerror})", where=str(source / name)) from error
    write_json(path / RESULTS_NAME, results.as_json())
