"""Results on stdout: what people see fits their screen, what programs read is JSON."""

from __future__ import annotations

import json
import math

import pytest
from rich.cells import cell_len

from korformer.commands.report import passage_text, plot_text, predictions_text, show, table_text
from korformer.evaluation.report import Passage, Plot, Predictions, Report, Table

TABLE = Table(title="Figures", columns=("what", "n"), rows=(("short", "1"), ("longer name", "1,234")), note="A note.")
PLOT = Plot(
    title="bits/token",
    labels=tuple(f"{2**power}-{2 ** (power + 1) - 1}" for power in range(4, 16)),
    values=tuple(5.0 - power / 7 for power in range(12)),
)
REPORT = Report(metrics={"bits_per_character": 2.5, "data": ["자료\udcff.txt"]}, tables=(TABLE,), plots=(PLOT,))


def test_columns_are_aligned() -> None:
    assert table_text(TABLE).splitlines() == [
        "Figures",
        "  what             n",
        "  short            1",
        "  longer name  1,234",
        "A note.",
    ]


def test_a_table_without_headings_has_no_heading_line() -> None:
    lines = table_text(Table(title="T", columns=("", ""), rows=(("a", "1"),))).splitlines()
    assert lines == ["T", "  a  1"]


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_a_plot_fits_the_screen_and_is_plain_ascii(columns: int) -> None:
    text = plot_text(PLOT, columns=columns)
    assert text.isascii()
    assert "\x1b" not in text
    assert "*" in text
    assert "bits/token" in text
    assert max(map(len, text.splitlines())) < columns


def test_a_second_plot_knows_nothing_of_the_first() -> None:
    alone = plot_text(PLOT, columns=80)
    plot_text(Plot(title="other", labels=("a", "b"), values=(100.0, 200.0)), columns=80)
    assert plot_text(PLOT, columns=80) == alone


def test_equal_values_can_be_drawn() -> None:
    assert "*" in plot_text(Plot(title="flat", labels=("a", "b"), values=(2.0, 2.0)), columns=80)


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, json_output=True, plot=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == REPORT.metrics
    assert captured.out.isascii()
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def test_the_plot_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, json_output=False, plot=False)
    assert capsys.readouterr().out == table_text(TABLE) + "\n"
    show(REPORT, json_output=False, plot=True)
    assert "*" in capsys.readouterr().out


def test_columns_of_wide_characters_are_aligned_by_cells() -> None:
    table = Table(title="T", columns=("", "기쁨", "n"), rows=(("노여움", "1", "2"), ("a\x1b", "33333", "4")))
    assert table_text(table).splitlines() == ["T", "           기쁨  n", "  노여움      1  2", "  a\\x1b   33333  4"]


@pytest.mark.parametrize("columns", [40, 80])
def test_passages_fit_the_screen_and_come_out_inert(columns: int) -> None:
    passage = Passage(
        title="자료.json, line 3: 0.00", lines=("바람이 분다. " * 30, "가" * 200, "짧다 \x1b[31m[red]빨강\u202e")
    )
    lines = passage_text(passage, columns=columns).splitlines()
    assert max(map(cell_len, lines)) < columns
    assert lines[0] == "  자료.json, line 3: 0.00"
    assert lines[-1] == "    짧다 \\x1b[31m[red]빨강\\u202e"
    assert "".join(line.strip() for line in lines).replace(" ", "").count("바람이분다.") == 30
    assert sum(line.count("가") for line in lines) == 200


def test_worst_examples_stand_below_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(metrics={}, tables=(TABLE,), passages=(Passage(title="one", lines=("text",)),))
    show(report, json_output=False, plot=False)
    assert capsys.readouterr().out == table_text(TABLE) + "\n\nThe worst examples\n\n  one\n    text\n"


def test_predictions_are_one_value_or_a_line_each() -> None:
    one = predictions_text(Predictions(layout="json", value={"q1": "반달섬", "q2": ""}))
    assert json.loads(one) == {"q1": "반달섬", "q2": ""}
    assert "반달섬" in one
    lines = predictions_text(Predictions(layout="jsonl", value=[{"id": "1"}, {"id": "2"}]))
    assert [json.loads(line) for line in lines.splitlines()] == [{"id": "1"}, {"id": "2"}]


def test_a_figure_that_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    show(Report(metrics={"pearson": math.nan, "by": [{"x": math.inf}]}), json_output=True, plot=False)
    assert json.loads(capsys.readouterr().out) == {"pearson": None, "by": [{"x": None}]}
