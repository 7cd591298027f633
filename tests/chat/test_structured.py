"""Responses that follow a grammar: JSON of a schema, and calls of a tool."""

import json
from dataclasses import replace

import httpx
import openai
import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted
from tests.tiny_models import make_model

pytest.importorskip("llguidance", reason="constrained decoding needs rlhf[structured]")

MESSAGES = [{"role": "user", "content": "Who is it?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "animal": {"enum": ["cat", "dog"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 20},
        "tags": {"type": "array", "items": {"enum": ["wild", "tame"]}, "maxItems": 2},
    },
    "required": ["animal", "age", "tags"],
    "additionalProperties": False,
}
ONE = {
    "type": "object",
    "properties": {"a": {"const": 1}},
    "required": ["a"],
    "additionalProperties": False,
}
PLACE = {
    "type": "object",
    "properties": {"at": {"const": "sea"}},
    "required": ["at"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": PLACE}}
    for name in ("look", "listen")
]


def formatted(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """`plain` has random weights, `thinker` a thought and an answer; the prompt opens the thought
    of `opened`."""
    folder = tmp_path_factory.mktemp("models")
    script = ["Hm, ", "let me ", "see.", "</think>", "A dog", ", I say."]
    models = {
        "plain": load_chat_model(str(make_model(folder / "plain", "qwen2"))),
        "thinker": load_chat_model(str(make_scripted(folder / "thinker"))),
        "opened": load_chat_model(str(make_scripted(folder / "opened", "qwen3_5_think", script))),
    }
    models = {name: replace(model, positions=100_000) for name, model in models.items()}
    limits = Limits(slots=4, waiting=64, max_new_tokens=200)
    with serving(tmp_path_factory.mktemp("site"), models, limits=limits) as site:
        yield site


def complete(site, model="plain", **fields):
    body = {"model": model, "messages": MESSAGES, "max_tokens": 200, **fields}
    return site.client().chat.completions.create(**body)


def is_answer(text: str) -> bool:
    """Whether a text is JSON of SCHEMA, on one line."""
    answer = json.loads(text)
    assert text == json.dumps(answer)
    assert list(answer) == ["animal", "age", "tags"]
    assert answer["animal"] in ("cat", "dog")
    assert answer["age"] in range(21)
    return len(answer["tags"]) <= 2 and set(answer["tags"]) <= {"wild", "tame"}


def test_responses_fit_their_schema(site):
    """Sampled hot from random weights, four at a time: each has a grammar state of its own."""
    options = {"temperature": 2, "seed": 1, "n": 4, "response_format": formatted(SCHEMA)}
    whole = complete(site, **options)
    texts = [choice.message.content for choice in whole.choices]
    assert all(is_answer(text) for text in texts)
    assert len(set(texts)) > 1
    assert {choice.finish_reason for choice in whole.choices} == {"stop"}
    streamed = [""] * 4
    for event in complete(site, stream=True, **options):
        streamed[event.choices[0].index] += event.choices[0].delta.content or ""
    assert streamed == texts


def test_other_requests_are_free(site):
    plain = complete(site, temperature=1, seed=5).choices[0].message.content
    with_format = complete(site, temperature=1, seed=5, response_format=formatted(ONE))
    assert with_format.choices[0].message.content == '{"a": 1}'
    assert complete(site, temperature=1, seed=5).choices[0].message.content == plain


def test_json_object_is_an_object_of_any_keys(site):
    """Random weights rarely end it; what is cut off is the beginning of one."""
    message = complete(site, temperature=1, seed=1, response_format={"type": "json_object"})
    text, finish = message.choices[0].message.content, message.choices[0].finish_reason
    assert text.startswith("{")
    assert finish == "length" or isinstance(json.loads(text), dict)


def test_logprobs_are_those_without_the_grammar(site):
    """The model itself gives a forced token the probability of a random one, about 1 in 340."""
    choice = complete(site, temperature=0, logprobs=True, response_format=formatted(ONE)).choices[0]
    assert "".join(entry.token for entry in choice.logprobs.content) == '{"a": 1}'
    assert all(-9 < entry.logprob < -3 for entry in choice.logprobs.content)


@pytest.mark.parametrize("model", ["thinker", "opened"])
def test_thought_precedes_the_json(site, model):
    choice = complete(site, model, temperature=0, response_format=formatted(ONE)).choices[0]
    assert choice.message.reasoning_content == "Hm, let me see."
    assert choice.message.content == '{"a": 1}'
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"look", "listen"}),
        ({"type": "function", "function": {"name": "listen"}}, {"listen"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_required_tool_is_called(site, choice, names, stream):
    """The model's own script has no call in it."""
    options = {"tools": TOOLS, "tool_choice": choice, "temperature": 0, "stream": stream}
    answer = complete(site, "thinker", **options)
    if stream:
        choices = [event.choices[0] for event in answer]
        calls = [call for one in choices for call in one.delta.tool_calls or []]
        assert not "".join(one.delta.content or "" for one in choices)
        finish = choices[-1].finish_reason
    else:
        calls, finish = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
        assert answer.choices[0].message.content is None
    [call] = calls
    assert call.function.name in names
    assert json.loads(call.function.arguments) == {"at": "sea"}
    assert call.id.startswith("call_")
    assert finish == "tool_calls"


def test_json_or_a_call_where_both_are_asked_for(site):
    options = {"tools": TOOLS, "temperature": 0, "response_format": formatted(ONE)}
    message = complete(site, "thinker", **options).choices[0].message
    is_call = bool(message.tool_calls)
    assert is_call or message.content == '{"a": 1}'


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"response_format": formatted({"type": "strange"})}, "response_format", "strange"),
        (
            {"response_format": formatted({"not": {"type": "integer"}})},
            "response_format",
            "Unimplemented keys",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "json_schema is missing",
        ),
        ({"tool_choice": "required"}, "tool_choice", "tool_choice needs tools"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {"type": "function", "function": {"name": "smell"}},
                "model": "thinker",
            },
            "tool_choice",
            "'smell', but tools has look, listen",
        ),
        ({"tools": [{"type": "function"}], "model": "thinker"}, "tools[0]", "tools[0] is not a"),
    ],
)
def test_what_cannot_be_asked_for_is_named(site, changes, param, message):
    body = {"model": "plain", "messages": MESSAGES, **changes}
    reply = httpx.post(f"{site.address}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 400, reply.text
    assert message in reply.json()["error"]["message"]
    assert reply.json()["error"]["param"] == param


def test_parsed_response_of_openais_client(site):
    """`chat.completions.parse` sends the schema of a pydantic class and reads the answer."""
    from pydantic import BaseModel

    class Answer(BaseModel):
        brief: bool

    client: openai.OpenAI = site.client()
    parsed = client.chat.completions.parse(
        model="plain", messages=MESSAGES, response_format=Answer, max_tokens=32
    )
    assert isinstance(parsed.choices[0].message.parsed, Answer)
