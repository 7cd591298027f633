"""A judge behind an address: a trial settles what it takes, its thought is no verdict."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.llm import read_verdict
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, Shown
from rlhf.evaluation.judges.remote import judge_of, remote_judge, settled

PAIR = Shown(prompt="Where is the cup?", first="On the table.", second="Cup cup.")


def error(name, code="unsupported_parameter", **more):
    """400 as OpenAI writes it."""
    fault = {"message": f"'{name}' is not taken", "param": name, "code": code, **more}
    return 400, {"error": {"type": "invalid_request_error", **fault}}


def reply(content, finish="stop", **more):
    message = {"role": "assistant", "content": content, **more}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


@contextmanager
def judging(answer):
    """The address of a server that answers each body with `answer(body)`, and what was asked."""
    asked = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            status, content, *headers = answer(body)
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
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def judge_at(address, **keys):
    judge = judge_of(StudyConfig(llm_judge=address, llm_judge_model="big", **keys))
    assert judge is not None
    return judge


def settle(answer, **keys):
    """The settled judge's fields, what was logged, and every body that was sent."""
    said: list[str] = []
    with judging(answer) as (address, asked):
        judge = settled(judge_at(address, **keys), said.append)
    return judge.fields, said, asked


def test_a_model_that_takes_everything_is_asked_once_and_keeps_its_fields():
    fields, said, asked = settle(lambda body: reply("[[A]]"))
    assert fields == {"max_tokens": 512, "temperature": 0.0}
    assert said == []
    assert len(asked) == 1


def reasoning_model(body):
    """As OpenAI's o3 and gpt-5."""
    if "max_tokens" in body:
        return error("max_tokens")
    if body.get("temperature", 1) != 1:
        return error("temperature", "unsupported_value")
    return reply("[[B]]")


def test_a_reasoning_model_is_asked_in_its_own_way_from_the_trial_on():
    """Three requests settle it; questions are sent once each, in the settled way."""
    said: list[str] = []
    with judging(reasoning_model) as (address, asked):
        judge = settled(judge_at(address, llm_judge_max_tokens=900), said.append)
        assert remote_judge(judge, said.append)([PAIR, PAIR]) == [SECOND, SECOND]
    assert said == [
        "llm_judge big is sent max_completion_tokens instead of max_tokens",
        "llm_judge big supports no temperature 0 and is asked at its own",
    ]
    assert len(asked) == 3 + 2
    for body in asked[2:]:
        assert sorted(body) == ["max_completion_tokens", "messages", "model"]
        assert body["max_completion_tokens"] == 900


def test_a_refusal_without_param_is_read_from_its_sentence():
    """A proxy in front of a reasoning model passes the sentence on alone."""

    def proxy(body):
        status, content = reasoning_model(body)
        if status == 200:
            return status, content
        name = content["error"]["param"]
        message = f"UnsupportedParamsError: this model does not support {name}"
        return 400, {"error": {"message": message, "param": None, "code": "400"}}

    fields, said, _ = settle(proxy)
    assert fields == {"max_completion_tokens": 512}
    assert len(said) == 2


def test_a_limit_that_is_too_large_is_no_unsupported_field():
    sentence = "max_tokens is too large: 512. This model supports at most 256 completion tokens"
    answer = error("max_tokens", "invalid_value", message=sentence)
    with pytest.raises(ConfigError, match=r"too large: 512.*change llm_judge_max_tokens"):
        settle(lambda body: answer)


def test_a_temperature_that_was_asked_for_is_not_given_up():
    with pytest.raises(ConfigError, match="'temperature' is not taken; change llm_judge_temp"):
        settle(reasoning_model, llm_judge_temperature=0.3)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"401 Unauthorized no such key; set \$OPENAI_API_KEY"),
        (404, "404 Not Found no such key; check the address and llm_judge_model=big"),
    ],
)
def test_a_wrong_key_or_model_is_named_at_the_trial(monkeypatch, status, said):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=said):
        settle(lambda body: (status, {"error": {"message": "no such key"}}))


def test_an_extra_field_that_is_refused_names_its_key():
    with pytest.raises(ConfigError, match="change llm_judge_extra_body"):
        settle(lambda body: error("guided"), llm_judge_extra_body='{"guided": 1}')


def test_a_trial_that_is_cut_off_in_its_thought_names_the_key():
    """gpt-5 with too few tokens: an empty answer, finish_reason length."""
    with pytest.raises(ConfigError, match=r"within 512 tokens .* raise llm_judge_max_tokens"):
        settle(lambda body: reply("", finish="length", reasoning_content="Hm, [[A]]"))


def test_an_address_of_something_else_is_refused():
    with pytest.raises(ConfigError, match=r'replies \{"detail": "hello"\}, which has no choices'):
        settle(lambda body: (200, {"detail": "hello"}))


def test_a_trial_without_a_verdict_is_a_warning():
    _, said, _ = settle(lambda body: reply("Both are nice."))
    assert said == ["warning: llm_judge big gave no verdict on a trial question: 'Both are nice.'"]


def test_replies_that_are_cut_off_are_counted_and_have_no_verdict():
    said: list[str] = []

    def answer(body):
        long = "Cup cup." in body["messages"][0]["content"]
        return reply("<think>A is [[A]]", finish="length") if long else reply("[[A]]")

    with judging(answer) as (address, _):
        judge = settled(judge_at(address), said.append)
        shown = [PAIR, replace(PAIR, second="Under it.")]
        assert remote_judge(judge, said.append)(shown) == [None, FIRST]
    assert said == [
        "warning: 1 of 2 replies of llm_judge were cut off at llm_judge_max_tokens=512 before a "
        "verdict and count as ties; raise it"
    ]


def test_keys_reach_every_request():
    extra = '{"chat_template_kwargs": {"enable_thinking": false}, "seed": 3}'
    _, _, [body] = settle(
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
    ("keys", "said"),
    [
        ({"llm_judge_extra_body": "{seed: 3}"}, "is no JSON"),
        ({"llm_judge_extra_body": "[3]"}, "is no JSON object"),
        ({"llm_judge_extra_body": '{"max_completion_tokens": 9}'}, "use llm_judge_max_tokens"),
        ({"llm_judge_extra_body": '{"temperature": 1}'}, "use llm_judge_temperature"),
        ({"llm_judge_extra_body": '{"stream": true}'}, "sets stream; leave it out"),
        ({"llm_judge_temperature": -1.0}, "llm_judge_temperature=-1.0"),
        ({"llm_judge_max_tokens": 0}, "llm_judge_max_tokens=0"),
        ({"llm_judge": "folder", "llm_judge_model": ""}, "llm_judge_reasoning_effort=low means"),
    ],
)
def test_keys_that_cannot_be_sent_are_refused(keys, said):
    more = {"llm_judge_reasoning_effort": "low", "llm_judge_model": "big"}
    with pytest.raises(ConfigError, match=said):
        StudyConfig(**{"llm_judge": "http://x/v1", **more, **keys})


def test_a_judge_that_asks_for_patience_is_asked_again():
    """429 with Retry-After: 0, then a reply."""
    answers = [(429, {}, ("Retry-After", "0")), reply("[[A]]")]
    _, _, asked = settle(lambda body: answers.pop(0))
    assert len(asked) == 2


def test_a_key_that_is_taken_back_while_judging_ends_the_run():
    answers = [reply("[[A]]"), (403, {"error": {"message": "quota"}})]
    with judging(lambda body: answers.pop(0)) as (address, _):
        judge = settled(judge_at(address), print)
        with pytest.raises(TrainingError, match="403 Forbidden quota"):
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
def test_a_thought_is_no_verdict(content, verdict):
    assert read_verdict(content) == verdict


def test_parts_of_a_reply_are_read_without_their_thought():
    """As Mistral's reasoning models reply."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "[[A]]"}]}
    content = [thought, {"type": "text", "text": "[["}, {"type": "text", "text": "B]]"}]
    with judging(lambda body: reply(content)) as (address, _):
        judge = settled(judge_at(address), print)
        assert remote_judge(judge, print)([PAIR]) == [SECOND]
