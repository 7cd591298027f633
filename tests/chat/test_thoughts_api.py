"""Thoughts, template variables and tools in /v1/chat/completions."""

import json

import httpx
import openai
import pytest

from rlhf.chat.loading import load_chat_model
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted
from tests.tiny_models import make_model

MESSAGES = [{"role": "user", "content": "Who is it?"}]
THOUGHT, TEXT = "Hm, let me see.", "A dog, I say."
REPLY = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT}
TOOL_CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at": "sea"}'},
}
NO_THOUGHT = {"chat_template_kwargs": {"enable_thinking": False}}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`thinker` opens its thought; the prompt of `opened` ends inside one; `plain` has none."""
    folder = tmp_path_factory.mktemp("models")
    script = ["Hm, ", "let me ", "see.", "</think>", "A dog", ", I say."]
    return {
        "thinker": load_chat_model(str(make_scripted(folder / "thinker"))),
        "opened": load_chat_model(str(make_scripted(folder / "opened", "qwen3_5_think", script))),
        "plain": load_chat_model(str(make_model(folder / "plain", "qwen2"))),
    }


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), models) as site:
        yield site


def complete(site, **fields):
    body = {"model": "thinker", "messages": MESSAGES, "temperature": 0, **fields}
    return site.client().chat.completions.create(**body)


def error_of(site, **fields) -> dict:
    """The error of a request that returns 400."""
    body = {"model": "thinker", "messages": MESSAGES, **fields}
    reply = httpx.post(f"{site.address}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 400
    return reply.json()["error"]


@pytest.mark.parametrize(("model", "before"), [("thinker", 5), ("opened", 4)])
def test_thought_is_a_separate_field(site, model, before):
    """Tokens: <think> (if the model opens it), three of the thought, </think>, two of the text."""
    whole = complete(site, model=model)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, TEXT)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == before + 2
    assert whole.usage.completion_tokens_details.reasoning_tokens == before


@pytest.mark.parametrize("model", ["thinker", "opened"])
def test_stream_has_thought_first_and_no_tags(site, model):
    events = complete(site, model=model, stream=True, stream_options={"include_usage": True})
    events = list(events)
    deltas = [event.choices[0].delta for event in events if event.choices]
    pieces = [
        (kind, text)
        for delta in deltas
        for kind in ("reasoning_content", "content")
        if (text := getattr(delta, kind, None))
    ]
    assert pieces == [
        ("reasoning_content", "Hm,"),  # trailing space is held back until the next token
        ("reasoning_content", " let me"),
        ("reasoning_content", " see."),
        ("content", "A dog"),
        ("content", ", I say."),
    ]
    assert events[-1].usage == complete(site, model=model).usage


def test_response_cut_off_in_its_thought_has_no_content(site):
    whole = complete(site, max_tokens=3)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm, let me", "")
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens_details.reasoning_tokens == 3


def test_model_without_thoughts_has_null_field(site):
    whole = complete(site, model="plain", max_tokens=8)
    assert whole.choices[0].message.reasoning_content is None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 0


def test_stop_texts_apply_to_the_response(site):
    """ "let" is in the thought alone."""
    whole = complete(site, stop=["let", " I"])
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, "A dog,")


def test_logprobs_of_thought_and_response_are_separate(site):
    """The bytes of the response's tokens are its text; the tags are with the thought."""
    logprobs = complete(site, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert [one.token for one in logprobs.content] == ["A dog", ", I say."]
    assert [one["token"] for one in logprobs.reasoning_content] == [
        "<think>",
        "Hm, ",
        "let me ",
        "see.",
        "</think>",
    ]
    streamed = [e for e in complete(site, logprobs=True, stream=True) if e.choices[0].logprobs]
    content = [one.token for e in streamed for one in e.choices[0].logprobs.content]
    assert content == ["A dog", ", I say."]


def test_request_template_variables_apply_to_prompt_and_response(site, models):
    """The prompt then closes the thought, and all that the model generates is the response; the tag
    that it generates after "see." is not text."""
    whole = complete(site, model="opened", extra_body=NO_THOUGHT)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (None, "Hm, let me see.A dog, I say.")
    rendered = models["opened"].chat.tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, enable_thinking=False
    )
    assert whole.usage.prompt_tokens == len(rendered["input_ids"])
    assert complete(site, model="opened").choices[0].message.reasoning_content == THOUGHT


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [
        ({"tokenize": True}, "'tokenize'"),
        ({"messages": []}, "'messages'"),
        ({"two words": 1}, "'two words'"),
        ({"name": ["<|im_end|>"]}, "'<|im_end|>'"),
        ({"name": {"a": "<|im_start|>"}}, "'<|im_start|>'"),
    ],
)
def test_invalid_template_variable_returns_400(site, kwargs, name):
    error = error_of(site, chat_template_kwargs=kwargs)
    assert name in error["message"]
    assert error["param"] == "chat_template_kwargs"


def prompt_tokens(site, **fields) -> int:
    return complete(site, max_tokens=1, **fields).usage.prompt_tokens


def rendered_tokens(models, messages, **kwargs) -> int:
    """Tokens of the prompt with transformers' chat template."""
    tokenizer = models["thinker"].chat.tokenizer
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **kwargs)["input_ids"]
    return len(ids)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_of_the_history_are_rendered_by_the_template(site, models, field):
    """Qwen3 drops the thought of a message that a user's message follows, and keeps it before a
    tool's."""
    reply = {"role": "assistant", "content": TEXT, field: THOUGHT}
    talk = [*MESSAGES, reply, *MESSAGES]
    assert prompt_tokens(site, messages=talk) == rendered_tokens(
        models, [*MESSAGES, REPLY, *MESSAGES]
    )
    plain = [*MESSAGES, {"role": "assistant", "content": TEXT}, *MESSAGES]
    assert prompt_tokens(site, messages=talk) == prompt_tokens(site, messages=plain)
    called = {**reply, "tool_calls": [TOOL_CALL]}
    result = {"role": "tool", "content": "Fog.", "tool_call_id": "1"}
    rendered_call = {
        **REPLY,
        "tool_calls": [{**TOOL_CALL, "function": {"name": "look", "arguments": {"at": "sea"}}}],
    }
    expected = rendered_tokens(
        models, [*MESSAGES, rendered_call, {"role": "tool", "content": "Fog."}], tools=[TOOL]
    )
    assert prompt_tokens(site, messages=[*MESSAGES, called, result], tools=[TOOL]) == expected


def test_response_with_thought_can_be_sent_back_unchanged(site):
    message = complete(site).choices[0].message.model_dump()
    assert message["reasoning_content"] == THOUGHT
    assert (
        complete(site, messages=[*MESSAGES, message, *MESSAGES]).choices[0].message.content == TEXT
    )


def test_tool_call_without_content_and_empty_result_are_accepted(site):
    called = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    for result in ("Fog.", ""):
        talk = [*MESSAGES, called, {"role": "tool", "content": result, "tool_call_id": "1"}]
        assert complete(site, messages=talk, tools=[TOOL]).choices[0].message.content == TEXT


def test_tools_reach_the_template_unless_tool_choice_is_none(site, models):
    assert prompt_tokens(site, tools=[TOOL]) == rendered_tokens(models, MESSAGES, tools=[TOOL])
    assert prompt_tokens(site, tools=[TOOL], tool_choice="none") == rendered_tokens(
        models, MESSAGES
    )


@pytest.mark.parametrize(
    ("model", "changes", "param"),
    [
        ("plain", {"messages": [*MESSAGES, REPLY, *MESSAGES]}, "messages[1].reasoning_content"),
        (
            "plain",
            {
                "messages": [
                    *MESSAGES,
                    {**REPLY, "reasoning_content": "", "tool_calls": [TOOL_CALL]},
                    *MESSAGES,
                ]
            },
            "messages[1].tool_calls",
        ),
        ("plain", {"tools": [TOOL]}, "tools"),
        (
            "thinker",
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ("thinker", {"messages": [{**MESSAGES[0], "reasoning": "x"}]}, "messages[0].reasoning"),
        (
            "thinker",
            {"messages": [{**MESSAGES[0], "tool_call_id": "1"}]},
            "messages[0].tool_call_id",
        ),
        (
            "thinker",
            {"messages": [*MESSAGES, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "messages[1]",
        ),
    ],
)  # fmt: skip
def test_field_ignored_by_the_template_returns_400(site, model, changes, param):
    assert error_of(site, model=model, **changes)["param"] == param


@pytest.mark.parametrize("place", ["tools", "messages[1]", "chat_template_kwargs"])
def test_text_that_is_not_utf8_returns_400(site, place):
    changes = {
        "tools": {"tools": [{"type": "function", "function": {"name": "\ud800"}}]},
        "messages[1]": {
            "messages": [*MESSAGES, {**REPLY, "reasoning_content": "\ud800"}, *MESSAGES]
        },
        "chat_template_kwargs": {"chat_template_kwargs": {"name": "\ud800"}},
    }[place]
    body = json.dumps({"model": "thinker", "messages": MESSAGES, **changes})
    headers = {"content-type": "application/json"}
    url = f"{site.address}/v1/chat/completions"
    reply = httpx.post(url, content=body, headers=headers, timeout=240)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, place)


def test_text_completions_keep_tags_as_text(site):
    """They continue a text and have no thoughts."""
    body = {"model": "thinker", "prompt": "Hi\n", "temperature": 0}
    completion = site.client().completions.create(**body)
    assert completion.choices[0].text == "<think>Hm, let me see.</think>A dog, I say."


def test_template_variables_without_a_template_return_400(tmp_path):
    raw = load_chat_model(str(make_model(tmp_path / "raw", "qwen2")), chat_template="none")
    with (
        serving(tmp_path, {"raw": raw}) as site,
        pytest.raises(openai.BadRequestError, match="this model has no chat template"),
    ):
        complete(site, model="raw", extra_body=NO_THOUGHT)


def page_post(site, route: str, **body) -> dict:
    reply = httpx.post(f"{site.address}/page/{route}", json=body, timeout=240)
    assert reply.status_code == 200
    return reply.json()


@pytest.mark.parametrize(
    ("thought", "text", "tokens"),
    [
        (THOUGHT, TEXT, f"<think>\n{THOUGHT}\n</think>\n\n{TEXT}"),
        ("Hm, let me", "", "<think>\nHm, let me"),
        ("", TEXT, f"<think>\n\n</think>\n\n{TEXT}"),
    ],
)
def test_page_tokenizes_a_response_as_the_template_renders_it(site, thought, text, tokens):
    """A thought that was cut off stays open."""
    response = f"<think>\n{thought}\n</think>\n\n{text}" if thought else text
    tokens_reply = page_post(site, "tokens", model="thinker", messages=MESSAGES, response=response)
    assert "".join(one["text"] for one in tokens_reply["response"]) == tokens
    assert (tokens_reply["thought"], tokens_reply["text"]) == (thought, text)


@pytest.mark.parametrize(
    ("prefix", "thought", "text"),
    [(["<think>"], "Hm, let me see.", TEXT), (["<think>", "let me "], " see.", TEXT)],
)
def test_page_continues_from_tokens_of_a_thought(site, models, prefix, thought, text):
    """The prefix is not repeated; the space after "let me" comes with the next token."""
    ids = models["thinker"].chat.tokenizer.convert_tokens_to_ids(prefix)
    body = {"model": "thinker", "messages": MESSAGES, "temperature": 0, "ids": ids}
    message = page_post(site, "go_on", **body)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == (thought, text)
