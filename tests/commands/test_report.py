"""Results on stdout: what people see fits their screen, what programs read is JSON."""

from __future__ import annotations

import json

import pytest

from korformer.commands.report import plot_text, show, table_text
from korformer.evaluation.report import Plot, Report, Table

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
