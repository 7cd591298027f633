"""Responses behind an address: names, thoughts, lengths, ends."""

import pytest

from rlhf.rollouts import chat_server
from rlhf.rollouts.chat_server import ServedModel, parse_served, respond, served_models
from tests.errors import raises
from tests.rollouts.fake_chat_server import FakeChatServer


@pytest.fixture
def serve():
    servers = []

    def make(**keys):
        servers.append(FakeChatServer(**keys))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def response_of(server, **keys):
    served = ServedModel(address=server.address, model="x")
    return respond(served, "Why?", max_new_tokens=9, temperature=1.0, seed=3, **keys)


def test_address_with_a_model_is_a_served_model():
    served = parse_served("http://host:8000/v1#org/model")
    assert served == ServedModel(address="http://host:8000/v1", model="org/model")
    assert parse_served("runs/sft#2") is None
    for name in ("http://host:8000/v1", "https://host/v1#"):
        with raises("missing-key", name, "#MODEL"):
            parse_served(name)


def test_first_listed_model_is_the_default(serve):
    address = serve().address
    assert [each.model for each in served_models(address, [])] == ["first"]
    assert [each.model for each in served_models(address, ["y", "x"])] == ["y", "x"]


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (401, "set $OPENAI_API_KEY"),
        (404, "; use its whole address, such as http://127.0.0.1:8000/v1"),
    ],
)
def test_list_that_is_rejected_names_the_next_step(serve, status, step):
    address = serve(list_status=status).address
    with raises("engine-lost", address, status, step):
        served_models(address, [])


def test_https_to_a_plain_server_names_http(serve):
    address = serve().address.replace("http:", "https:")
    with raises("engine-lost", address, "try http://"):
        served_models(address, [])


@pytest.mark.parametrize(
    ("status", "step"), [(400, "the lengths"), (403, "set $OPENAI_API_KEY"), (503, "5 times")]
)
def test_rejected_request_names_the_next_step(serve, monkeypatch, status, step):
    monkeypatch.setattr(chat_server.time, "sleep", lambda seconds: None)
    server = serve(statuses=[status] * 5)
    with raises("engine-lost", server.address, status, step):
        response_of(server)


def test_response_has_the_servers_length_and_end(serve):
    """The fake server counts words and one token more: `x: Why?` is three."""
    whole = response_of(serve())
    assert (whole.text, whole.num_tokens, whole.ended) == ("x: Why?", 3, True)
    assert not response_of(serve(choice={"finish_reason": "length"})).ended


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "Hm.", "content": "So."},
        {"reasoning": "Hm.", "content": "So."},
        {"content": "<think>\nHm.\n</think>\n\nSo."},
    ],
)
def test_thought_is_not_part_of_the_text(serve, message):
    usage = {"completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 5}}
    response = response_of(serve(message=message, usage=usage))
    assert (response.thought, response.text) == ("Hm.", "So.")
    assert (response.num_tokens, response.thought_tokens) == (8, 5)
    assert response.response == "<think>\nHm.\n</think>\n\nSo."


def test_tools_and_template_variables_are_sent(serve):
    server = serve()
    tools = [{"type": "function", "function": {"name": "add"}}]
    response_of(server, tools=tools, template_kwargs={"enable_thinking": False})
    [(_, content)] = server.asked
    assert content["tools"] == tools
    assert content["chat_template_kwargs"] == {"enable_thinking": False}
    assert (content["seed"], content["top_p"]) == (3, 1.0)
