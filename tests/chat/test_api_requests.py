"""Requests that the API accepts and rejects."""

import json

import httpx
import openai
import pytest

from tests.chat.chat_server import MESSAGES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens=65 is above this server's limit of 64"),
        ({"n": 17}, "n:"),
        ({"n": "two"}, "n:"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 3}, "temperature: got 3; should be less than or equal to 2"),
        ({"frequency_penalty": 2.5}, "frequency_penalty"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"logit_bias": {"340": 1}}, "logit_bias: '340' is no token id below 340"),
        ({"logit_bias": {"dog": 1}}, "logit_bias: 'dog' is no token id below 340"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tools": [{"type": "function"}]}, "tools is ignored by this model's chat template"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "the prompt is empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]: image_url parts are not supported",
        ),
        ({"messages": [{"role": "user", "content": "a \ud800"}]}, "UTF-8"),
        ({"messages": [{"role": "user", "content": "red ball " * 9000}]}, "8192"),
        ({"surprise": 1}, "surprise"),
        ({"messages": [{**MESSAGES[0], "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls"),
    ],
)
def test_invalid_request_is_rejected_with_its_reason(site, changes, message):
    body = {"model": "tiny", "messages": MESSAGES, **changes}
    reply = httpx.post(
        f"{site.address}/v1/chat/completions",
        content=json.dumps(body),
        headers={"content-type": "application/json"},
        timeout=240,
    )
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_response_can_be_sent_back_unchanged(client):
    """`messages.append(completion.choices[0].message)`, as in OpenAI's guide."""
    options = {"model": "tiny", "temperature": 0, "max_tokens": 4}
    message = client.chat.completions.create(messages=MESSAGES, **options).choices[0].message
    again = {"role": "user", "content": "And a dog?"}
    sent_back = client.chat.completions.create(messages=[*MESSAGES, message, again], **options)
    plain = {"role": "assistant", "content": message.content}
    expected = client.chat.completions.create(messages=[*MESSAGES, plain, again], **options)
    assert sent_back.choices[0].message.content == expected.choices[0].message.content
    assert sent_back.usage.prompt_tokens == expected.usage.prompt_tokens
    full = {**plain, "refusal": None, "annotations": [], "audio": None, "tool_calls": None}
    with_empty_fields = client.chat.completions.create(messages=[*MESSAGES, full, again], **options)
    assert with_empty_fields.usage.prompt_tokens == expected.usage.prompt_tokens


def test_neutral_fields_are_accepted(client):
    completion = client.chat.completions.create(
        model="tiny",
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            *MESSAGES,
        ],
        max_tokens=2,
        frequency_penalty=0,
        logit_bias={},
        response_format={"type": "text"},
        user="ann",
    )
    assert completion.usage.completion_tokens <= 2


def test_unknown_model_and_token_ids_are_rejected(client):
    with pytest.raises(openai.NotFoundError, match="unknown model 'other'; this server has tiny"):
        client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="beyond the model's 340 tokens"):
        client.completions.create(model="tiny", prompt=[3, 340])
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.completions.create(model="tiny", prompt=[])
