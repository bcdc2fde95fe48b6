from __future__ import annotations

import pytest

from korformer.writing.pieces import Source
from korformer.writing.tree import Tree


def added(tree: Tree, at: int, removed: int, text: str, number: int) -> None:
    source = Source(number=number, origin="written", text=text)
    tree.add_source(source)
    tree.add("edit", at, removed, source, 0, len(text))


def test_a_change_between_two_nodes_is_one_stretch() -> None:
    tree = Tree()
    added(tree, 0, 0, "하나 둘 셋", 0)
    first = tree.head
    added(tree, 3, 1, "DUL", 1)
    added(tree, 0, 2, "HANA", 2)
    last = tree.head
    tree.go(first)
    added(tree, 6, 0, " 넷", 3)
    other = tree.head
    assert tree.table.text() == "하나 둘 셋 넷"
    for target, text in ((last, "HANA DUL 셋"), (other, "하나 둘 셋 넷"), (tree.root, ""), (last, "HANA DUL 셋")):
        before = tree.table.text()
        change = tree.go(target)
        assert tree.table.text() == text
        assert before[: change.start] + change.inserted + before[change.start + change.removed :] == text


def test_a_node_that_is_split_keeps_what_comes_after_it() -> None:
    tree = Tree()
    added(tree, 0, 0, "ab", 0)
    added(tree, 1, 1, "가나다라", 1)
    node = tree.head
    added(tree, 5, 0, "!", 2)
    first = tree.split(node, 2)
    assert tree.table.text() == "a가나다라!"
    tree.go(first)
    assert tree.table.text() == "a가나"
    added(tree, 3, 0, "X", 3)
    assert [child.text for child in first.children] == ["다라", "X"]
    tree.go(node)
    assert tree.table.text() == "a가나다라"
    assert first.parent is not None
    tree.go(first.parent)
    assert tree.table.text() == "ab"


def test_only_the_newest_text_can_grow() -> None:
    tree = Tree()
    added(tree, 0, 0, "가", 0)
    tree.grow("나")
    assert tree.table.text() == "가나"
    node = tree.head
    added(tree, 2, 0, "다", 1)
    tree.go(node)
    with pytest.raises(ValueError, match="cannot grow"):
        tree.grow("라")
    for offset in (0, 2):
        with pytest.raises(ValueError, match="cannot be split"):
            tree.split(node, offset)
    with pytest.raises(ValueError, match="cannot be split"):
        tree.split(tree.root, 1)


def test_characters_taken_out_side_by_side_are_one_node() -> None:
    tree = Tree()
    added(tree, 0, 0, "가나다라마", 0)
    tree.add("edit", 2, 1)
    tree.widen(1, 1)
    tree.widen(1, 1)
    assert tree.table.text() == "가마"
    node = tree.head
    assert node.parent is not None
    tree.go(node.parent)
    assert tree.table.text() == "가나다라마"
    tree.go(node)
    tree.widen(0, 2)
    assert tree.table.text() == ""
    with pytest.raises(ValueError, match="take out more"):
        tree.widen(5, 0)
    tree.go(node.parent)
    assert tree.table.text() == "가나다라마"
