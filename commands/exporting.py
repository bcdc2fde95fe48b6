"""Curves as files for other programs: PNG and SVG pictures, and TensorBoard's event files."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from korformer.commands.console import printable
from korformer.commands.curves import Axis, lines_of
from korformer.errors import PathError, UsageError
from korformer.storage import open_durable, write_bytes
from korformer.training.runs import Run

KINDS = (".png", ".svg")
_HANGUL_FONTS = (
    "Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "NanumBarunGothic", "Malgun Gothic", "Apple SD Gothic Neo",
    "AppleGothic", "Pretendard", "D2Coding", "UnDotum", "Baekmuk Gulim", "Noto Sans CJK JP",
)  # fmt: skip


def write_picture(path: Path, runs: Sequence[Run], metric: str, by: Axis) -> None:
    """Draw a curve of all runs into a picture.

    Args:
        path: a .png or .svg file, which is replaced.
        runs: whose curves.
        metric: which curve.
        by: the horizontal axis.

    Raises:
        UsageError: another kind of file, or matplotlib is missing. PathError, ResourceError: it cannot be written.
    """
    if path.suffix.lower() not in KINDS:
        raise UsageError("a picture must be a .png or .svg file", where=f"--export {path}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "pictures need matplotlib, which is not installed",
            where="--export",
            hint="Install it with: pip install 'korformer[plot]'",
        ) from error
    lines = lines_of(runs, metric, by)
    svg = path.suffix.lower() == ".svg"
    hangul = _hangul_font()
    fonts = [*([hangul] if hangul else []), "DejaVu Sans", "sans-serif"]
    options: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "korformer", "text.parse_math": False, "font.family": fonts,
    }  # fmt: skip

    def drawable(name: str) -> str:
        """A text in an SVG is drawn by who shows it, with the fonts that are there."""
        return name if svg or hangul else name.encode("ascii", "backslashreplace").decode()

    with mpl.rc_context(options):
        figure = Figure(figsize=(9, 5.5), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            axes.plot(line.x, line.y, label=drawable(line.name), linewidth=1.3)
        low, high = _limits([line.y for line in lines])
        if math.isfinite(low):
            axes.set_ylim(low, high)
        axes.set_xlabel(by)
        axes.set_ylabel("loss, nats a token (smoothed)" if metric == "loss" else metric)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
        else:
            axes.set_title(drawable(lines[0].name))
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix.lower()[1:], metadata={"Date": None} if svg else None)
    write_bytes(path, drawn.getvalue())


def _limits(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Lowest value, and highest after the first twentieth of each curve."""
    values = [value for curve in curves for value in curve[len(curve) // 20 :]]
    low, high = min(values, default=math.nan), max(values, default=math.nan)
    room = (high - low) * 0.05 or 0.1
    return low - room, high + room


def _hangul_font() -> str | None:
    """A font of this machine that has Hangul."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return next((name for name in _HANGUL_FONTS if name in known), None)


def write_events(directory: Path, run: Run) -> Path:
    """Write all curves of a run as TensorBoard reads them, in place of what an earlier call wrote.

    Args:
        directory: TensorBoard's log folder; the run gets a folder of its name there.
        run: whose curves.

    Returns:
        The run's folder.

    Raises:
        UsageError: TensorBoard is missing. PathError, ResourceError: it cannot be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise UsageError(
            "TensorBoard is not installed",
            where="--tensorboard",
            hint="Install it with: pip install 'korformer[tensorboard]'",
        ) from error
    folder = directory.joinpath(*(part for part in Path(run.name).parts if part not in {"..", os.sep}))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PathError(f"cannot be made ({error.strerror})", where=str(folder)) from error
    curves = {"training/loss": run.history.loss, "training/average_loss": run.history.average_loss}
    curves |= {f"validation/{name}": figure.curve for name, figure in run.history.figures.items()}
    # The name is the same each time, so that a later export takes the place of an earlier one.
    with open_durable(folder / "events.out.tfevents.0.korformer") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
        for name, curve in curves.items():
            for point in curve.points():
                summary = Summary(value=[Summary.Value(tag=printable(name), simple_value=point.value)])
                event = Event(wall_time=point.time, step=point.step, summary=summary)
                records.write(event.SerializeToString())
    return folder
