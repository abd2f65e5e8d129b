"""What counts as attempted: bare stubs do not, a function without its `return` does."""

import functools

import pytest
import torch

from course_lib.exercises import answers, check, verdict

NOT_ATTEMPTED = "not attempted yet"


def documented(*args):
    """To be written."""


def passed(*args):
    pass


def explicit(*args):
    return None


def left(*args):
    result = None
    return result


def raising(*args):
    raise NotImplementedError("write me")


@torch.no_grad()
def decorated(*args): ...


@pytest.mark.parametrize("stub", [documented, passed, explicit, left, raising, decorated, functools.partial(documented)])
def test_a_bare_stub_is_not_attempted(judge, stub):
    assert NOT_ATTEMPTED in str(judge("3.6", stub))


def unreturned(x, lengths):
    y = x.flip(1)  # noqa: F841


def unreturned_loop(x, lengths):
    """Documented, and the ellipsis of the stub is still there."""
    ...
    [row.flip(0) for row in x]


def unfinished(x, lengths):
    """A kernel that torch does not have raises NotImplementedError, too."""
    raise NotImplementedError(f"no kernel for {x.dtype}")


@pytest.mark.parametrize("answer", [unreturned, unreturned_loop, torch.no_grad()(unreturned)])
def test_a_forgotten_return_is_named(capsys, answer):
    check("3.6", answer)
    assert "→ a sentence" not in (out := capsys.readouterr().out)
    assert "your function returned None: is a `return` missing?" in out and NOT_ATTEMPTED not in out


@pytest.mark.parametrize("id", ["2.6", "3.5"])
def test_a_forgotten_return_is_named_in_measurements(judge, id):
    assert "is a `return` missing?" in judge(id, lambda pairs: pairs.clear()).message


def test_an_error_of_the_library_is_no_stub(judge):
    assert "NotImplementedError in line 3 of unfinished" in judge("3.6", unfinished).message


class Loop:
    """An object that fights back when its code is looked for."""

    def __call__(self, *args):
        raise ValueError("no")

    def __getattr__(self, name):
        return self


def test_an_endless_wrapper_breaks_nothing():
    assert "ValueError" in verdict("3.6", Loop()).message
    assert not answers._unwritten(unreturned) and answers._unwritten(Loop())
