"""`rlhf chat` as a person meets it: in a pseudo-terminal, in a pipe, once."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
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
    """A tiny Llama with room for thousands of tokens, so that an answer can be interrupted."""
    folder = make_model(tmp_path_factory.mktemp("models") / "llama")
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 100_000
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Terminal:
    """A program in a pseudo-terminal of its own."""

    def __init__(self, command: list[str], home: Path, term: str = "dumb") -> None:
        self.pid, self.tty = pty.fork()
        if self.pid == 0:
            own = {"TERM": term, "COLUMNS": "200", "LINES": "50", "XDG_STATE_HOME": str(home)}
            os.execve(command[0], command, {**os.environ, **own})
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 240) -> str:
        """All that came up to and with `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.tty], [], [], left)[0]:
                try:
                    self.seen += os.read(self.tty, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"ended without {text!r}: {self.seen!r}") from None
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

    def status(self, seconds: float = 120) -> int:
        """Of the program, which has to end by itself by then."""
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"did not end; it wrote {self.seen!r}")
            time.sleep(0.05)
        return os.waitstatus_to_exitcode(ended[1])


def test_ctrl_c_stops_the_answer_and_not_the_program(folder, tmp_path):
    flags = ["--temperature", "0", "--max_new_tokens", "90000"]
    terminal = Terminal([*CHAT, str(folder), *flags], tmp_path)
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


@pytest.fixture
def short(folder) -> list[str]:
    return [*CHAT, str(folder), "--temperature", "0", "--max_new_tokens", "8"]


def test_a_conversation_is_edited_saved_and_gone_on_with(short, tmp_path):
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
    terminal.wait_for("or two?")  # the line is there to be changed
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


def test_lines_are_remembered_across_sessions_for_their_owner_alone(short, tmp_path):
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


def test_answers_stand_side_by_side_and_votes_are_kept(short, folder, tmp_path):
    other = make_model(tmp_path / "other", seed=1)
    store = tmp_path / "labels.sqlite"
    judge = tmp_path / "rm"
    fresh = new_reward_model(folder, seed=0)
    save_reward_model(judge, fresh, load_tokenizer(str(folder)), 0.5, 2.0)
    votes = ["--store", str(store), "--annotator", "Ann", "--blind", "--reward_model", str(judge)]
    terminal = Terminal([*short, *votes], tmp_path)
    terminal.wait_for("you> ")
    terminal.send("/1\n")
    terminal.wait_for("nothing stands side by side")
    terminal.send(f"/compare {other}\n")
    terminal.wait_for("talking to")
    terminal.wait_for("you> ")
    terminal.send("A cat?\n")
    shown = terminal.wait_for("better: /1, /2, /tie or /bad")
    assert str(other) not in shown
    terminal.send("/why\n")
    terminal.wait_for("looking inside tells whose an answer is; vote first")
    terminal.send("/9\n")
    terminal.wait_for("a vote is 1 to 2")
    terminal.wait_for("you> ")
    terminal.send("/2\n")
    revealed = terminal.wait_for("you> ")
    assert str(other) in revealed
    terminal.send("/up 2\n")
    terminal.wait_for("kept in")
    terminal.send("/why\n")
    assert "KL from other" in terminal.wait_for("reward of each answer: 1 ")
    each = terminal.wait_for("\n")
    terminal.send("/compare off\n")
    terminal.wait_for("talking to")
    terminal.send("/up 2\n")
    terminal.wait_for("there is no answer 2 to mark")
    terminal.send("/regen\n")
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    terminal.send(f"/compare {other}\n")
    terminal.wait_for("talking to")
    terminal.wait_for("you> ")
    terminal.send("/why\n")  # of the answer that stood there before
    assert "KL from other" in terminal.wait_for("you> ")
    terminal.send("/compare off\n")
    terminal.wait_for("talking to")
    terminal.send("/topk 0\n")
    terminal.wait_for("/topk takes a number from 1 to 50")
    terminal.send("/topk 2\n")
    terminal.wait_for("rank")
    terminal.send("/quit\n")
    assert terminal.status() == 0
    with LabelStore(store) as kept:
        [pair] = rows_of(kept, "rankings").rows
        [thumb] = rows_of(kept, "thumbs").rows
    assert pair["prompt"] == "A cat?"
    assert pair["ranks"] == [2, 1]
    assert set(pair["models"]) == {str(folder), str(other)}
    assert thumb["label"] is True
    assert thumb["completion"] == pair["responses"][1]
    raw = RewardModel(judge).score(["A cat?"] * 2, pair["responses"])
    shown = [float(value) for value in re.findall(r"[+-]\d+\.\d+", each)]
    assert shown == pytest.approx([(value - 0.5) / 2 for value in raw], abs=1e-3)


def test_a_terminal_with_a_cursor_gets_columns_and_markdown(short, tmp_path):
    other = make_model(tmp_path / "other", seed=1)
    terminal = Terminal([*short, str(other)], tmp_path, term="xterm-256color")
    terminal.wait_for("you> ")
    terminal.send("A cat?\n")
    shown = terminal.wait_for("better: /1, /2, /tie or /bad")
    assert "╭─ 1 " in shown
    assert "╭─ 2 " in shown
    terminal.send("/compare off\n")
    terminal.wait_for("talking to")
    terminal.send("A cat?\n")
    terminal.wait_for("bot>")
    terminal.wait_for("cut off at its longest")
    terminal.send("/quit\n")
    assert terminal.status() == 0


def test_several_models_answer_a_pipe_each_after_its_name(short, folder):
    done = subprocess.run(
        [*short, str(folder)], input=b"A cat?\n", capture_output=True, timeout=240
    )
    first, second = done.stdout.split(str(folder).encode() + b": ")[1:]
    assert first.strip() == second.strip() != b""
