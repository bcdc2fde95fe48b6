"""`korformer runs`, as a person or a script calls it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from korformer.commands.app import main
from korformer.storage import lock_directory

Run = Callable[..., tuple[int, str, str]]


def write_run(path: Path, *, steps: int = 100, done: int | None = None, low: float = 3.0, start: float = 1.7e9) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.joinpath("run.toml").write_text(f'objective = "ar"\n[training]\nsteps = {steps}\n', encoding="utf-8")
    records: list[dict[str, object]] = [{"event": "start", "step": 0, "time": start}]
    for step in range(1, (steps if done is None else done) + 1):
        loss = low + 6 * math.exp(-step / 20)
        records.append({
            "event": "step", "step": step, "steps": steps, "loss": loss, "average_loss": loss, "tokens": 100 * step,
            "tokens_per_second": 1234.5, "time": start + step,
        })  # fmt: skip
        if step % 25 == 0:
            records.append({"event": "validation", "step": step, "bits_per_character": loss / 2, "perplexity": 9.0})
    path.joinpath("metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["runs", *arguments])
        written = capfd.readouterr()
        return int(left.value.code or 0), written.out, written.err

    return call


def test_no_runs_is_no_fault(run: Run) -> None:
    assert run() == (0, "", "no runs in checkpoints; `korformer pretrain` makes one\n")
    Path("checkpoints/vocabulary").mkdir(parents=True)
    code, out, err = run("checkpoints")
    assert (code, out) == (0, "")
    assert "no runs in checkpoints" in err


def test_a_list_fits_the_terminal(run: Run) -> None:
    write_run(Path("checkpoints/first"))
    write_run(Path("checkpoints/아주-긴-이름을-가진-실험-아주-긴-이름을-가진-실험"), done=30, start=1.8e9)
    code, out, err = run()
    assert (code, err) == (0, "")
    head, one, two = out.splitlines()
    assert head.split() == ["name", "learns", "size", "step", "loss", "best", "tok/s", "state", "seen"]
    assert one.split()[:7] == ["A", "first", "ar", "-", "100", "3.040", "1.52"]
    assert "30/100" in two
    assert "stopped" in two
    from rich.cells import cell_len

    assert max(map(cell_len, out.splitlines())) <= 80


def test_json_is_a_line_for_each_run(run: Run) -> None:
    write_run(Path("checkpoints/a"))
    write_run(Path("checkpoints/b"), done=0)
    told = {facts["name"]: facts for facts in map(json.loads, run("--json")[1].splitlines())}
    assert told["a"]["best"] == pytest.approx(1.5, abs=0.05)
    assert told["a"]["best_step"] == 100
    assert (told["b"]["state"], told["b"]["loss"]) == ("new", None)
    with_curve = json.loads(run("a", "--json", "--plot", "--metric", "bits_per_character")[1])
    assert with_curve["curve"]["step"] == [25, 50, 75, 100]


def test_curves_together_by_letters_where_there_is_no_terminal(run: Run) -> None:
    write_run(Path("checkpoints/a"))
    write_run(Path("checkpoints/나"), low=4.0, start=1.8e9)
    code, out, _ = run("a", "나", "--plot")
    assert code == 0
    assert "loss, nats a token" in out
    picture = out.split("(smoothed)")[1]
    assert picture.count("A") > 20
    assert picture.count("B") > 20
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["A", "a"], ["B", "나"]]
    out = run("a", "--plot", "--metric", "perplexity", "--over", "tokens")[1]
    assert "tokens" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none"], 1, "none: no such run"),
        (["firsd"], 1, "Did you mean first?"),
        (["first", "--plot", "--metric", "perplexiti"], 2, "There are: loss, bits_per_character, perplexity"),
        (["first", "--export", "a.gif"], 2, "must be a .png or .svg"),
        (["first", "--export", "none/a.svg"], 1, "none/a.svg"),
        (["first", "--over", "time"], 2, "--over"),
    ],
)
def test_bad_input_is_one_message_and_its_exit_code(run: Run, arguments: list[str], code: int, message: str) -> None:
    write_run(Path("checkpoints/first"))
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_pictures(run: Run) -> None:
    write_run(Path("checkpoints/a"))
    write_run(Path("checkpoints/나"), low=4.0)
    assert run("--export", "curves.svg") == (0, "curves.svg\n", "")
    drawing = Path("curves.svg").read_bytes()
    texts = {"".join(element.itertext()).strip() for element in ElementTree.fromstring(drawing).iter()}
    assert {"a", "나", "step"} <= texts
    run("--export", "curves.svg")
    assert Path("curves.svg").read_bytes() == drawing
    assert run("나", "--export", "one.png", "--metric", "perplexity")[0] == 0
    assert Path("one.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_reads_what_is_written_for_it(run: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_run(Path("checkpoints/sweep/a"))
    code, out, _ = run("--tensorboard", "logs")
    assert (code, out) == (0, "logs/sweep/a\n")
    run("--tensorboard", "logs")
    assert len(list(Path("logs/sweep/a").iterdir())) == 1
    events = EventAccumulator("logs/sweep/a")
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "training/loss", "training/average_loss", "validation/bits_per_character", "validation/perplexity",
    }  # fmt: skip
    losses = events.Scalars("training/loss")
    assert [scalar.step for scalar in losses] == list(range(1, 101))
    assert losses[-1].value == pytest.approx(3.04, abs=0.01)
    assert losses[0].wall_time == 1.7e9 + 1


def test_runs_of_one_name_go_into_folders_of_their_own(run: Run, tmp_path: Path) -> None:
    places = [tmp_path / sweep / "seed-0" for sweep in ("first", "second")]
    for place in places:
        write_run(place)
    code, out, _ = run(*map(str, places), "--tensorboard", "logs")
    assert code == 0
    assert sorted(out.splitlines()) == sorted(str(Path("logs") / place.relative_to("/")) for place in places)
    assert len(list(Path("logs").rglob("*.korformer"))) == 2


@pytest.mark.parametrize(("package", "option"), [("matplotlib", "--export"), ("tensorboard", "--tensorboard")])
def test_what_is_not_installed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, package: str, option: str) -> None:
    write_run(Path("checkpoints/a"))
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run(option, "out.svg")
    assert (code, out) == (2, "")
    assert "pip install 'korformer[" in err


def test_following_ends_with_the_run(run: Run) -> None:
    path = Path("checkpoints/a")
    write_run(path, done=30)
    began = threading.Event()

    def train() -> None:
        with lock_directory(path):
            began.set()
            time.sleep(1.5)
            write_run(path)

    thread = threading.Thread(target=train)
    thread.start()
    began.wait()
    code, out, _ = run("--follow", "--json")
    thread.join()
    told = [(facts["step"], facts["state"]) for facts in map(json.loads, out.splitlines())]
    assert code == 0
    assert told[0] == (30, "running")
    assert told[-1] == (100, "finished")
    assert run("--follow")[1] == "a: step 100/100, loss 3.040, bits_per_character 1.52, 1234 tokens/s, finished\n"


def test_help_and_lists_wait_for_no_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    code = "import sys; from korformer.commands.runs import command; command(['run']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
