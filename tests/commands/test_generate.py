"""`korformer generate`, as a person or a program calls it, on a small model with drawn weights."""

from __future__ import annotations

import inspect
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.commands import generate as module
from korformer.commands.app import main
from korformer.commands.page import JsonLines, PlainPage, Relay
from korformer.events import Event, Notice, Progress
from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import GeneratedToken, Summary, prompt_ids
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

DOCUMENTS = [
    "빵집 주인은 새벽 네 시에 일어난다.\n반죽이 부푸는 동안 그는 라디오를 켠다.",
    "강가의 학교\n아이들은 물수제비를 뜨고, 선생님은 돌의 이름을 가르쳤다. " + "물은 천천히 흘렀다. " * 20,
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    vocabulary = train_vocabulary(DOCUMENTS * 3, VocabularySettings(size=600))
    config = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8, n_hashes=2)
    reformer = ReformerModel(config, vocabulary.size)
    reformer.initialise(1)
    write_description(directory, reformer, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(reformer), "# a model for tests\n")
    return directory


class Piped(io.TextIOWrapper):
    """A stdin that holds bytes and is no terminal."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


@pytest.fixture
def run(model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `korformer generate` with the model: exit code, stdout, stderr."""

    def call(*arguments: object, stdin: bytes = b"", with_model: bool = True) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", Piped(stdin))
        with pytest.raises(SystemExit) as left:
            main(["generate", *(["-m", str(model)] if with_model else []), *map(str, arguments)])
        written = capfd.readouterr()
        assert "Traceback" not in written.err
        return int(left.value.code or 0), written.out, written.err

    return call


def lines(run: Run, *arguments: object, **given: Any) -> list[dict[str, Any]]:
    code, out, _ = run("--json", *arguments, **given)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_the_continuation_goes_to_stdout_and_the_rest_to_stderr(run: Run) -> None:
    code, out, err = run("강가의", "--max-new-tokens", 12, "--seed", 5)
    assert code == 0
    assert out.endswith("\n")
    assert not out.startswith("강가의")
    assert err.count("\n") == 1
    assert err.startswith("12 tokens, ")
    assert err.endswith("tokens/s, --max-new-tokens reached, seed 5\n")
    assert run("강가의", "--max-new-tokens", 12, "--seed", 5, "--quiet")[1:] == (out, "")


def test_json_is_one_object_a_token_and_a_last_one(run: Run, model: Path) -> None:
    *tokens, last = lines(run, "강가의", "--max-new-tokens", 20, "--seed", 5)
    assert all(set(token) == {"token_id", "text", "logprob"} for token in tokens)
    assert set(last) == {"text", "seed", "tokens", "tokens_per_second", "stop_reason"}
    assert last["text"] == "".join(token["text"] for token in tokens)
    assert (last["tokens"], last["seed"], last["stop_reason"]) == (len(tokens), 5, "length")
    assert last["tokens_per_second"] > 0
    assert run("강가의", "--max-new-tokens", 20, "--seed", 5)[1] == last["text"] + "\n"
    # The log-probabilities are those of one forward pass over the whole text.
    loaded = load_model(model)
    ids = [token["token_id"] for token in tokens]
    text = prompt_ids(loaded.vocabulary, "강가의") + ids
    with torch.inference_mode():
        hidden = loaded.model(torch.tensor([text]))
        logs = torch.log_softmax(loaded.model.logits(hidden)[0], dim=-1)
    expected = [float(logs[place, text[place + 1]]) for place in range(len(text) - len(ids) - 1, len(text) - 1)]
    assert [token["logprob"] for token in tokens] == pytest.approx(expected, abs=1e-4)


def test_a_suffix_is_refused_by_a_model_that_never_saw_a_gap(run: Run, model: Path) -> None:
    code, out, err = run("강가의", "--suffix", " 흘렀다.")
    assert (code, out) == (2, "")
    assert f"{model}: was not trained to write between two texts" in err


class TestBetween:
    @pytest.fixture
    def between(self, model: Path, tmp_path: Path) -> Path:
        """The same weights, described as trained for gaps."""
        loaded = load_model(model)
        described = {"objective": {"fim_rate": 0.5}}
        write_description(tmp_path, loaded.model, loaded.vocabulary, objective="ar", training=described)
        publish(tmp_path, parameters_to_save(loaded.model), "# a model for tests\n")
        return tmp_path

    def test_the_middle_goes_to_stdout(self, run: Run, between: Path) -> None:
        options = ("-m", between, "--suffix", " 흘렀다.", "--seed", 5, "--max-new-tokens", 9)
        code, out, err = run("강가의", *options, with_model=False)
        assert code == 0
        assert err.endswith("reached, seed 5\n")
        assert run("강가의", *options, "--quiet", with_model=False) == (0, out, "")
        *tokens, last = lines(run, "강가의", *options, with_model=False)
        assert out == last["text"] + "\n"
        assert len(tokens) == 9
        assert run("강가의", "--seed", 5, "--max-new-tokens", 9)[1] != out

    def test_what_is_not_read_is_told_and_an_empty_suffix_refused(self, run: Run, between: Path) -> None:
        code, _, err = run("물은 " * 100, "-m", between, "--suffix", "흘렀다 " * 100, with_model=False)
        assert code == 0
        assert "at most 32 tokens are written" in err
        assert "of the text after are not read" in err
        code, out, err = run("강가의", "-m", between, "--suffix", "", with_model=False)
        assert (code, out) == (2, "")
        assert "the suffix is empty" in err


def test_on_a_terminal_the_text_stands_between_prompt_and_suffix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("korformer.commands.page.is_terminal", lambda stream: True)
    token = GeneratedToken(token_id=9, text="글", logprob=-1.0, position=3)
    summary = Summary(text="글", seed=1, tokens=1, tokens_per_second=1.0, stop_reason="end", prompt_tokens=3)
    page = PlainPage("앞 ", " 뒤\x1b[1m")
    page.write(token)
    page.end(summary)
    assert capsys.readouterr().out == "앞 글 뒤\\x1b[1m\n"


def test_the_same_seed_gives_the_same_text_and_none_is_drawn_and_told(run: Run) -> None:
    first = lines(run, "물은", "--max-new-tokens", 15)[-1]
    other = lines(run, "물은", "--max-new-tokens", 15)[-1]
    assert first["seed"] != other["seed"]
    again = lines(run, "물은", "--max-new-tokens", 15, "--seed", first["seed"])[-1]
    assert again["text"] == first["text"]


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("강가의",), b""),
        (("강가의",), "다른 글".encode()),
        ((), "강가의".encode()),
        ((), "강가의\n".encode()),
        ((), "강가의\r\n".encode()),
        (("-",), "\ufeff강가의\n".encode()),
        ((unicodedata.normalize("NFD", "강가의"),), b""),
        (("--", "강가의"), b""),
    ],
)
def test_where_the_prompt_comes_from(run: Run, arguments: tuple[str, ...], stdin: bytes) -> None:
    options = ("--seed", "3", "--max-new-tokens", "8", "--quiet")
    assert run(*options, *arguments, stdin=stdin)[1] == run("강가의", *options)[1]


def test_only_one_line_break_at_the_end_is_dropped(run: Run) -> None:
    options = ("--seed", "3", "--max-new-tokens", "8", "--quiet")
    assert run(*options, stdin="강가의\n\n".encode())[1] == run("강가의\n", *options)[1]


def test_without_a_prompt_a_document_begins(run: Run) -> None:
    code, out, _ = run("--seed", 3, "--max-new-tokens", 8)
    assert code == 0
    assert run("", "--seed", 3, "--max-new-tokens", 8)[1] == out


def test_special_tokens_in_a_prompt_are_text(run: Run) -> None:
    options = ("--seed", 3, "--max-new-tokens", 8)
    assert run("[SEP]", *options)[1] != run("", *options)[1]


def test_a_prompt_longer_than_the_window_is_cut_and_told(run: Run) -> None:
    code, out, err = run("물은 천천히 흘렀다. " * 100, "--max-new-tokens", 40, "--seed", 1)
    assert code == 0
    assert out.strip()
    assert "the model reads 64" in err


def test_stop_strings_end_the_text_before_them(run: Run) -> None:
    whole = lines(run, "강가의", "--seed", 5, "--max-new-tokens", 30)[-1]["text"]
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    stopped = lines(run, "강가의", "--seed", 5, "--max-new-tokens", 30, "--stop", "없는 말", "--stop", middle)[-1]
    assert stopped["stop_reason"] == "stop"
    assert stopped["text"] == whole[: whole.index(middle)]


def test_bans_and_biases_reach_the_sampler(run: Run) -> None:
    greedy = ("--temperature", 0, "--max-new-tokens", 1)
    favourite = lines(run, "강가의", *greedy)[0]["token_id"]
    assert lines(run, "강가의", *greedy, "--ban", favourite)[0]["token_id"] != favourite
    assert lines(run, "강가의", *greedy, "--logit-bias", "77=50")[0]["token_id"] == 77


def test_the_precisions_are_those_of_the_model() -> None:
    from korformer.commands.options import WEIGHTS
    from korformer.model.decode import PRECISIONS

    assert WEIGHTS == PRECISIONS


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_weights_of_less_precision_say_nearly_the_same(run: Run, weights: str) -> None:
    arguments = ("눈이", "--json", "--temperature", "0", "--max-new-tokens", "5")
    exact, rounded = (
        [json.loads(line) for line in run(*arguments, *more)[1].splitlines()] for more in ((), ("--weights", weights))
    )
    assert exact[1]["logprob"] != rounded[1]["logprob"]
    assert rounded[0]["logprob"] == pytest.approx(exact[0]["logprob"], abs=0.05)


def test_hashes_change_the_rounds(run: Run) -> None:
    assert run("강가의", "--hashes", 1, "--max-new-tokens", 3)[0] == 0
    code, _, err = run("강가의", "--hashes", 0)
    assert (code, "--hashes" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--top-p", "3"), 2, ["top_p", "(given: 3.0)"]),
        (("--temperature", "-1", "--top-k", "-2"), 2, ["temperature", "top_k"]),
        (("--max-new-tokens", "0"), 2, ["max_new_tokens"]),
        (("--seed", "-1"), 2, ["seed"]),
        (("--stop", ""), 2, ["stop"]),
        (("--ban", "99999"), 2, ["99999", "no such token"]),
        (("--logit-bias", "seven"), 2, ["--logit-bias", "ID=B"]),
        (("--weights", "fp8"), 2, ["--weights", "fp8", "fp32, bf16, int8"]),
        (("--device", "tpu"), 2, ["--device", "no such device: tpu", "auto, cpu or cuda"]),
        (("-m", "nowhere"), 1, ["nowhere"]),
        (("-",), 3, ["stdin", "empty"]),
    ],
)
def test_faults_are_told_with_their_exit_code(
    run: Run, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    got, out, err = run(*arguments)
    assert got == code
    assert out.strip() == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_stdin_that_is_not_utf8_is_told_with_its_place(run: Run) -> None:
    code, out, err = run("-", stdin="가나다".encode() + "라마".encode("cp949"))
    assert (code, out) == (3, "")
    assert "stdin: not UTF-8 at byte 9" in err


def test_a_prompt_argument_that_is_not_utf8_is_told(run: Run) -> None:
    code, _, err = run(os.fsdecode("가".encode() + b"\xb0"))
    assert code == 3
    assert "PROMPT: not UTF-8 at byte 3" in err


def test_without_weights_of_its_own_it_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.commands.checkpoint.shipped", lambda: None)
    code, _, err = run("강가의", with_model=False)
    assert code in {2, 4}
    assert "-m" in err
    assert "pretrain" in err


def test_the_defaults_shown_are_those_of_the_settings() -> None:
    names = {"ban": "banned_tokens", "dry_breaker": "dry_sequence_breakers"}
    given = inspect.signature(module.command).parameters
    fields = SamplingSettings.model_fields
    assert {names.get(name, name) for name in given} >= set(fields)
    for name, parameter in given.items():
        if name in fields and parameter.default is not None:
            assert parameter.default == fields[name].default, name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("page", [JsonLines, PlainPage])
def test_an_interrupt_keeps_the_text(
    run: Run, monkeypatch: pytest.MonkeyPatch, page: type[JsonLines | PlainPage], number: int, code: int
) -> None:
    options = ["강가의", "--seed", 5, *(["--json"] if page is JsonLines else [])]
    plain = run(*options, "--max-new-tokens", 4)[1]
    write, seen = page.write, []

    def write_and_kill(self: Any, token: GeneratedToken) -> None:
        write(self, token)
        seen.append(token)
        if len(seen) == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(page, "write", write_and_kill)
    got, out, err = run(*options, "--max-new-tokens", 1000)
    assert got == code
    assert len(seen) == 4
    assert err.startswith("4 tokens, ")
    assert "interrupted, seed 5" in err
    if page is PlainPage:
        assert out == plain
    else:
        assert out.splitlines()[:-1] == plain.splitlines()[:-1]
        last = json.loads(out.splitlines()[-1])
        assert (last["stop_reason"], last["tokens"]) == ("cancelled", 4)


def test_a_second_interrupt_ends_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(self: PlainPage, token: GeneratedToken) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still here")

    monkeypatch.setattr(PlainPage, "write", impatient)
    code, out, err = run("강가의")
    assert (code, out, err) == (130, "\n", "korformer: interrupted\n")


def start(model: Path, *arguments: str, **given: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "korformer.commands.app", "generate", "-m", str(model), *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **given)


def test_a_reader_that_goes_away_is_no_matter(model: Path) -> None:
    process = start(model, "강가의", "--json", "--max-new-tokens", "1000000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 141


def test_on_a_terminal_the_prompt_comes_first_and_control_characters_stay_out(model: Path) -> None:
    screen, terminal = pty.openpty()
    with os.fdopen(screen, "rb") as shown:
        options = ("--seed", "5", "--max-new-tokens", "12")
        process = start(model, "강가의\x1b[31m", *options, stdout=terminal)
        os.close(terminal)
        data = b""
        with pytest.raises(OSError, match="Input/output"):  # how a pty ends
            while True:
                data += os.read(shown.fileno(), 4096)
        err = process.communicate(timeout=60)[1]
    text = data.decode()
    assert text.startswith("강가의\\x1b[31m")
    assert len(text) > len("강가의\\x1b[31m\r\n")
    assert text.endswith("\r\n")
    assert "12 tokens" in err.decode()


def test_a_stage_that_is_quick_is_not_reported_and_notices_wait_for_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    relay, heard = Relay(), list[Event]()
    relay.listen = heard.append

    def progress(done: int) -> Progress:
        return Progress(stage="reading the prompt", done=done, total=10, unit="tokens")

    relay(progress(0))
    relay(progress(10))
    assert heard == []
    relay(progress(0))
    now[0] += 1
    relay(progress(10))
    assert heard == []  # slow, but there is nothing to wait for any more
    relay(progress(0))
    now[0] += 1
    relay(progress(5))
    relay(progress(10))
    assert heard == [progress(5), progress(10)]
    relay.listen = None
    relay(progress(10))
    relay(Notice(text="cut"))
    assert (len(heard), relay.held) == (2, [Notice(text="cut")])
