"""Take the pictures of the writing screen that the README shows.

    python benchmarks/screenshots.py -m CHECKPOINT [--output docs/images] [--language ko|en]

Runs the program itself with a real model, lets it write on from the sample text below with a fixed seed, and saves what
is on the screen as SVG. Sessions, presets and keys of the person who runs it are not touched.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SAMPLE = (
    "물마루는 동해 바닷가에 있는 작은 마을이다. 마을 북쪽에는 등대가 있고, 남쪽에는 배를 만드는 조선소가 있다.\n\n"
    "마을의 역사\n"
    "물마루에 사람이 살기 시작한 것은 조선 시대로 알려져 있다. 처음에는 고기를 잡는 집이 몇 채 있었을 뿐이었으나, "
    "1920년대에 부두가 생기면서 "
)
SIZE = (120, 34)
PATIENCE_SECONDS = 300.0


async def take(model: Path, folder: Path) -> list[Path]:
    """Write, look at alternatives and attention, and save each screen."""
    from textual.pilot import Pilot

    from korformer.generation.settings import SamplingSettings
    from korformer.tui.app import WritingApp
    from korformer.writing import store

    file = store.create_session(SAMPLE)
    file.session.settings = SamplingSettings(seed=7, max_new_tokens=120, temperature=0.7, top_p=0.9)
    app = WritingApp(file, model=model)
    screen, saved = app.writing, []

    async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
        for _ in range(int(PATIENCE_SECONDS / 0.1)):
            if true():
                return
            await pilot.pause(0.1)
        raise SystemExit("the model does not answer")

    async def save(pilot: Pilot[None], name: str) -> None:
        screen.foot.show_keys()
        await pilot.pause(0.3)
        path = folder / f"{name}.svg"
        path.write_text(_self_contained(app.export_screenshot(title="korformer tui")), encoding="utf-8")
        saved.append(path)

    def idle() -> bool:
        return screen.desk.info is not None and screen.desk.generation is None and not app.engine.busy

    try:
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, idle)
            await pilot.press("f5")
            await until(pilot, lambda: len(screen.page.text) > len(SAMPLE) + 60 or screen.desk.generation is None)
            await save(pilot, "writing")
            await until(pilot, idle)
            await pilot.press("f3")
            screen.page.move_to(len(SAMPLE) + 12)
            await pilot.press("f10")
            await until(pilot, idle)
            await save(pilot, "alternatives")
            await pilot.press("f3", "f3", "escape", "f6")
            await until(pilot, idle)
            screen.panels.open("history")
            await save(pilot, "history")
            await pilot.press("f12")
            await until(pilot, idle)
            await save(pilot, "attention")
    finally:
        app.close_up()
    return saved


def _self_contained(svg: str) -> str:
    """The picture without fonts from elsewhere; Korean wants a font whose syllables are two cells wide."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: Fira Code[^;]*;", "font-family: D2Coding, 'Noto Sans Mono CJK KR', monospace;", svg)


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="model directory")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder (default docs/images)")
    parser.add_argument("--language", choices=("ko", "en"), default="ko", help="of the screen (default ko)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory() as home:
        for name in ("STATE", "CONFIG", "DATA", "CACHE"):
            os.environ[f"XDG_{name}_HOME"] = home
        from korformer.tui import words

        words.choose_language(options.language)
        for path in asyncio.run(take(options.model.resolve(), options.output)):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
