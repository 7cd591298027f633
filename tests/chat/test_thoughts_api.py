"""Thoughts, template variables and tools in /v1/chat/completions."""

import json

import httpx
import openai
import pytest

from rlhf.chat.loading import load_chat_model
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted
from tests.tiny_models import make_model

ASKED = [{"role": "user", "content": "Who is it?"}]
THOUGHT, TEXT = "Hm, let me see.", "A dog, I say."
SAID = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sea"}'}}
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
    """`asked` opens a thought itself; the prompt of `opened` ends inside one; `plain` has none."""
    folder = tmp_path_factory.mktemp("models")
    script = ["Hm, ", "let me ", "see.", "</think>", "A dog", ", I say."]
    return {
        "asked": load_chat_model(str(make_scripted(folder / "asked"))),
        "opened": load_chat_model(str(make_scripted(folder / "opened", "qwen3_5_think", script))),
        "plain": load_chat_model(str(make_model(folder / "plain", "qwen2"))),
    }


@pytest.fixture(scope="module")
def site(models, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site"), models) as site:
        yield site


def answer(site, **how):
    body = {"model": "asked", "messages": ASKED, "temperature": 0, **how}
    return site.client().chat.completions.create(**body)


def rejected(site, **how) -> dict:
    """The error of a request that is a 400."""
    body = {"model": "asked", "messages": ASKED, **how}
    reply = httpx.post(f"{site.address}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 400
    return reply.json()["error"]


@pytest.mark.parametrize(("model", "before"), [("asked", 5), ("opened", 4)])
def test_the_thought_is_a_field_of_its_own(site, model, before):
    """Tokens: <think> (of one that opens it), three of the thought, </think>, two of the text."""
    whole = answer(site, model=model)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, TEXT)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == before + 2
    assert whole.usage.completion_tokens_details.reasoning_tokens == before


@pytest.mark.parametrize("model", ["asked", "opened"])
def test_a_stream_gives_the_thought_first_and_no_tag(site, model):
    events = answer(site, model=model, stream=True, stream_options={"include_usage": True})
    events = list(events)
    deltas = [event.choices[0].delta for event in events if event.choices]
    said = [
        (kind, text)
        for delta in deltas
        for kind in ("reasoning_content", "content")
        if (text := getattr(delta, kind, None))
    ]
    assert said == [
        ("reasoning_content", "Hm,"),  # what a thought ends with is only known with the next one
        ("reasoning_content", " let me"),
        ("reasoning_content", " see."),
        ("content", "A dog"),
        ("content", ", I say."),
    ]
    assert events[-1].usage == answer(site, model=model).usage


def test_an_answer_that_is_cut_off_in_its_thought_has_no_content(site):
    whole = answer(site, max_tokens=3)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm, let me", "")
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens_details.reasoning_tokens == 3


def test_a_model_without_thoughts_has_none(site):
    whole = answer(site, model="plain", max_tokens=8)
    assert whole.choices[0].message.reasoning_content is None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 0


def test_stop_texts_apply_to_the_response(site):
    """ "let" is in the thought alone."""
    whole = answer(site, stop=["let", " I"])
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, "A dog,")


def test_log_probabilities_of_thought_and_response_are_apart(site):
    """The bytes of the response's tokens are its text; the tags are with the thought."""
    found = answer(site, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert [one.token for one in found.content] == ["A dog", ", I say."]
    assert [one["token"] for one in found.reasoning_content] == [
        "<think>",
        "Hm, ",
        "let me ",
        "see.",
        "</think>",
    ]
    streamed = [e for e in answer(site, logprobs=True, stream=True) if e.choices[0].logprobs]
    content = [one.token for e in streamed for one in e.choices[0].logprobs.content]
    assert content == ["A dog", ", I say."]


def test_template_variables_of_a_request_reach_prompt_and_answer(site, models):
    """The prompt then closes the thought, and what this model writes is all response; the tag
    that it writes after "see." is no text."""
    whole = answer(site, model="opened", extra_body=NO_THOUGHT)
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == (None, "Hm, let me see.A dog, I say.")
    rendered = models["opened"].chat.tokenizer.apply_chat_template(
        ASKED, add_generation_prompt=True, enable_thinking=False
    )
    assert whole.usage.prompt_tokens == len(rendered["input_ids"])
    assert answer(site, model="opened").choices[0].message.reasoning_content == THOUGHT


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"tokenize": True}, "'tokenize' is no variable of a chat template"),
        ({"messages": []}, "'messages' is no variable"),
        ({"two words": 1}, "'two words' is no variable"),
        ({"name": ["<|im_end|>"]}, "'<|im_end|>' is a control token"),
        ({"name": {"a": "<|im_start|>"}}, "'<|im_start|>' is a control token"),
    ],
)
def test_what_is_no_template_variable_is_a_400(site, kwargs, said):
    error = rejected(site, chat_template_kwargs=kwargs)
    assert said in error["message"]
    assert error["param"] == "chat_template_kwargs"


def prompt_tokens(site, **how) -> int:
    return answer(site, max_tokens=1, **how).usage.prompt_tokens


def rendered(models, messages, **how) -> int:
    """Tokens of the prompt by plain transformers."""
    tokenizer = models["asked"].chat.tokenizer
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **how)["input_ids"]
    return len(ids)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_of_a_conversation_are_what_the_template_makes_of_them(site, models, field):
    """Qwen3 drops the thought of a turn that a user's turn follows, and keeps it where a tool's
    does."""
    said = {"role": "assistant", "content": TEXT, field: THOUGHT}
    talk = [*ASKED, said, *ASKED]
    assert prompt_tokens(site, messages=talk) == rendered(models, [*ASKED, SAID, *ASKED])
    plain = [*ASKED, {"role": "assistant", "content": TEXT}, *ASKED]
    assert prompt_tokens(site, messages=talk) == prompt_tokens(site, messages=plain)
    called = {**said, "tool_calls": [CALL]}
    result = {"role": "tool", "content": "Fog.", "tool_call_id": "1"}
    kept = {
        **SAID,
        "tool_calls": [{**CALL, "function": {"name": "look", "arguments": {"at": "sea"}}}],
    }
    wanted = rendered(models, [*ASKED, kept, {"role": "tool", "content": "Fog."}], tools=[TOOL])
    assert prompt_tokens(site, messages=[*ASKED, called, result], tools=[TOOL]) == wanted


def test_an_answer_can_be_sent_back_as_it_came(site):
    message = answer(site).choices[0].message.model_dump()
    assert message["reasoning_content"] == THOUGHT
    assert answer(site, messages=[*ASKED, message, *ASKED]).choices[0].message.content == TEXT


def test_a_tool_call_may_come_without_content_and_a_result_without_text(site):
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    for result in ("Fog.", ""):
        talk = [*ASKED, called, {"role": "tool", "content": result, "tool_call_id": "1"}]
        assert answer(site, messages=talk, tools=[TOOL]).choices[0].message.content == TEXT


def test_tools_reach_the_template_unless_none_may_be_called(site, models):
    assert prompt_tokens(site, tools=[TOOL]) == rendered(models, ASKED, tools=[TOOL])
    assert prompt_tokens(site, tools=[TOOL], tool_choice="none") == rendered(models, ASKED)


@pytest.mark.parametrize(
    ("model", "changes", "param"),
    [
        ("plain", {"messages": [*ASKED, SAID, *ASKED]}, "messages[1].reasoning_content"),
        (
            "plain",
            {"messages": [*ASKED, {**SAID, "reasoning_content": "", "tool_calls": [CALL]}, *ASKED]},
            "messages[1].tool_calls",
        ),
        ("plain", {"tools": [TOOL]}, "tools"),
        ("asked", {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ("asked", {"messages": [{**ASKED[0], "reasoning": "x"}]}, "messages[0].reasoning"),
        ("asked", {"messages": [{**ASKED[0], "tool_call_id": "1"}]}, "messages[0].tool_call_id"),
        (
            "asked",
            {"messages": [*ASKED, {"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "messages[1]",
        ),
    ],
)  # fmt: skip
def test_what_the_template_leaves_out_is_a_400_by_name(site, model, changes, param):
    assert rejected(site, model=model, **changes)["param"] == param


@pytest.mark.parametrize("place", ["tools", "messages[1]", "chat_template_kwargs"])
def test_text_that_is_not_utf_8_is_a_400_wherever_it_is(site, place):
    changes = {
        "tools": {"tools": [{"type": "function", "function": {"name": "\ud800"}}]},
        "messages[1]": {"messages": [*ASKED, {**SAID, "reasoning_content": "\ud800"}, *ASKED]},
        "chat_template_kwargs": {"chat_template_kwargs": {"name": "\ud800"}},
    }[place]
    body = json.dumps({"model": "asked", "messages": ASKED, **changes})
    headers = {"content-type": "application/json"}
    url = f"{site.address}/v1/chat/completions"
    reply = httpx.post(url, content=body, headers=headers, timeout=240)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, place)


def test_raw_completions_keep_tags_as_text(site):
    """They continue a text, and have no thoughts."""
    how = {"model": "asked", "prompt": "Hi\n", "temperature": 0}
    found = site.client().completions.create(**how)
    assert found.choices[0].text == "<think>Hm, let me see.</think>A dog, I say."


def test_template_variables_need_a_template(tmp_path):
    raw = load_chat_model(str(make_model(tmp_path / "raw", "qwen2")), chat_template="none")
    with (
        serving(tmp_path, {"raw": raw}) as site,
        pytest.raises(openai.BadRequestError, match="this model has no chat template"),
    ):
        answer(site, model="raw", extra_body=NO_THOUGHT)


def look(site, route: str, **body) -> dict:
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
def test_the_page_cuts_an_answer_as_the_template_writes_it(site, thought, text, tokens):
    """A thought that was cut off stays open."""
    answer = f"<think>\n{thought}\n</think>\n\n{text}" if thought else text
    found = look(site, "tokens", model="asked", messages=ASKED, answer=answer)
    assert "".join(one["text"] for one in found["answer"]) == tokens
    assert (found["thought"], found["text"]) == (thought, text)


@pytest.mark.parametrize(
    ("begun", "thought", "text"),
    [(["<think>"], "Hm, let me see.", TEXT), (["<think>", "let me "], " see.", TEXT)],
)
def test_the_page_goes_on_from_tokens_of_a_thought(site, models, begun, thought, text):
    """The pieces are what follows; the space after "let me" is part of the next one."""
    ids = models["asked"].chat.tokenizer.convert_tokens_to_ids(begun)
    body = {"model": "asked", "messages": ASKED, "temperature": 0, "ids": ids}
    message = look(site, "go_on", **body)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == (thought, text)
