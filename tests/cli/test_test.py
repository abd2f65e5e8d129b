"""The command `test`: what it runs, and that its exit code tells the truth."""

import subprocess
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from course_lib.cli import test as command
from course_lib.cli.app import cli
from course_lib.cli.install import SetupError


@pytest.fixture
def calls(monkeypatch):
    """Note the commands instead of running them; `calls.codes` are their exit codes."""
    class Calls(list):
        codes = (0, 0)

    made = Calls()

    def note(line, **settings):
        made.append(line)
        assert settings["env"]["PYTHONPATH"] and "COURSE_OUTCOMES" not in settings["env"]
        return SimpleNamespace(returncode=made.codes[len(made) - 1])

    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.setattr(command, "install_for_tests", lambda: None)
    monkeypatch.setenv("COURSE_OUTCOMES", "/elsewhere")
    return made


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ([], ["tests", "notebooks"]),
        (["--quick"], ["tests"]),
        (["-k", "beam"], ["tests"]),
        (["notebooks/03_x.ipynb"], ["notebooks"]),
        (["tests/cli", "notebooks/03_x.ipynb"], ["tests", "notebooks"]),
    ],
)
def test_what_is_run(calls, arguments, parts):
    assert CliRunner().invoke(cli, ["test", *arguments]).exit_code == 0
    assert ["notebooks" if "--nbval" in line else "tests" for line in calls] == parts
    assert all(any(argument in line for line in calls) for argument in arguments if argument != "--quick")


def test_slow_tests_are_left_out_unless_asked_for(calls):
    CliRunner().invoke(cli, ["test", "--quick"])
    CliRunner().invoke(cli, ["test", "--quick", "--long"])
    assert "not slow" in calls[0] and "not slow" not in calls[1]


@pytest.mark.parametrize("codes, code", [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((0, 5), 1)])
def test_the_exit_code_tells_the_truth(calls, codes, code):
    calls.codes = codes
    done = CliRunner().invoke(cli, ["test"])
    assert done.exit_code == code and len(calls) == 2       # the notebooks are run even if the tests fail
    assert ("✗" in done.output) == bool(code)


def test_without_network_the_missing_packages_are_named(monkeypatch):
    def refuse():
        raise SetupError("no network: pip cannot reach the package index")
    monkeypatch.setattr(command, "install_for_tests", refuse)
    done = CliRunner().invoke(cli, ["test"])
    assert done.exit_code == 2 and "no network" in done.output


def test_what_tests_need_is_installed_when_it_is_missing(monkeypatch):
    asked = []
    monkeypatch.setattr(
        command, "pip_install", lambda python, files, log: asked.extend(f.parent.name for f in files)
    )
    command.install_for_tests()
    assert asked == []
    monkeypatch.setattr(command, "unmet", lambda path: ["hypothesis==1"])
    command.install_for_tests()
    assert asked[-1] == "tests" and len(asked) == 2
