"""`korformer doctor`: what a bug report needs, and what is wrong here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from korformer.commands.console import format_bytes, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from korformer.commands.machine import Finding


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show what a bug report needs, and what is wrong here.

    Versions, processor, memory, GPU, terminal, folders and the weights that ship; then each thing that is wrong, with
    its remedy. Leaves with 1 when something is broken. Nothing is sent anywhere.
    """
    from korformer import __version__
    from korformer.commands.machine import PROBES

    findings: list[Finding] = []
    report: dict[str, Any] = {"korformer": __version__}
    report |= {name: _answer(name, findings) for name in PROBES}
    broken = [finding for finding in findings if finding.level == "broken"]
    if as_json:
        told = [{"level": each.level, "what": each.what, "remedy": each.remedy} for each in findings]
        typer.echo(json.dumps({**report, "findings": told, "ok": not broken}, ensure_ascii=False, indent=2))
    else:
        for line in (*_lines(report), "", *_verdict(findings)):
            typer.echo(line)
    if broken:
        raise typer.Exit(1)


def _answer(name: str, findings: list[Finding]) -> Any:
    """One probe's part of the report; a probe that fails is a finding, not the end of the report."""
    from korformer.commands.machine import PROBES, Finding

    try:
        return PROBES[name](findings)
    except Exception as error:
        what = f"{name} could not be examined: {type(error).__name__}: {error}"
        findings.append(Finding(what=what, remedy="Install korformer again; if that does not help, report it."))
        return {"error": str(error)}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as text that fits a terminal: `name: value`, parts indented under their name."""
    for name, value in report.items():
        if isinstance(value, dict):
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, each in enumerate(value):
                yield f"{name} {index}:"
                yield from (f"  {line}" for line in _lines(each))
        elif name.endswith("_bytes"):
            yield f"{name.removesuffix('_bytes')}: {format_bytes(value)}"
        else:
            yield f"{name}: {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == []:
        return "none"
    return printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _verdict(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        yield "Nothing is wrong."
    for finding in sorted(findings, key=lambda finding: finding.level == "advice"):
        yield f"{'BROKEN' if finding.level == 'broken' else 'advice'}: {printable(finding.what)}"
        yield f"  {printable(finding.remedy)}"
