"""`ChatModel`: responses, streams and conversations from Python."""

import json

import pytest
import torch

from rlhf.chat.model import ChatModel
from rlhf.data.tokenization.chat import decode, prompt_ids
from tests.chat.scripted_model import make_scripted
from tests.errors import raises
from tests.tiny_models import make_model

GREEDY = {"temperature": 0.0, "max_new_tokens": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def chat(folder):
    return ChatModel(folder)


def transformers_response(chat: ChatModel, prompt) -> str:
    """The greedy response of transformers' `generate` to the same ids."""
    loaded = chat.loaded
    ids = torch.tensor([prompt_ids(loaded.chat, prompt)])
    output = loaded.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=list(loaded.chat.eos_token_ids),
        pad_token_id=loaded.chat.pad_token_id,
    )
    return decode(loaded.chat, output[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize(
    "prompt",
    [
        "Where is the red ball?",
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "A cat?"}],
    ],
)
def test_greedy_response_equals_transformers_generate(chat, prompt):
    assert chat(prompt, **GREEDY) == transformers_response(chat, prompt) != ""


def test_stream_joins_to_the_response(chat):
    sampling = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 24, "seed": 7}
    pieces = list(chat.stream("A cat?", **sampling))
    assert len(pieces) > 3
    assert "".join(pieces) == chat("A cat?", **sampling)
    assert chat("A cat?", **{**sampling, "seed": 8}) != "".join(pieces)


def test_conversation_keeps_its_history(chat):
    session = chat.conversation("Be kind.", **GREEDY)
    first = session.send("A cat?")
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "A cat?"},
        {"role": "assistant", "content": first},
    ]
    assert session.messages == history
    next_prompt = [*history, {"role": "user", "content": "A dog?"}]
    assert "".join(session.stream("A dog?")) == chat(next_prompt, **GREEDY)
    assert len(session.messages) == 5
    assert session.dropped_turns == 0


def test_closed_stream_keeps_generated_text_in_history(chat):
    session = chat.conversation(**GREEDY)
    stream = session.stream("A cat?")
    text = next(stream) + next(stream)
    stream.close()
    assert session.messages[-1] == {"role": "assistant", "content": text}


def test_thought_is_in_the_history_and_not_in_the_response(tmp_path):
    chat = ChatModel(make_scripted(tmp_path))
    assert chat("Who is it?", temperature=0.0) == "A dog, I say."
    session = chat.conversation(temperature=0.0)
    assert session.send("Who is it?") == "A dog, I say."
    assert session.messages[-1]["content"].startswith("<think>\nHm, let me see.\n</think>")


def test_options_of_the_model_are_applied(folder):
    """A raw model continues the text."""
    raw = ChatModel(folder, chat_template="none", int8=True)
    assert raw.loaded.chat.raw
    assert raw.loaded.model.model.layers[0].mlp.up_proj.weight.dtype == torch.int8
    template = folder.parent / "template.jinja"
    template.write_text("{{ style }}: {% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}")
    styled = ChatModel(folder, chat_template=str(template), chat_template_kwargs={"style": "brief"})
    ids = prompt_ids(styled.loaded.chat, [{"role": "user", "content": "Hi"}])
    assert styled.loaded.chat.tokenizer.decode(ids).startswith("brief: Hi")


def test_invalid_prompts_and_settings_raise_before_the_first_piece(chat):
    with raises("bad-value", "empty"):
        chat.stream(" ")
    for prompt in ([], None, 3, [3], {"role": "user", "content": "Hi"}, ["Hi"]):
        with raises("bad-value", "prompt"):
            chat.stream(prompt)
    with raises("bad-value", "content"):
        chat([{"content": "Hi"}])
    with raises("bad-value", "dict"):
        chat([{"role": "user", "content": {}}])
    with raises("bad-value", "empty"):
        chat([{"role": "user"}])
    with raises("too-long", 256):
        chat.stream("red ball " * 300)
    with raises("bad-value", "temperature"):
        chat.stream("Hi", temperature=-1.0)
    for name, value in (("max_new_tokens", 0), ("max_new_tokens", 2.5), ("seed", "0")):
        with raises("bad-value", name):
            chat.conversation(**{name: value})
    with raises("bad-value", "temperature", "hot"):
        chat("Hi", temperature="hot")
    with raises("bad-value", "system"):
        chat.conversation(system=3)
    with raises("bad-value", "list"):
        chat.conversation().send(["Hi"])


def test_template_may_be_a_path_and_nothing_else(folder):
    template = folder.parent / "path.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}")
    assert ChatModel(folder, chat_template=template).loaded.chat.template_source == str(template)
    with raises("bad-value", "chat_template=3"):
        ChatModel(folder, chat_template=3)


def test_folder_without_a_policy_raises(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    with raises("not-a-model", tmp_path):
        ChatModel(tmp_path)
