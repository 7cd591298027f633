"""Thoughts in `rlhf chat`: dimmed before the response, kept with it, looked into."""

import io
import json
import math
import re
import subprocess

import pytest
from rich.console import Console

from rlhf.chat.conversation import Conversation, Piece
from rlhf.chat.introspection import as_text, differences, reward_growth
from rlhf.chat.loading import load_chat_model
from rlhf.chat.renderer import Renderer
from rlhf.chat.sampling import Sampling
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.labels.export import rows_of
from rlhf.labels.store import LabelStore
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from tests.chat.scripted_model import make_scripted
from tests.chat.test_terminal import CHAT, Terminal

THOUGHT, TEXT = "Hm, let me see.", "A dog, I say."
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{TEXT}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_scripted(tmp_path_factory.mktemp("models") / "thinker")


@pytest.fixture(scope="module")
def model(folder):
    return load_chat_model(str(folder))


def test_an_answer_keeps_its_thought_and_the_template_drops_old_ones(model):
    """Qwen3 renders no thought of a turn that a user's turn follows."""
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0))
    pieces = list(talk.ask("Who is it?"))
    assert "".join(piece.thought for piece in pieces) == THOUGHT
    assert "".join(piece.text for piece in pieces) == TEXT
    [answer] = talk.answers
    assert (answer.thought, answer.text, answer.whole) == (THOUGHT, TEXT, WHOLE)
    assert talk.messages[-1] == {"role": "assistant", "content": WHOLE}
    asked = [*talk.messages, {"role": "user", "content": "And who?"}]
    prompt = model.chat.tokenizer.decode(prompt_ids(model.chat, asked))
    assert prompt.count(TEXT) == 1
    assert THOUGHT not in prompt


def test_an_answer_cut_off_in_its_thought_is_empty(model):
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0, max_new_tokens=3))
    list(talk.ask("Who is it?"))
    [answer] = talk.answers
    assert (answer.thought, answer.text, answer.cut_off) == ("Hm, let me", "", True)


def screen(**how) -> Renderer:
    return Renderer(Console(highlight=False, width=60, file=io.StringIO(), **how))


@pytest.mark.parametrize("how", [{}, {"force_terminal": True}])
def test_a_thought_is_shown_before_the_response(how):
    """Escape 2 dims."""
    pieces = [("Hm, ", ""), ("let me see.", ""), ("", "A dog"), ("", ", I say.")]
    shown = screen(**how)
    assert shown.one(Piece(model=0, thought=thought, text=text) for thought, text in pieces)
    text = shown.console.file.getvalue()
    dimmed = "\x1b[2mthought> Hm, \x1b[0m" if how else "thought> Hm, "
    assert text.startswith(dimmed)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split()
    assert " ".join(plain).startswith("thought> Hm, let me see. bot> A dog, I say.")


def test_columns_hold_the_thoughts_of_each_answer():
    pieces = [(0, "Hm.", ""), (1, "", "A cat."), (0, "", "A dog.")]
    said = (Piece(model=model, thought=thought, text=text) for model, thought, text in pieces)
    shown = screen()
    assert shown.side_by_side(said, ["one", "two"], [0, 1])
    assert shown.console.file.getvalue().split("\n")[:3] == [
        "one thought> Hm.",
        "one> A dog.",
        "two> A cat.",
    ]


def test_one_prompt_gives_the_response_on_stdout_and_the_thought_on_stderr(folder):
    flags = ["--temperature", "0", "--prompt", "Who is it?"]
    done = subprocess.run([*CHAT, str(folder), *flags], capture_output=True, timeout=240, text=True)
    assert done.stdout == f"{TEXT}\n"
    assert f"thought> {THOUGHT}\n" in done.stderr


def test_a_thought_is_saved_marked_and_looked_into(folder, tmp_path):
    model = load_chat_model(str(folder))
    save_reward_model(tmp_path / "rm", new_reward_model(str(folder), seed=0), model.chat, 0.5, 2.0)
    store, saved = tmp_path / "labels.sqlite", tmp_path / "chats.jsonl"
    flags = ["--temperature", "0", "--store", str(store), "--reward_model", str(tmp_path / "rm")]
    terminal = Terminal([*CHAT, str(folder), *flags], tmp_path)
    terminal.wait_for("you> ")
    terminal.send("Who is it?\n")
    terminal.wait_for("thought> ")
    terminal.wait_for("bot> ")
    terminal.wait_for("you> ")
    terminal.send(f"/save {saved}\n")
    terminal.wait_for("saved to")
    terminal.send("/up\n")
    terminal.wait_for("kept in")
    terminal.send("/why\n")
    terminal.wait_for("reward so far")
    terminal.wait_for("</think>")
    terminal.wait_for("you> ")
    terminal.send(f"/load {saved}\n")
    terminal.wait_for(f"thought: {THOUGHT}")
    terminal.wait_for(f"assistant: {TEXT}")
    terminal.send("/quit\n")
    assert terminal.status() == 0
    said = json.loads(saved.read_text())["messages"][1]
    assert said == {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT}
    with LabelStore(store) as opened:
        assert [row["completion"] for row in rows_of(opened, "thumbs").rows] == [WHOLE]


def test_the_reward_grows_with_the_response_alone(model, tmp_path):
    """Inside the thought and its tags the response is empty, and its reward stays the same."""
    save_reward_model(tmp_path / "rm", new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0))
    list(talk.ask("Who is it?"))
    ids = talk.answers[0].ids
    pieces = [as_text(model, token).text for token in ids]
    assert pieces == ["<think>", "Hm, ", "let me ", "see.", "</think>", "A dog", ", I say."]
    grown = reward_growth(RewardModel(tmp_path / "rm"), model, "Who is it?", ids)
    assert all(math.isfinite(value) for value in grown)
    assert len({round(value, 5) for value in grown[:5]}) == 1
    assert len(differences([model, model], prompt_ids(model.chat, "Who is it?"), ids)) == 7
