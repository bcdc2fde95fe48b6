import pytest

from korformer import errors


def test_message_says_where_what_and_what_next() -> None:
    error = errors.InputError("is empty", where="a.txt", hint="Give a file with text.")
    assert str(error) == "a.txt: is empty. Give a file with text."
    assert str(errors.InputError("is empty")) == "is empty"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.PathError, 1),
        (errors.UsageError, 2),
        (errors.InputError, 3),
        (errors.ModelDirectoryError, 4),
        (errors.DivergedError, 5),
        (errors.ResourceError, 6),
    ],
)
def test_exit_codes_are_the_documented_ones(kind: type[errors.KorformerError], code: int) -> None:
    assert kind("x").exit_code == code


def test_an_interrupted_run_ends_as_its_signal_does() -> None:
    assert errors.InterruptedRun("x", signal_number=2).exit_code == 130
    assert errors.InterruptedRun("x", signal_number=15).exit_code == 143


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_means_that_memory_ran_out(error: Exception, expected: bool) -> None:
    assert errors.is_out_of_memory(error) is expected
