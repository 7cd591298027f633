"""Calls of tools in the text of a response, in the forms of several templates."""

import json
from pathlib import Path

import pytest
import trl

from rlhf.chat.loading import load_chat_model
from rlhf.chat.tool_calls import ToolCallForm, ToolCallReader, tool_call_form
from rlhf.data.tokenization.tokenizer import load_tokenizer
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "Who is it?"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
HERMES = ToolCallForm(
    before="<tool_call>\n",
    after="\n</tool_call>",
    name_key="name",
    arguments_key="arguments",
    marker="<tool_call>",
)
LLAMA = ToolCallForm(before="", after="", name_key="name", arguments_key="parameters", marker="")
MISTRAL = ToolCallForm(
    before="[TOOL_CALLS] [", after="]", name_key="name", arguments_key="arguments",
    marker="[TOOL_CALLS]",
)  # fmt: skip
ONE = '{"name": "look", "arguments": {"at": "sea"}}'
TWO = '{"name": "listen", "arguments": "{}"}'
SEA, NOTHING = ("look", {"at": "sea"}), ("listen", {})


@pytest.mark.parametrize(
    ("family", "template", "form"),
    [
        ("qwen2", "qwen2_5", HERMES),
        ("qwen2", "qwen3", HERMES),
        ("llama", "llama3_2", LLAMA),
        ("qwen2", "qwen3_5_nothink", None),  # XML
        ("gemma", "gemma", None),  # renders no calls
    ],
)
def test_form_is_read_off_the_template(tmp_path, family, template, form):
    folder = make_model(tmp_path / family, family)
    file = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    assert tool_call_form(load_tokenizer(str(folder), str(file))) == form


@pytest.mark.parametrize(
    ("form", "text", "content", "calls"),
    [
        (HERMES, f"<tool_call>\n{ONE}\n</tool_call>", "", [SEA]),
        (HERMES, f"I look.\n\n<tool_call>\n{ONE}\n</tool_call>\n", "I look.", [SEA]),
        (
            HERMES,
            f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>",
            "",
            [SEA, NOTHING],
        ),
        (HERMES, f"<tool_call>{ONE}", "", [SEA]),  # an EOS in place of the end
        (MISTRAL, f"[TOOL_CALLS] [{ONE}, {TWO}]", "", [SEA, NOTHING]),
        (LLAMA, ONE.replace("arguments", "parameters"), "", [SEA]),
        # No calls: the text stays as it is.
        (HERMES, "a < b, <tool", "a < b, <tool", []),
        (HERMES, "<tool_call>\n{broken\n</tool_call>", "<tool_call>\n{broken\n</tool_call>", []),
        (HERMES, f"<tool_call>{ONE} and more", f"<tool_call>{ONE} and more", []),
        (
            HERMES,
            '<tool_call>{"name": 3, "arguments": {}}',
            '<tool_call>{"name": 3, "arguments": {}}',
            [],
        ),
        (HERMES, f"{ONE} ", f"{ONE} ", []),  # without its marker
        (LLAMA, '{"name": "sing", "parameters": {}}', '{"name": "sing", "parameters": {}}', []),
        (LLAMA, " {1}", " {1}", []),
        (LLAMA, "Sea.", "Sea.", []),
        (LLAMA, "", "", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_separated_for_any_pieces(form, text, content, calls, size):
    """The text comes in pieces of `size` characters, as in a stream."""
    reader = ToolCallReader(form=form, names=["look", "listen"])
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    read = "".join(reader.add(piece, last=False) for piece in pieces) + reader.add("", last=True)
    assert read == content
    assert [(call.name, call.arguments) for call in reader.calls] == calls


def test_text_is_emitted_before_the_response_ends():
    """What may become a marker, and space before it, is held back."""
    reader = ToolCallReader(form=HERMES, names=["look"])
    assert [reader.add(piece, last=False) for piece in ("I look", ". ", "<", "3", " <tool_")] == [
        "I look", ".", "", " <3", ""
    ]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    call = f"\n{ONE}\n"
    scripts = {"calls": ["<tool_call>", call, "</tool_call>"], "speaks": ["I see", " a dog."]}
    models = {
        name: load_chat_model(str(make_scripted(folder / name, script=script)))
        for name, script in scripts.items()
    }
    with serving(tmp_path_factory.mktemp("site"), models) as site:
        yield site


def complete(site, **fields):
    body = {"messages": MESSAGES, "temperature": 0, "tools": [TOOL], **fields}
    return site.client().chat.completions.create(**body)


def test_call_is_a_field_of_the_message(site):
    choice = complete(site, model="calls", logprobs=True).choices[0]
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "look")
    assert json.loads(call.function.arguments) == {"at": "sea"}
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"
    assert len(choice.logprobs.content) == 3


def test_call_is_streamed_whole(site):
    choices = [event.choices[0] for event in complete(site, model="calls", stream=True)]
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert [(call.index, call.function.name) for call in calls] == [(0, "look")]
    assert not "".join(choice.delta.content or "" for choice in choices)
    assert choices[-1].finish_reason == "tool_calls"


def test_message_with_a_call_can_be_sent_back(site):
    message = complete(site, model="calls").choices[0].message
    result = {"role": "tool", "content": "Fog.", "tool_call_id": message.tool_calls[0].id}
    talk = [*MESSAGES, message, result]
    assert complete(site, model="speaks", messages=talk).choices[0].message.content


@pytest.mark.parametrize(
    "changes", [{"model": "speaks"}, {"model": "calls", "tool_choice": "none"}]
)
def test_text_without_a_call_stays_content(site, changes):
    choice = complete(site, **changes).choices[0]
    expected = (
        "I see a dog." if changes["model"] == "speaks" else f"<tool_call>\n{ONE}\n</tool_call>"
    )
    assert choice.message.content == expected
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    pieces = [
        event.choices[0].delta.content or "" for event in complete(site, stream=True, **changes)
    ]
    assert "".join(pieces) == expected


def test_call_that_is_cut_off_is_text(site):
    choice = complete(site, model="calls", max_tokens=1).choices[0]
    assert choice.message.content == "<tool_call>"
    assert choice.finish_reason == "length"
