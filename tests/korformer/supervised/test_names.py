from korformer.supervised.names import id_of, repeated_ids, with_ids
from korformer.supervised.task import Example
from korformer.text.records import Place


def ids(*given: str) -> list[str]:
    return [example.id for example in with_ids([Example(place=Place(file="f"), given_id=name) for name in given])]


def test_every_example_has_an_id_of_its_own() -> None:
    assert ids("a", "", "c", "") == ["a", "2", "c", "4"]
    assert ids("x", "x", "x#2", "x", "") == ["x", "x#2", "x#2#2", "x#3", "5"]
    assert ids("2", "", "2") == ["2", "2#2", "2#3"]
    assert len(set(ids(*["x"] * 20_000))) == 20_000


def test_ids_that_come_again_are_told() -> None:
    examples = with_ids([Example(place=Place(file="f"), given_id=name) for name in ("x", "x", "", "y", "x")])
    assert (repeated_ids(examples) or "").startswith("2 examples have the id of another one")
    assert "x#2 for the second x" in (repeated_ids(examples) or "")
    assert repeated_ids(examples[:1]) is None


def test_an_id_is_text_or_a_whole_number() -> None:
    assert id_of({"guid": "g", "id": 7}, "id", "guid") == "7"
    assert id_of({"guid": "g"}, "id", "guid") == "g"
    assert [id_of({"id": value}, "id") for value in (None, [1], True, 1.5)] == [""] * 4
