"""A fine-tuned model as the solver of its task, with the settings of its training or others that its head allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from korformer.config import Settings, build
from korformer.errors import KorformerError, ModelDirectoryError, UsageError
from korformer.supervised.settings import SHORTEST_WINDOW
from korformer.supervised.task import Example, Reader, Solver, SupervisedTask, TaskDescription, task_of

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel

ExampleT = TypeVar("ExampleT", bound=Example)


def loaded_solver(
    task: SupervisedTask[ExampleT], loaded: LoadedModel, max_tokens: int | None, options: Mapping[str, Any]
) -> Solver[ExampleT, Any]:
    """The same as `SupervisedTask.loaded_solver`, which describes it."""
    described = _described(task, loaded)
    try:
        settings = build(task.settings, described.settings)
    except KorformerError as error:
        raise ModelDirectoryError(error.what, where=str(loaded.path)) from error
    longest = loaded.model.config.max_seq_len
    _check_window(max_tokens, longest)
    reader = Reader(vocabulary=loaded.vocabulary, max_tokens=max_tokens or min(described.max_tokens, longest))

    def solver_with(given: Mapping[str, Any]) -> Solver[ExampleT, Any]:
        chosen: Settings = build(task.settings, {**settings.model_dump(), **given}, where="--set")
        return task.solver(chosen, described.facts, reader)

    unfit = unfit_heads(solver_with({}), loaded)
    if unfit:
        raise ModelDirectoryError(f"its head {unfit[0]} does not fit its task", where=str(loaded.path))
    solver = solver_with(options)
    chosen = build(task.settings, {**settings.model_dump(), **options}, where="--set")
    named = [name for name in options if name in task.fixed and getattr(chosen, name) != getattr(settings, name)]
    if not named and unfit_heads(solver, loaded):
        named = [name for name, value in options.items() if unfit_heads(solver_with({name: value}), loaded)]
        named = named or list(options)
    if named:
        raise UsageError(
            f"{', '.join(named)} cannot be other than in training: the head of {loaded.path} was made for it",
            where="--set",
            hint=f"korformer finetune --set {task.name}.{named[0]}=… makes a model that has it.",
        )
    return solver


def _described(task: SupervisedTask[Any], loaded: LoadedModel) -> TaskDescription:
    described = task_of(loaded)
    if described is None or described.name != task.name:
        was = f"for the task {described.name}" if described is not None else "for no task"
        raise ModelDirectoryError(
            f"was fine-tuned {was}, not {task.name}",
            where=str(loaded.path),
            hint=f"korformer finetune -m {loaded.path} --task {task.name} … makes a model that was.",
        )
    return described


def _check_window(max_tokens: int | None, longest: int) -> None:
    if max_tokens is not None and max_tokens > longest:
        raise UsageError(f"{max_tokens} is longer than the model's window; at most {longest}", where="--window")
    if max_tokens is not None and max_tokens < SHORTEST_WINDOW:
        raise UsageError(f"{max_tokens} is too short to read in; at least {SHORTEST_WINDOW}", where="--window")


def unfit_heads(solver: Solver[Any, Any], loaded: LoadedModel) -> list[str]:
    """The heads of a task that the model does not have, or in another shape."""
    heads = loaded.model.heads
    return [name for name, spec in solver.heads.items() if name not in heads or heads[name].spec != spec]
