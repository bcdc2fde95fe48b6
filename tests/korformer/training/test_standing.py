import signal
from pathlib import Path

import pytest
import torch

from korformer.errors import UsageError
from korformer.events import Notice
from korformer.training.engine import StepResult
from korformer.training.run_directory import LoopState
from korformer.training.standing import Standing, require_same_data


def result(loss: float) -> StepResult:
    return StepResult(loss=loss, gradient_norm=2.0, learning_rate=0.1, tokens=100)


def saved(standing: Standing) -> LoopState:
    return standing.loop_state(
        sampler={"place": 3}, corpus="text", vocabulary="words", environment={"threads": "2"}, scaler={}
    )


def test_steps_are_counted_and_told() -> None:
    standing = Standing(steps=10)
    standing.count(result(4.0), 1.5, torch.device("cpu"))
    assert standing.unsaved
    told = standing.count(result(2.0), 0.5, torch.device("cpu"))
    assert (told.step, told.steps, told.tokens, told.loss) == (2, 10, 200, 2.0)
    assert (told.learning_rate, told.gradient_norm) == (0.1, 2.0)
    assert 2.0 < told.average_loss < 4.0
    assert told.memory_bytes > 0
    assert (standing.step, standing.tokens, standing.seconds) == (2, 200, 2.0)


def test_a_run_goes_on_from_what_was_saved() -> None:
    before = Standing(steps=10, pending=["validation"])
    for loss in (4.0, 2.0):
        before.count(result(loss), 1.0, torch.device("cpu"))
    heard: list[object] = []
    after = Standing(steps=10)
    after.resume(saved(before), {"threads": "2"}, heard.append)
    assert heard == [Notice(text="going on after step 2 of 10")]
    assert not after.unsaved
    assert saved(after) == saved(before)
    told = [standing.count(result(1.0), 1.0, torch.device("cpu")) for standing in (before, after)]
    assert told[0].average_loss == told[1].average_loss


def test_another_machine_is_told() -> None:
    heard: list[Notice] = []
    Standing(steps=10).resume(saved(Standing(steps=10)), {"threads": "4"}, heard.append)  # type: ignore[arg-type]
    assert heard[-1].level == "warning"
    assert "threads" in heard[-1].text


def test_other_data_are_refused() -> None:
    loop = saved(Standing(steps=10))
    require_same_data(loop, {"corpus": "text", "vocabulary": "words"}, Path("run"))
    with pytest.raises(UsageError, match="run: the run here had another corpus"):
        require_same_data(loop, {"corpus": "texts", "vocabulary": "words"}, Path("run"))
    with pytest.raises(UsageError, match="had another vocabulary.*or another -o"):
        require_same_data(loop, {"corpus": "text", "vocabulary": "letters"}, Path("run"))


@pytest.mark.parametrize(("steps", "said"), [(0, "nothing to save yet"), (2, "after step 2, saved")])
def test_a_signal_ends_a_run_with_its_exit_code(steps: int, said: str) -> None:
    error = Standing(steps=10, step=steps).interrupted(signal.SIGTERM, Path("run"))
    assert error.exit_code == 143
    assert said in str(error)
    assert str(error).endswith("The same command goes on from there.")
