"""A judge behind an address: its fields are adapted to the server, its thought is not read."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.llm import read_verdict
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, AnonymousPair
from rlhf.evaluation.judges.remote import adapt_to_server, judge_of, remote_judge
from tests.errors import raises

PAIR = AnonymousPair(prompt="Where is the cup?", first="On the table.", second="Cup cup.")


def error(name, code="unsupported_parameter", **more):
    """Status 400 in OpenAI's format."""
    content = {"message": f"'{name}' is not taken", "param": name, "code": code, **more}
    return 400, {"error": {"type": "invalid_request_error", **content}}


def reply(content, finish="stop", **more):
    message = {"role": "assistant", "content": content, **more}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


@contextmanager
def judging(respond):
    """The address of a server that answers each body with `respond(body)`, and the bodies."""
    bodies = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            status, content, *headers = respond(body)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *words):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()


def judge_at(address, **keys):
    judge = judge_of(StudyConfig(llm_judge=address, llm_judge_model="big", **keys))
    assert judge is not None
    return judge


def adapt(respond, **keys):
    """The adapted judge's fields, the log, and every body that was sent."""
    log: list[str] = []
    with judging(respond) as (address, bodies):
        judge = adapt_to_server(judge_at(address, **keys), log.append)
    return judge.fields, log, bodies


def test_supported_fields_are_unchanged_after_one_request():
    fields, log, bodies = adapt(lambda body: reply("[[A]]"))
    assert fields == {"max_tokens": 512, "temperature": 0.0}
    assert log == []
    assert len(bodies) == 1


def reasoning_model(body):
    """As OpenAI's o3 and gpt-5."""
    if "max_tokens" in body:
        return error("max_tokens")
    if body.get("temperature", 1) != 1:
        return error("temperature", "unsupported_value")
    return reply("[[B]]")


def test_fields_are_adapted_to_a_reasoning_model():
    """After three trial requests each pair is sent once."""
    log: list[str] = []
    with judging(reasoning_model) as (address, bodies):
        judge = adapt_to_server(judge_at(address, llm_judge_max_tokens=900), log.append)
        assert remote_judge(judge, log.append)([PAIR, PAIR]) == [SECOND, SECOND]
    assert log == [
        "llm_judge big gets max_completion_tokens instead of max_tokens",
        "llm_judge big does not support temperature 0 and is used at its default temperature",
    ]
    assert len(bodies) == 3 + 2
    for body in bodies[2:]:
        assert sorted(body) == ["max_completion_tokens", "messages", "model"]
        assert body["max_completion_tokens"] == 900


def test_error_without_param_is_read_from_its_message():
    """A proxy in front of a reasoning model forwards only the message."""

    def proxy(body):
        status, content = reasoning_model(body)
        if status == 200:
            return status, content
        name = content["error"]["param"]
        message = f"UnsupportedParamsError: this model does not support {name}"
        return 400, {"error": {"message": message, "param": None, "code": "400"}}

    fields, log, _ = adapt(proxy)
    assert fields == {"max_completion_tokens": 512}
    assert len(log) == 2


def test_too_large_limit_is_not_an_unsupported_field():
    sentence = "max_tokens is too large: 512. This model supports at most 256 completion tokens"
    rejection = error("max_tokens", "invalid_value", message=sentence)
    with raises("judge-failed", "too large: 512", "llm_judge_max_tokens"):
        adapt(lambda body: rejection)


def test_temperature_of_the_user_is_not_removed():
    with raises("judge-failed", "'temperature' is not taken", "llm_judge_temperature"):
        adapt(reasoning_model, llm_judge_temperature=0.3)


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, ("401 Unauthorized no such key", "$OPENAI_API_KEY")),
        (404, ("404 Not Found no such key", "llm_judge_model=big")),
    ],
)
def test_wrong_key_or_model_raises_at_the_trial(monkeypatch, status, names):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with raises("judge-failed", *names):
        adapt(lambda body: (status, {"error": {"message": "no such key"}}))


def test_rejected_extra_field_names_its_key():
    with raises("judge-failed", "llm_judge_extra_body"):
        adapt(lambda body: error("guided"), llm_judge_extra_body='{"guided": 1}')


def test_truncated_trial_names_llm_judge_max_tokens():
    """gpt-5 with too few tokens: an empty reply, finish_reason length."""
    with raises("judge-failed", 512, "llm_judge_max_tokens"):
        adapt(lambda body: reply("", finish="length", reasoning_content="Hm, [[A]]"))


def test_server_of_another_kind_raises():
    with raises("judge-failed", '{"detail": "hello"}', "choices[0]"):
        adapt(lambda body: (200, {"detail": "hello"}))


def test_trial_without_verdict_logs_a_warning():
    _, log, _ = adapt(lambda body: reply("Both are nice."))
    assert log == ["warning: llm_judge big gave no verdict on a trial request: 'Both are nice.'"]


def test_truncated_replies_are_counted_and_have_no_verdict():
    log: list[str] = []

    def respond(body):
        long = "Cup cup." in body["messages"][0]["content"]
        return reply("<think>A is [[A]]", finish="length") if long else reply("[[A]]")

    with judging(respond) as (address, _):
        judge = adapt_to_server(judge_at(address), log.append)
        pairs = [PAIR, replace(PAIR, second="Under it.")]
        assert remote_judge(judge, log.append)(pairs) == [None, FIRST]
    assert log == [
        "warning: 1 of 2 replies of llm_judge were cut off at llm_judge_max_tokens=512 before a "
        "verdict and count as ties; raise it"
    ]


def test_keys_reach_every_request():
    extra = '{"chat_template_kwargs": {"enable_thinking": false}, "seed": 3}'
    _, _, [body] = adapt(
        lambda body: reply("[[A]]"),
        llm_judge_max_tokens=64,
        llm_judge_temperature=0.5,
        llm_judge_reasoning_effort="low",
        llm_judge_extra_body=extra,
    )
    del body["messages"]
    assert body == {
        "model": "big",
        "max_tokens": 64,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"llm_judge_extra_body": "{seed: 3}"}, "bad-value", "{seed: 3}"),
        ({"llm_judge_extra_body": "[3]"}, "bad-value", "[3]"),
        (
            {"llm_judge_extra_body": '{"max_completion_tokens": 9}'},
            "key-conflict",
            "llm_judge_max_tokens",
        ),
        ({"llm_judge_extra_body": '{"temperature": 1}'}, "key-conflict", "llm_judge_temperature"),
        ({"llm_judge_extra_body": '{"stream": true}'}, "key-conflict", "stream"),
        ({"llm_judge_temperature": -1.0}, "bad-value", "llm_judge_temperature=-1.0"),
        ({"llm_judge_max_tokens": 0}, "bad-value", "llm_judge_max_tokens=0"),
        (
            {"llm_judge": "folder", "llm_judge_model": ""},
            "key-conflict",
            "llm_judge_reasoning_effort=low",
        ),
    ],
)
def test_bad_fields_of_requests_raise(keys, code, name):
    more = {"llm_judge_reasoning_effort": "low", "llm_judge_model": "big"}
    with raises(code, name):
        StudyConfig(**{"llm_judge": "http://x/v1", **more, **keys})


def test_request_is_repeated_after_status_429():
    """429 with Retry-After: 0, then a reply."""
    replies = [(429, {}, ("Retry-After", "0")), reply("[[A]]")]
    _, _, bodies = adapt(lambda body: replies.pop(0))
    assert len(bodies) == 2


def test_revoked_key_stops_the_run():
    replies = [reply("[[A]]"), (403, {"error": {"message": "quota"}})]
    with judging(lambda body: replies.pop(0)) as (address, _):
        judge = adapt_to_server(judge_at(address), print)
        with raises("judge-failed", "403 Forbidden quota"):
            remote_judge(judge, print)([PAIR])


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("<think>A says more, [[A]]?</think>\n[[B]]", SECOND),
        ("A is longer, so [[A]].</think>[[B]]", SECOND),
        ("<think>I lean to [[A]]", None),
        ("  <thinking>[[A]]\n</thinking>\n\n[[B]]", SECOND),
        ("[THINK][[A]][/THINK][[B]]", SECOND),
        ("[[A]]", FIRST),
        ("The <think> mark in answer B is odd.\n[[A]]", FIRST),
    ],
)
def test_thought_has_no_verdict(content, verdict):
    assert read_verdict(content) == verdict


def test_thought_part_of_a_reply_is_not_read():
    """As Mistral's reasoning models reply."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "[[A]]"}]}
    content = [thought, {"type": "text", "text": "[["}, {"type": "text", "text": "B]]"}]
    with judging(lambda body: reply(content)) as (address, _):
        judge = adapt_to_server(judge_at(address), print)
        assert remote_judge(judge, print)([PAIR]) == [SECOND]
