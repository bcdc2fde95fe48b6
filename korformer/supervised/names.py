"""Ids of examples: those that the data gives, and for the others their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from korformer.supervised.task import Example

ExampleT = TypeVar("ExampleT", bound="Example")


def with_ids(examples: Sequence[ExampleT]) -> list[ExampleT]:
    """The same examples, each with an id of its own over all files, so that predictions can be told apart.

    It is `given_id` where the data gives one, else the example's number among all, from 1. Where that is taken, `#2`,
    `#3` and so on stand behind it: the same data always has the same ids.
    """
    taken: set[str] = set()
    times: dict[str, int] = {}
    named = []
    for number, example in enumerate(examples, 1):
        wanted = example.given_id or str(number)
        name, time = wanted, times.get(wanted, 1)
        while name in taken:
            time += 1
            name = f"{wanted}#{time}"
        times[wanted] = time
        taken.add(name)
        named.append(replace(example, id=name))
    return named


def id_of(record: Mapping[str, Any], *names: str) -> str:
    """The id in the first of these fields that there is; empty where there is none, or it is no text or number."""
    value = next((record[name] for name in names if name in record), None)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def repeated_ids(examples: Sequence[Example]) -> str | None:
    """A sentence without its full stop on ids that several examples have; None where there are none."""
    renamed = [example for example in examples if example.given_id and example.given_id != example.id]
    if not renamed:
        return None
    first = renamed[0]
    return (
        f"{len(renamed):,} examples have the id of another one; predictions call them otherwise, such as {first.id} "
        f"for the second {first.given_id}"
    )
