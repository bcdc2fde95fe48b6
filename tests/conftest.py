"""What holds for every test."""

import signal
from collections.abc import Iterator

import pytest

from korformer.training import precision


def pytest_configure(config: pytest.Config) -> None:
    """Hear signals, also where whoever started the tests does not.

    A shell that runs a command in the background has it ignore SIGINT, and nohup SIGHUP; both are inherited, by the
    programs that tests start too.
    """
    for name, handler in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    ):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def _float32_by_itself() -> Iterator[None]:
    """What is trained here is trained in float32 on every processor, where a test asks for nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_bf16_products", lambda: False)
        yield
