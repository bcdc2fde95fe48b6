import pytest

from korformer.supervised.columns import columns_of
from korformer.text.records import Place, Problems

NAMES = {"text": ("document", "text"), "label": ("label",), "id": ("id",)}
PLACE = Place(file="a.tsv", line=2)


def test_a_header_names_the_columns_in_any_order() -> None:
    columns = columns_of("ID\tlabel\tdocument", NAMES, ("text", "label"))
    assert columns.is_header
    problems = Problems()
    columns.require(PLACE, problems)
    assert columns.cells(PLACE, "7\t1\t좋다", problems) == {"text": "좋다", "label": "1", "id": "7"}
    assert not problems


def test_without_a_header_the_order_counts() -> None:
    columns = columns_of("좋다\t1", NAMES, ("text", "label"))
    assert not columns.is_header
    assert columns.cells(PLACE, "좋다\t1", Problems()) == {"text": "좋다", "label": "1"}


@pytest.mark.parametrize("row", ["좋다", "좋다\t1\t2", ""])
def test_a_row_of_another_number_of_columns_is_noted(row: str) -> None:
    problems = Problems()
    assert columns_of("좋다\t1", NAMES, ("text", "label")).cells(PLACE, row, problems) is None
    assert problems.found == [(PLACE, f"{len(row.split(chr(9)))} columns instead of 2")]


def test_a_header_that_lacks_a_column_is_noted() -> None:
    columns = columns_of("id\tdocument\tclass", NAMES, ("text", "label"))
    problems = Problems()
    columns.require(PLACE, problems)
    assert "names no column label" in problems.found[0][1]
    assert columns.cells(PLACE, "7\t좋다\t1", problems) is None
