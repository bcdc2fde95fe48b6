import inspect
import re
from pathlib import Path

import library
import pytest
from reformer_pytorch import ReformerLM
from reformer_pytorch.reformer_pytorch import Reformer
from test_exchange import EXPRESSIBLE, INEXPRESSIBLE

from korformer.config import build
from korformer.errors import UsageError
from korformer.model.config import ModelConfig
from korformer.model.options import REFUSED_OPTIONS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "options.md").read_text(encoding="utf-8")
ROWS = [tuple(cell.strip(" `") for cell in row.split("|")[1:5]) for row in DOCUMENT.splitlines() if row[:3] == "| `"]
TABLE = {row[0]: row for row in ROWS if len(row) == 4 and row[2] in {"supported", "otherwise", "refused"}}


def arguments(kind: type) -> dict[str, inspect.Parameter]:
    return {name: value for name, value in inspect.signature(kind.__init__).parameters.items() if name != "self"}


def test_the_table_has_the_signature_of_reformer_lm() -> None:
    signature = {
        name: "required" if parameter.default is inspect.Parameter.empty else repr(parameter.default)
        for name, parameter in arguments(ReformerLM).items()
    }
    assert {name: row[1] for name, row in TABLE.items()} == signature
    assert list(TABLE) == list(signature)


def test_what_is_supported_is_a_setting_and_is_compared_with_the_library() -> None:
    compared = {key for options in EXPRESSIBLE.values() for key in options} | set(library.SHAPE)
    apart = {"ff_dropout", "post_attn_dropout", "layer_dropout"}  # random: test_stack.py, test_hazards.py
    supported = {name for name, row in TABLE.items() if row[2] == "supported"}
    assert supported == set(arguments(ReformerLM)) & set(ModelConfig.model_fields)
    assert supported - apart <= compared


def test_everything_else_has_a_reason() -> None:
    others = {name for name, row in TABLE.items() if row[2] != "supported"}
    assert others <= set(REFUSED_OPTIONS)
    assert not set(REFUSED_OPTIONS) & set(ModelConfig.model_fields)
    known = {**arguments(ReformerLM), **arguments(Reformer), "twin_attention": None}
    assert set(REFUSED_OPTIONS) <= set(known)


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_a_refused_option_says_why(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}:? {re.escape(REFUSED_OPTIONS[name])}"):
        build(ModelConfig, {name: 1})


def test_settings_of_our_own_are_listed() -> None:
    own = {name for row in re.findall(r"^\| (`.*?`) \|", DOCUMENT.split("## Settings")[1], re.M)
           for name in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert own == set(ModelConfig.model_fields) - set(arguments(ReformerLM))
    assert set(INEXPRESSIBLE) - {"post_attn_dropout"} <= own
