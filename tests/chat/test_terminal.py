"""`rlhf chat` in a pseudo-terminal, in a pipe, and with a single prompt."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.tiny_models import make_model

CHAT = [sys.executable, "-m", "rlhf.cli", "chat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Llama with room for thousands of tokens, so that a response can be interrupted."""
    folder = make_model(tmp_path_factory.mktemp("models") / "llama")
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 100_000
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Terminal:
    """A program in its own pseudo-terminal."""

    def __init__(self, command: list[str], home: Path, term: str = "dumb") -> None:
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            variables = {"TERM": term, "COLUMNS": "200", "LINES": "50", "XDG_STATE_HOME": str(home)}
            os.execve(command[0], command, {**os.environ, **variables})
        self.output = ""

    def wait_for(self, text: str, seconds: float = 240) -> str:
        """All output up to and including `text`."""
        end = time.monotonic() + seconds
        while text not in self.output:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.output!r}"
            if select.select([self.tty], [], [], left)[0]:
                try:
                    self.output += os.read(self.tty, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"ended without {text!r}: {self.output!r}") from None
        before, _, self.output = self.output.partition(text)
        return before + text

    def send(self, keys: str) -> None:
        os.write(self.tty, keys.encode())

    def send_until(self, keys: str, text: str) -> None:
        """Send keys until `text` appears.

        A Ctrl-C sent while readline takes over the terminal has no effect before the next key.
        """
        for _ in range(24):
            self.send(keys)
            with contextlib.suppress(AssertionError):
                self.wait_for(text, seconds=10)
                return
        raise AssertionError(f"no {text!r} in {self.output!r}")

    def status(self, seconds: float = 120) -> int:
        """Exit status of the program, which has to end by itself in time."""
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"did not end; its output was {self.output!r}")
            time.sleep(0.05)
        return os.waitstatus_to_exitcode(ended[1])


def test_ctrl_c_stops_the_response_and_not_the_program(folder, tmp_path):
    flags = ["--temperature", "0", "--max_new_tokens", "90000"]
    terminal = Terminal([*CHAT, str(folder), *flags], tmp_path)
    before = terminal.wait_for("you> ")
    assert "chat template: tokenizer; stops at 4 '<|eot_id|>'" in before
    terminal.send("Where is the red ball?\n")
    terminal.wait_for("bot> ")
    terminal.send("\x03")
    terminal.wait_for("(stopped)")
    terminal.wait_for("you> ")
    terminal.send_until(
        "\x03", "/quit or Ctrl-D leaves"
    )  # at the input line it does not end the program either
    terminal.send("/max 3\n")
    terminal.wait_for("max_new_tokens 3")
    terminal.send("/regen\n")
    terminal.wait_for("(reached the maximum length")
    terminal.send("/temp warm\n")
    terminal.wait_for("/temp needs a number, not 'warm'")
    terminal.send("/temp nan\n")
    terminal.wait_for("temperature=nan")
    terminal.send("/dance\n")
    terminal.wait_for("unknown command /dance")
    terminal.send("/undo\n")
    terminal.wait_for("removed: Where is the red ball?")
    terminal.send("/quit\n")
    assert terminal.status() == 0


@pytest.fixture
def short(folder) -> list[str]:
    return [*CHAT, str(folder), "--temperature", "0", "--max_new_tokens", "8"]


def test_conversation_is_edited_saved_and_loaded(short, tmp_path):
    terminal = Terminal(short, tmp_path)
    terminal.wait_for("you> ")
    terminal.send('"""What is\nthis?"""\n')
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    file = tmp_path / "chats.jsonl"
    terminal.send(f"/save {file}\n")
    terminal.wait_for("saved to")
    [row] = [json.loads(line) for line in file.read_text().splitlines()]
    assert row["messages"][0] == {"role": "user", "content": "What is\nthis?"}
    terminal.send("/edit A cat,\\\n")
    terminal.send("or two?\n")
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    terminal.send("/edit\n")
    terminal.wait_for("or two?")  # the prompt is in the input line
    terminal.send(" Or three?\n")
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    terminal.send(f"/save {file}\n")
    terminal.wait_for("saved to")
    last = json.loads(file.read_text().splitlines()[-1])["messages"]
    assert [turn["content"] for turn in last[:-1]] == ["A cat,\nor two? Or three?"]
    terminal.send(f"/load {file} 1\n")
    terminal.wait_for("user: What is")
    terminal.send("/load nowhere.jsonl\n")
    terminal.wait_for("no such file")
    terminal.wait_for("you> ")  # before readline listens, a Ctrl-D is lost
    terminal.send("\x04")
    assert terminal.status() == 0


def test_history_is_kept_across_sessions_and_private(short, tmp_path):
    terminal = Terminal(short, tmp_path)
    terminal.wait_for("you> ")
    terminal.send("/seed 4711\n")
    terminal.wait_for("seed 4711")
    terminal.wait_for("you> ")
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.status()
    history = tmp_path / "rlhf" / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    again = Terminal(short, tmp_path)
    again.wait_for("you> ")
    again.send("\x10")  # Ctrl-P, the line before
    again.wait_for("/seed 4711")
    again.send("\n")
    again.wait_for("seed 4711")
    again.send("/quit\n")
    assert again.status() == 0


def test_votes_on_side_by_side_responses_are_stored(short, folder, tmp_path):
    other = make_model(tmp_path / "other", seed=1)
    store = tmp_path / "labels.sqlite"
    reward_folder = tmp_path / "rm"
    fresh = new_reward_model(folder, seed=0)
    save_reward_model(reward_folder, fresh, load_tokenizer(str(folder)), 0.5, 2.0)
    votes = [
        "--store",
        str(store),
        "--annotator",
        "Ann",
        "--blind",
        "--reward_model",
        str(reward_folder),
    ]
    terminal = Terminal([*short, *votes], tmp_path)
    terminal.wait_for("you> ")
    terminal.send("/1\n")
    terminal.wait_for("there are no responses to compare")
    terminal.send(f"/compare {other}\n")
    terminal.wait_for("chatting with")
    terminal.wait_for("you> ")
    terminal.send("A cat?\n")
    output = terminal.wait_for("vote: /1, /2, /tie or /bad")
    assert str(other) not in output
    terminal.send("/why\n")
    terminal.wait_for("would reveal its model; vote first")
    terminal.send("/9\n")
    terminal.wait_for("unknown vote '9'")
    terminal.wait_for("you> ")
    terminal.send("/2\n")
    revealed = terminal.wait_for("you> ")
    assert str(other) in revealed
    terminal.send("/up 2\n")
    terminal.wait_for("stored in")
    terminal.send("/why\n")
    assert "KL from other" in terminal.wait_for("reward of each response: 1 ")
    reward_line = terminal.wait_for("\n")
    terminal.send("/compare off\n")
    terminal.wait_for("chatting with")
    terminal.send("/up 2\n")
    terminal.wait_for("there is no response 2 to rate")
    terminal.send("/regen\n")
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    terminal.send(f"/compare {other}\n")
    terminal.wait_for("chatting with")
    terminal.wait_for("you> ")
    terminal.send("/why\n")  # of the response from before /compare
    assert "KL from other" in terminal.wait_for("you> ")
    terminal.send("/compare off\n")
    terminal.wait_for("chatting with")
    terminal.send("/topk 0\n")
    terminal.wait_for("/topk needs a number from 1 to 50")
    terminal.send("/topk 2\n")
    terminal.wait_for("rank")
    terminal.send("/quit\n")
    assert terminal.status() == 0
    with LabelStore(store) as label_store:
        [pair] = rows_of(label_store, "rankings").rows
        [thumb] = rows_of(label_store, "thumbs").rows
    assert pair["prompt"] == "A cat?"
    assert pair["ranks"] == [2, 1]
    assert set(pair["models"]) == {folder.name, other.name}  # not the paths of this machine
    assert thumb["label"] is True
    assert thumb["completion"] == pair["responses"][1]
    raw = RewardModel(reward_folder).score(["A cat?"] * 2, pair["responses"])
    rewards = [float(value) for value in re.findall(r"[+-]\d+\.\d+", reward_line)]
    assert rewards == pytest.approx([(value - 0.5) / 2 for value in raw], abs=1e-3)


def test_terminal_with_cursor_gets_columns_and_markdown(short, tmp_path):
    other = make_model(tmp_path / "other", seed=1)
    terminal = Terminal([*short, str(other)], tmp_path, term="xterm-256color")
    terminal.wait_for("you> ")
    terminal.send("A cat?\n")
    output = terminal.wait_for("vote: /1, /2, /tie or /bad")
    assert "╭─ 1 " in output
    assert "╭─ 2 " in output
    terminal.send("/compare off\n")
    terminal.wait_for("chatting with")
    terminal.send("A cat?\n")
    terminal.wait_for("bot>")
    terminal.wait_for("reached the maximum length")
    terminal.send("/quit\n")
    assert terminal.status() == 0
