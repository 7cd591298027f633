"""Thoughts in `rlhf chat`: dimmed before the response, stored with it, and inspected."""

import io
import json
import math
import re

import pytest
from rich.console import Console

from rlhf.chat.conversation import Conversation, ResponsePiece
from rlhf.chat.introspection import prefix_rewards, token_differences, token_text
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


def test_message_keeps_thought_that_the_template_drops_later(model):
    """Qwen3 renders no thought of a message that a user's message follows."""
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0))
    pieces = list(talk.send("Who is it?"))
    assert "".join(piece.thought for piece in pieces) == THOUGHT
    assert "".join(piece.text for piece in pieces) == TEXT
    [response] = talk.responses
    assert (response.thought, response.text, response.full_text) == (THOUGHT, TEXT, WHOLE)
    assert talk.messages[-1] == {"role": "assistant", "content": WHOLE}
    messages = [*talk.messages, {"role": "user", "content": "And who?"}]
    prompt = model.chat.tokenizer.decode(prompt_ids(model.chat, messages))
    assert prompt.count(TEXT) == 1
    assert THOUGHT not in prompt


def test_response_cut_off_in_its_thought_is_empty(model):
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0, max_new_tokens=3))
    list(talk.send("Who is it?"))
    [response] = talk.responses
    assert (response.thought, response.text, response.cut_off) == ("Hm, let me", "", True)


def make_renderer(**options) -> Renderer:
    return Renderer(Console(highlight=False, width=60, file=io.StringIO(), **options))


@pytest.mark.parametrize("options", [{}, {"force_terminal": True}])
def test_thought_is_printed_before_the_response(options):
    """Escape code 2 dims."""
    pieces = [("Hm, ", ""), ("let me see.", ""), ("", "A dog"), ("", ", I say.")]
    renderer = make_renderer(**options)
    assert renderer.stream(
        ResponsePiece(model=0, thought=thought, text=text) for thought, text in pieces
    )
    text = renderer.console.file.getvalue()
    dimmed = "\x1b[2mthought> Hm, \x1b[0m" if options else "thought> Hm, "
    assert text.startswith(dimmed)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split()
    assert " ".join(plain).startswith("thought> Hm, let me see. bot> A dog, I say.")


def test_columns_show_the_thought_of_each_response():
    pieces = [(0, "Hm.", ""), (1, "", "A cat."), (0, "", "A dog.")]
    stream = (ResponsePiece(model=i, thought=thought, text=text) for i, thought, text in pieces)
    renderer = make_renderer()
    assert renderer.side_by_side(stream, ["one", "two"], [0, 1])
    assert renderer.console.file.getvalue().split("\n")[:3] == [
        "one thought> Hm.",
        "one> A dog.",
        "two> A cat.",
    ]


def test_single_prompt_prints_thought_on_stderr(folder, run_chat):
    printed = run_chat(str(folder), "--temperature", "0", "--prompt", "Who is it?")
    assert printed.out == f"{TEXT}\n"
    assert f"thought> {THOUGHT}\n" in printed.err


def test_thought_is_saved_rated_and_inspected(folder, tmp_path):
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
    terminal.wait_for("stored in")
    terminal.send("/why\n")
    terminal.wait_for("reward so far")
    terminal.wait_for("</think>")
    terminal.wait_for("you> ")
    terminal.send(f"/load {saved}\n")
    terminal.wait_for(f"thought: {THOUGHT}")
    terminal.wait_for(f"assistant: {TEXT}")
    terminal.send("/quit\n")
    assert terminal.status() == 0
    reply = json.loads(saved.read_text())["messages"][1]
    assert reply == {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT}
    with LabelStore(store) as opened:
        assert [row["completion"] for row in rows_of(opened, "thumbs").rows] == [WHOLE]


def test_prefix_rewards_ignore_the_thought(model, tmp_path):
    """Inside the thought and its tags the response is empty, so its reward is constant."""
    save_reward_model(tmp_path / "rm", new_reward_model(model.name, seed=0), model.chat, 0.5, 2.0)
    talk = Conversation(models=[model], sampling=Sampling(temperature=0.0))
    list(talk.send("Who is it?"))
    ids = talk.responses[0].ids
    pieces = [token_text(model, token).text for token in ids]
    assert pieces == ["<think>", "Hm, ", "let me ", "see.", "</think>", "A dog", ", I say."]
    rewards = prefix_rewards(RewardModel(tmp_path / "rm"), model, "Who is it?", ids)
    assert all(math.isfinite(value) for value in rewards)
    assert len({round(value, 5) for value in rewards[:5]}) == 1
    assert len(token_differences([model, model], prompt_ids(model.chat, "Who is it?"), ids)) == 7
