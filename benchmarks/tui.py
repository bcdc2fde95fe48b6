"""Does the writing screen keep up with the person and with the model?

    python benchmarks/tui.py [--rounds 5] [--set dim=512]... [--output RESULT.json]

Starts `korformer tui` as a person does, in a pseudo terminal of 120 x 40 cells, and looks at what it writes there:

    first paint     from the start of the program to the keys on the bottom line, before torch is imported
    key to screen   from a press of an arrow to the new value of the control that it steps, while the model writes,
                    with 5,120 tokens of text on the page; and from a typed syllable to its appearance
    token rate      from the first token to the last, beside `korformer generate` with the same model and text

The model has drawn weights: how fast it is depends on its shape alone. Programs take turns; medians are printed.
"""

from __future__ import annotations

import argparse
import codecs
import fcntl
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark, settings_from

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.text.special import SEP_ID
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SAMPLE = Path(__file__).parents[1] / "docs" / "sample"
SHAPE = {"dim": 256, "depth": 6, "heads": 4, "max_seq_len": 8192, "bucket_size": 64, "n_hashes": 2}
VOCABULARY_SIZE = 8000
TEXT_TOKENS = 5120
NEW_TOKENS = 512
KEYS = 100
"""Presses of each kind in one run."""

PATIENCE_SECONDS = 120.0
READY, WROTE = " ready ", f"Stopped after {NEW_TOKENS} tokens"


class Screen:
    """A program in a pseudo terminal, and what it has written there since it was asked something."""

    def __init__(self, command: list[str], home: Path) -> None:
        self.began = time.perf_counter()
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLORTERM": "truecolor"})
            os.environ.update({f"XDG_{name}_HOME": str(home / name) for name in ("STATE", "CONFIG", "DATA", "CACHE")})
            os.environ.pop("NO_COLOR", None)
            os.execvp(command[0], command)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._seen = ""

    def press(self, keys: str) -> None:
        """Send keys; what was written before counts no more."""
        self._read(0.0)
        self._seen = ""
        os.write(self._terminal, keys.encode())

    def wait(self, text: str) -> float:
        """When the text was written, as `time.perf_counter` tells it."""
        until = time.perf_counter() + PATIENCE_SECONDS
        while text not in self._seen:
            if time.perf_counter() > until:
                raise RuntimeError(f"the screen never showed {text!r}")
            self._read(0.5)
        return time.perf_counter()

    def _read(self, seconds: float) -> None:
        while select.select([self._terminal], [], [], seconds)[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # the program has ended
                return
            self._seen += self._decoder.decode(data)
            seconds = 0.0

    def close(self) -> None:
        """Leave the program."""
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


def make_model(directory: Path, shape: Facts) -> tuple[Path, str]:
    """A model with drawn weights, and a text of `TEXT_TOKENS` of its tokens."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.glob("*.txt"))]
    vocabulary = train_vocabulary(texts, VocabularySettings(size=VOCABULARY_SIZE))
    model = ReformerModel(ModelConfig(**shape, weight_tie_embedding=False), vocabulary.size)
    model.initialise(1)
    assert model.head_bias is not None
    model.head_bias.data[SEP_ID] = -1e4  # drawn weights would end a document now and then
    directory.mkdir()
    write_description(directory, model, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(model), "# drawn weights, for measuring\n")
    ids = vocabulary.encode("\n\n".join(texts), add_special_tokens=False)
    while len(ids) < TEXT_TOKENS:
        ids += ids
    return directory, vocabulary.decode(ids[:TEXT_TOKENS], skip_special_tokens=False)


def korformer(*arguments: str | Path) -> list[str]:
    """The command line of the program."""
    return [sys.executable, "-m", "korformer", *map(str, arguments)]


def measure_paint(model: Path, home: Path, _: Path) -> Facts:
    """Seconds until the page can be typed on."""
    screen = Screen(korformer("tui", "-m", model), home)
    try:
        return {"seconds": screen.wait("help") - screen.began}
    finally:
        screen.close()


def begin_writing(screen: Screen, tokens: int) -> None:
    """Set the number of tokens to write and temperature 0.9, at the end of the text."""
    screen.wait(READY)
    screen.press("\x1bOS\x1b[F\x1b[A\x1b[A")  # F4, End, Up, Up: the number of tokens
    screen.press(f"{tokens}\r")
    screen.wait(str(tokens))
    screen.press("\x1b[H\x1bOS\x1b[1;5F")  # Home: the temperature; F4: back to the page; Ctrl+End
    time.sleep(1.0)


def measure_keys(model: Path, home: Path, text: Path) -> Facts:
    """Milliseconds from a key to the screen, while the model writes and while it does not."""
    screen = Screen(korformer("tui", text, "-m", model), home)
    try:
        begin_writing(screen, 9999)
        screen.press("\x1b[15~")
        screen.wait("writing")
        screen.press("\x1bOS")
        time.sleep(1.0)
        streaming = []
        for press in range(KEYS):
            value = f"{0.9 + 0.05 * (press + 1):.4g}"
            screen.press("\x1b[C")
            pressed = time.perf_counter()
            if "." in value:  # a whole number may stand in what else is drawn
                streaming.append(1000 * (screen.wait(value) - pressed))
            time.sleep(0.023 + 0.0017 * (press % 17))  # not in step with what the model writes
        screen.press("\x1bOS\x1b")
        screen.wait(READY)
        typing = []
        for press in range(KEYS):
            syllable = chr(0xC300 + 7 * press)
            screen.press(syllable)
            pressed = time.perf_counter()
            typing.append(1000 * (screen.wait(syllable) - pressed))
            time.sleep(0.02)
    finally:
        screen.close()
    return {
        "streaming_p50_ms": statistics.median(streaming),
        "streaming_p95_ms": statistics.quantiles(streaming, n=20)[-1],
        "typing_p50_ms": statistics.median(typing),
        "typing_p95_ms": statistics.quantiles(typing, n=20)[-1],
    }


def measure_tui_rate(model: Path, home: Path, text: Path) -> Facts:
    """Tokens a second, as they are seen."""
    screen = Screen(korformer("tui", text, "-m", model), home)
    try:
        begin_writing(screen, NEW_TOKENS)
        screen.press("\x1b[15~")
        screen.wait("tok/s")
        first = time.perf_counter()
        seconds = screen.wait(WROTE) - first
    finally:
        screen.close()
    return {"tokens_per_second": (NEW_TOKENS - 1) / seconds}


def measure_generate_rate(model: Path, home: Path, text: Path) -> Facts:
    """Tokens a second, as `korformer generate` writes them."""
    command = korformer("generate", "-", "-m", model, "--json", "--quiet", "--max-new-tokens", str(NEW_TOKENS))
    with (
        text.open("rb") as prompt,
        subprocess.Popen(
            command, stdin=prompt, stdout=subprocess.PIPE, env={**os.environ, "HOME": str(home)}
        ) as program,
    ):
        assert program.stdout is not None
        times = [time.perf_counter() for _ in program.stdout]
    if len(times) != NEW_TOKENS + 1:
        raise RuntimeError(f"{len(times) - 1} tokens came, not {NEW_TOKENS}")
    return {"tokens_per_second": (NEW_TOKENS - 1) / (times[NEW_TOKENS - 1] - times[0])}


MEASUREMENTS = {
    "first paint": measure_paint,
    "key to screen": measure_keys,
    "korformer tui": measure_tui_rate,
    "korformer generate": measure_generate_rate,
}


def measurement(specification: Facts) -> Facts:
    """One run of one program."""
    with tempfile.TemporaryDirectory() as home:
        text = Path(home) / "text.txt"
        text.write_text(specification["text"], encoding="utf-8")
        return MEASUREMENTS[specification["what"]](Path(specification["model"]), Path(home), text)


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Everything."""
    shape = {**SHAPE, **settings_from(options.set)}
    with tempfile.TemporaryDirectory() as folder:
        model, text = make_model(Path(folder) / "model", shape)
        specifications = {what: {"what": what, "model": str(model), "text": text} for what in MEASUREMENTS}
        found = interleave(__file__, specifications, options.rounds)
    if found.failures:
        return {}, "", list(found.failures)
    keys = {name: found.median("key to screen", name) for name in found.runs["key to screen"][0]}
    rates = {name: found.median(name, "tokens_per_second") for name in ("korformer tui", "korformer generate")}
    share = rates["korformer tui"] / rates["korformer generate"]
    paint = found.median("first paint", "seconds")
    lines = [
        f"{'first paint':<34} {paint:>8.2f} s",
        f"{'key to screen while it writes':<34} {keys['streaming_p50_ms']:>8.1f} ms, 95th percentile "
        f"{keys['streaming_p95_ms']:.1f} ms",
        f"{'syllable to screen':<34} {keys['typing_p50_ms']:>8.1f} ms, 95th percentile {keys['typing_p95_ms']:.1f} ms",
        f"{'korformer tui':<34} {rates['korformer tui']:>8.1f} tokens/s",
        f"{'korformer generate':<34} {rates['korformer generate']:>8.1f} tokens/s",
        f"{'share of the rate':<34} {share:>8.1%}",
    ]
    figures = {
        "shape": shape,
        "text_tokens": TEXT_TOKENS,
        "new_tokens": NEW_TOKENS,
        "rounds": options.rounds,
        "first_paint_seconds": paint,
        "key_to_screen": keys,
        "tokens_per_second": rates,
        "share_of_the_rate": share,
    }
    return json.loads(json.dumps(figures)), "\n".join(lines), []


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program (default 5)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another shape of the model")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
