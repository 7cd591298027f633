"""`rlhf`: the right command, in words where there is none, and nothing imported too early."""

import subprocess
import sys

import pytest

from rlhf import __version__, cli
from rlhf.errors import ConfigError, TrainingError


def test_unknown_commands_are_named(capsys):
    assert cli.run_command(["dance", "slowly"]) == 2
    assert "no command 'dance slowly'" in capsys.readouterr().err
    assert cli.run_command([]) == 2
    assert cli.run_command(["--help"]) == 0
    assert "launch" in capsys.readouterr().out


def test_the_data_commands_and_the_version_are_shown(capsys):
    assert cli.run_command(["data", "--help"]) == 0
    assert cli.run_command(["data"]) == 2
    said = capsys.readouterr().out
    assert said.count("usage: rlhf data check | convert") == 2
    assert cli.run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"rlhf {__version__}\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError("no x; use y"), 2), (TrainingError("nan"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_are_one_line_and_a_status(monkeypatch, capsys, error, status):
    def fail(words):
        raise error

    monkeypatch.setattr(cli, "run_command", fail)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["chat", "x"])
    assert exit_.value.code == status
    assert capsys.readouterr().err.startswith("rlhf chat: ")


@pytest.mark.parametrize("command", ["sample", "label", "chat", "merge", "launch", "report"])
def test_every_command_has_help(command, capsys):
    try:
        status = cli.run_command([command, "--help"])
    except SystemExit as exit_:  # argparse leaves by itself
        status = exit_.code
    assert status == 0
    assert f"rlhf {command}" in capsys.readouterr().out


def test_the_command_line_itself_imports_nothing_heavy():
    code = "import rlhf.cli, rlhf.runtime.launcher, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
