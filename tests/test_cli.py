"""`rlhf`: commands, help, errors and completion; nothing heavy is imported too early."""

import contextlib
import subprocess
import sys

import pytest

from rlhf import __version__, cli, completion
from rlhf.errors import ConfigError, RLHFError, TrainingError
from tests.errors import raises


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["dance"], "dance"), (["evalute"], "'evaluate'"), (["data", "shw", "x"], "'data show'")],
)
def test_unknown_command_names_the_nearest(words, nearest):
    with raises("unknown-key", words[0], nearest):
        cli.run_command(words)


@pytest.mark.parametrize("words", [[], ["data"]])
def test_command_without_words_prints_help_and_exits_2(words, capsys):
    assert cli.run_command(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"usage: {' '.join(['rlhf', *words])} ")
    assert cli.run_command([*words, "--help"]) == 0
    assert capsys.readouterr().out == printed.err


def test_help_lists_every_command(capsys):
    cli.run_command(["--help"])
    printed = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert command.name.split()[0] in printed


def test_version_is_printed(capsys):
    assert cli.run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"rlhf {__version__}\n"
    run = subprocess.run(
        [sys.executable, "-m", "rlhf", "--version"], capture_output=True, text=True
    )
    assert run.stdout == f"rlhf {__version__}\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError("no x; use y"), 2), (TrainingError("nan"), 1), (KeyboardInterrupt(), 130)],
)
def test_error_is_one_line_and_a_status(monkeypatch, capsys, error, status):
    def fail(words):
        raise error

    monkeypatch.setattr(cli, "run_command", fail)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["chat", "x"])
    assert exit_.value.code == status
    printed = capsys.readouterr().err
    assert printed.startswith("rlhf chat: ")
    assert printed.count("\n") == 1
    assert not isinstance(error, RLHFError) or f"[{error.code}]" in printed


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rlhf"])
    try:
        status = cli.run_command([*command.name.split(), "--help"])
    except SystemExit as exit_:  # argparse exits itself
        status = exit_.code
    assert status == 0
    assert f"usage: rlhf {command.name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        ("recipes frob", "unknown-key", ["frob", "list", "rlhf recipes --help"]),
        ("recipes", "missing-key", ["COMMAND"]),
        ("completion tcsh", "bad-value", ["tcsh", "bash"]),
        ("data check x.jsonl --frob", "unknown-key", ["--frob", "rlhf data check --help"]),
        ("label export --store x", "missing-key", ["--output", "rlhf label export --help"]),
        ("sample --num_responses many", "bad-value", ["--num_responses", "many"]),
    ],
)
def test_mistake_in_options_is_an_error_with_code(words, code, names):
    with raises(code, *names):
        cli.run_command(words.split())


def test_mistake_in_launch_options_is_one_line(capfd):
    assert cli.run_command(["launch", "--num_processes", "two", "recipes/sft.py"]) == 2
    assert cli.run_command(["launch", "nothing.py"]) == 2
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("rlhf launch: ")
    assert "--num_processes" in first
    assert first.endswith("[bad-launch]")
    assert "nothing.py" in second
    assert second.endswith("[missing-file]")


@pytest.mark.parametrize(
    "words",
    [
        "sample --model none --prompts none --output FILE/x.jsonl",
        "recipes copy accelerate FILE/below",
        "recipes copy accelerate FILE",
        "data convert ROWS --from opening --output FILE/rows.jsonl",
        "report RUN --output FILE/page.html",
        "report RUN --output FOLDER",
    ],
)
def test_output_path_that_cannot_be_written_is_the_users_mistake(tmp_path, capsys, words):
    (tmp_path / "FILE").write_text("")
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    (tmp_path / "RUN" / "config.yaml").write_text("output_dir: x\npacking: true\n")
    (tmp_path / "ROWS.jsonl").write_text('{"text": "a b c d e f g h i j k l m n o p"}\n')
    for name in ("FILE", "FOLDER", "RUN"):
        words = words.replace(name, str(tmp_path / name))
    words = words.replace("ROWS", str(tmp_path / "ROWS.jsonl"))
    with pytest.raises(SystemExit) as exit_:
        cli.main(words.split())
    printed = capsys.readouterr().err
    assert exit_.value.code == 2, printed
    assert "Traceback" not in printed
    assert str(tmp_path) in printed


def test_help_shows_only_defaults_that_say_something(capsys):
    for words in (["sample"], ["label", "serve"], ["evaluate"], ["chat"], ["serve"]):
        with contextlib.suppress(SystemExit):
            cli.run_command([*words, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for empty in ("(default: )", "(default: None)", "(default: [])"):
        assert empty not in printed
    assert "(default: 0)" in printed  # the seed


def test_command_line_imports_nothing_heavy():
    code = "import rlhf.cli, rlhf.runtime.launcher, sys; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_completion_parser_has_the_options_of_every_command():
    commands = completion.subparsers(completion.full_parser())
    assert {command.name.split()[0] for command in cli.COMMANDS} == commands.keys()
    options = {
        "ppo": "--kl_coef",
        "align": "--num_responses",
        "label": "--help",
        "merge": "--output",
    }
    for name, option in options.items():
        assert option in commands[name].format_help()
    assert "--reject_file" in completion.subparsers(commands["data"])["check"].format_help()


def test_bash_completes_commands_and_options(tmp_path, capsys):
    pytest.importorskip("shtab")
    assert completion.main(["bash"]) == 0
    script = tmp_path / "rlhf.bash"
    script.write_text(capsys.readouterr().out)

    def complete(*words: str) -> list[str]:
        bash = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            'COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; '
            '_shtab_rlhf; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        run = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True)
        return [word.strip() for word in run.stdout.split()]

    assert complete("rlhf", "eva") == ["evaluate", "evaluate-reward-model"]
    assert "--kl_coef" in complete("rlhf", "ppo", "--kl")
    assert complete("rlhf", "data", "che") == ["check"]
