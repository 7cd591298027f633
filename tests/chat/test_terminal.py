"""`rlhf chat` as a person meets it: in a pseudo-terminal, in a pipe, once."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import make_model

CHAT = [sys.executable, "-m", "rlhf.cli", "chat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Llama with room for thousands of tokens, so that an answer can be interrupted."""
    folder = make_model(tmp_path_factory.mktemp("models") / "llama")
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 100_000
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Terminal:
    """A program in a pseudo-terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**os.environ, "TERM": "dumb", "COLUMNS": "200"})
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 240) -> str:
        """All that came up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.tty], [], [], left)[0]:
                self.seen += os.read(self.tty, 4096).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def send(self, keys: str) -> None:
        os.write(self.tty, keys.encode())

    def send_until(self, keys: str, text: str) -> None:
        """A Ctrl-C that comes while readline takes the terminal over waits for the next key."""
        for _ in range(24):
            self.send(keys)
            with contextlib.suppress(AssertionError):
                self.wait_for(text, seconds=10)
                return
        raise AssertionError(f"no {text!r} in {self.seen!r}")

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_ctrl_c_stops_the_answer_and_not_the_program(folder):
    flags = ["--temperature", "0", "--max_new_tokens", "90000"]
    terminal = Terminal([*CHAT, str(folder), *flags])
    before = terminal.wait_for("you> ")
    assert "chat template: tokenizer; stops at 4 '<|eot_id|>'" in before
    terminal.send("Where is the red ball?\n")
    terminal.wait_for("bot> ")
    terminal.send("\x03")
    terminal.wait_for("(stopped)")
    terminal.wait_for("you> ")
    terminal.send_until("\x03", "/quit or Ctrl-D leaves")  # at the prompt it leaves nothing either
    terminal.send("/max 3\n")
    terminal.wait_for("max_new_tokens 3")
    terminal.send("/regen\n")
    terminal.wait_for("(cut off at its longest")
    terminal.send("/temp warm\n")
    terminal.wait_for("/temp takes a number, not 'warm'")
    terminal.send("/temp nan\n")
    terminal.wait_for("temperature=nan is not from 0 up")
    terminal.send("/dance\n")
    terminal.wait_for("no command /dance")
    terminal.send("/undo\n")
    terminal.wait_for("taken back: Where is the red ball?")
    terminal.send("/quit\n")
    assert terminal.status() == 0


def test_one_prompt_and_a_pipe_give_the_answer_alone(folder):
    flags = [str(folder), "--temperature", "0", "--max_new_tokens", "12"]
    once = subprocess.run([*CHAT, *flags, "--prompt", "A cat?"], capture_output=True, timeout=240)
    assert once.returncode == 0
    piped = subprocess.run([*CHAT, *flags], input=b"A cat?\n", capture_output=True, timeout=240)
    assert piped.stdout == once.stdout != b"\n"
    assert b"chat template" in once.stderr


@pytest.mark.parametrize(("piped", "said"), [(b"caf\xe9", "not UTF-8"), (b"", "is empty")])
def test_a_pipe_of_broken_text_or_nothing_is_refused(folder, piped, said):
    done = subprocess.run([*CHAT, str(folder)], input=piped, capture_output=True, timeout=240)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_what_cannot_talk_is_refused_with_status_2(tmp_path):
    done = subprocess.run([*CHAT, str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert "holds no model" in done.stderr
    assert "Traceback" not in done.stderr
