from pathlib import Path
from typing import Annotated, Any, Self

import pytest
from pydantic import Field, model_validator

from korformer.config import Settings, build, merge, nearest, parse_assignments, read_toml, to_toml
from korformer.errors import PathError, UsageError


class Inner(Settings):
    depth: int = Field(default=2, ge=1)
    """How deep."""
    names: tuple[str, ...] = ("하나",)
    """What they are called."""
    maybe: int | None = None
    """Left out where it is None."""


class Outer(Settings):
    inner: Inner = Inner()
    """The inside."""
    rate: float = 0.5
    """How fast."""


def test_all_problems_in_one_message_with_the_nearest_key() -> None:
    with pytest.raises(UsageError) as caught:
        build(Outer, {"inner": {"dpeth": 3, "depth": 0}, "rate": "schnell", "iner": {}})
    message = str(caught.value)
    assert "unknown key inner.dpeth (did you mean inner.depth?)" in message
    assert "inner.depth: input should be greater than or equal to 1 (given: 0)" in message
    assert "rate: input should be a valid number" in message
    assert "unknown key iner (did you mean inner?)" in message
    assert caught.value.exit_code == 2


def test_a_key_that_is_like_none_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown key inner\.zzz \(known: depth, names, maybe\)"):
        build(Outer, {"inner": {"zzz": 3}})


def test_assignments_are_toml_where_they_can_be() -> None:
    values = parse_assignments(["inner.depth=4", "inner.names=['가', '나']", "rate=1e-3", "name=고양이"])
    assert values == {"inner": {"depth": 4, "names": ["가", "나"]}, "rate": 1e-3, "name": "고양이"}


def test_a_later_assignment_wins() -> None:
    assert parse_assignments(["inner.depth=4", "inner.depth=5"]) == {"inner": {"depth": 5}}


@pytest.mark.parametrize("text", ["depth", "=4", "inner.=4", ".depth=4"])
def test_what_is_no_assignment_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="not an assignment"):
        parse_assignments(["rate=1", text])


def test_merge_goes_section_by_section_and_changes_nothing() -> None:
    base = {"inner": {"depth": 1, "names": ["a"]}, "rate": 1}
    assert merge(base, {"inner": {"depth": 2}}) == {"inner": {"depth": 2, "names": ["a"]}, "rate": 1}
    assert base["inner"] == {"depth": 1, "names": ["a"]}


def test_toml_round_trip_with_documentation(tmp_path: Path) -> None:
    settings = build(Outer, {"inner": {"depth": 7, "names": ["둘", "셋"]}})
    text = to_toml(settings)
    assert "# How deep." in text
    assert "# maybe =" in text
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    assert build(Outer, read_toml(path)) == settings


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="none.toml"):
        read_toml(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = \n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1"):
        read_toml(broken)
    cp949 = tmp_path / "cp949.toml"
    cp949.write_bytes("이름 = '가'".encode("cp949"))
    with pytest.raises(UsageError, match="not UTF-8 at byte 0"):
        read_toml(cp949)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().rate = 1.0  # type: ignore[misc]


def test_nearest() -> None:
    assert nearest("gpt3-smal", ["gpt3-small", "tiny"]) == "gpt3-small"
    assert nearest("zebra", ["gpt3-small", "tiny"]) is None


class _Part(Settings):
    width: Annotated[int, Field(ge=1)] = 8
    heads: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} is not a multiple of heads = {self.heads}")
        return self


class _Whole(Settings):
    part: _Part = _Part()
    first: Annotated[int, Field(ge=0)] = 1
    last: Annotated[int, Field(ge=0)] = 5
    other: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"first = {self.first} is behind last = {self.last}")
        return self


@pytest.mark.parametrize(
    ("values", "told", "not_told"),
    [
        ({"first": 9, "other": -1}, ["other:", "first = 9 is behind last = 5"], []),
        ({"first": 9, "last": -1}, ["last:"], ["behind"]),
        ({"first": 9, "part": {"heads": 3}}, ["width = 8 is not a multiple of heads = 3", "first = 9"], []),
        ({"part": {"heads": 3}, "other": -1, "new": 1}, ["unknown key new", "other:", "heads = 3"], []),
        ({"part": {"heads": 0, "width": 9}}, ["part.heads:"], ["multiple"]),
        ({"part": 3, "first": 9}, ["part:", "first = 9"], []),
    ],
)
def test_what_does_not_go_together_is_told_beside_what_is_wrong_alone(
    values: dict[str, Any], told: list[str], not_told: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        build(_Whole, values)
    for text in told:
        assert str(caught.value).count(text) == 1
    assert not any(text in str(caught.value) for text in not_told)
