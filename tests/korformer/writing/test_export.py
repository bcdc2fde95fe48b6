from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.errors import PathError
from korformer.generation.settings import SamplingSettings
from korformer.writing.export import export_json, export_text
from korformer.writing.records import TokenRecord
from korformer.writing.session import Session
from korformer.writing.store import open_text_file


def test_plain_text(tmp_path: Path) -> None:
    session = Session()
    session.insert(0, "첫 줄\n\n둘째 줄")
    export_text(session, tmp_path / "글.txt")
    assert (tmp_path / "글.txt").read_bytes() == "첫 줄\n\n둘째 줄".encode()
    with pytest.raises(PathError):
        export_text(session, tmp_path / "nowhere" / "글.txt")


def test_what_goes_back_to_its_own_file_is_no_change_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "글.txt"
    path.write_text("하나", encoding="utf-8")
    file = open_text_file(path)
    file.session.insert(2, " 둘")
    export_text(file.session, path)
    file.session.insert(4, " 셋")
    file.close()
    again = open_text_file(path)
    assert not again.changed_outside
    assert again.session.text == "하나 둘 셋"
    again.close()


def test_the_whole_tree_as_json(tmp_path: Path, tokens: Callable[..., tuple[TokenRecord, ...]]) -> None:
    session = Session()
    session.insert(0, "봄이 ")
    settings = SamplingSettings(temperature=0.4)
    for text in ("온다", "간다"):
        session.retry()
        number = session.begin_generation(3, settings, model="작은 모델")
        session.extend_generation(number, tokens(text, "."))
        session.end_generation(number, "end", seed=8)
    session.replace(0, 1, "겨울")
    export_json(session, tmp_path / "글.json")
    value = json.loads((tmp_path / "글.json").read_text(encoding="utf-8"))
    assert (value["format"], value["text"]) == ("korformer-session-export", "겨울이 간다.")
    assert [span["origin"] for span in value["spans"]] == ["written", "generated"]
    # Every version can be made from the nodes alone.
    texts = {0: ""}
    for node in value["nodes"]:
        before, end = texts[node["parent"]], node["start"] + node["removed"]
        texts[node["id"]] = before[: node["start"]] + node["inserted"] + before[end:]
    assert set(texts.values()) == {"", "봄이 ", "봄이 온다.", "봄이 간다.", "겨울이 간다."}
    assert texts[value["node"]] == value["text"]
    made = next(node["generation"] for node in value["nodes"] if "generation" in node)
    assert (made["seed"], made["reason"], made["model"], made["settings"]) == (
        8,
        "end",
        "작은 모델",
        {"temperature": 0.4},
    )
    assert made["tokens"][0]["text"] == "온다"
    assert made["tokens"][0]["candidates"][1] == {
        "token_id": 99, "text": "##<0xEA>", "probability": 0.01, "filtered_probability": 0.0, "kept": False,
    }  # fmt: skip
