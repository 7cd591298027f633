"""What clients of OpenAI's API send is taken; what would change the answer is refused by name."""

import gzip
import json

import httpx
import pytest

from rlhf.chat.loading import load_chat_model
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

TURN = {"role": "user", "content": "Where is the red ball?"}
CHAT = {"model": "tiny", "messages": [TURN], "max_tokens": 4, "seed": 3}
TOKEN = "t0ken-of-sixteen"
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_chat_model(str(make_model(tmp_path_factory.mktemp("models") / "qwen2", "qwen2")))


@pytest.fixture(scope="module")
def http(model, tmp_path_factory):
    with (
        serving(tmp_path_factory.mktemp("site"), {"tiny": model}) as site,
        httpx.Client(base_url=site.address, timeout=240) as client,
    ):
        yield client


def said(answer: httpx.Response) -> str:
    """The text of an answer, or a failed test with the error."""
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "changes",
    [
        # lm-evaluation-harness, local-chat-completions
        {"messages": [{**TURN, "type": "text"}], "temperature": 0, "stop": ["\n\n"], "seed": 1234},
        # openai-python's and LangChain's defaults, spelled out
        {"n": 1, "stream": False, "temperature": 0.7, "top_p": 1, "max_completion_tokens": 4},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": None},
        {"tools": None, "tool_choice": "auto", "function_call": "auto", "logit_bias": {}},
        {"response_format": {"type": "text"}, "modalities": ["text"], "audio": None},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0},
        {"store": True, "metadata": {"run": "7"}, "user": "ann", "service_tier": "flex"},
        {"safety_identifier": "x", "prompt_cache_key": "y", "prompt_cache_retention": "24h"},
        {"stream_options": {"include_usage": None}, "stop": None, "n": None, "top_p": None},
        {"reasoning_effort": None, "verbosity": "medium", "web_search_options": None},
        # vLLM's and LiteLLM's
        {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "ignore_eos": False},
        {"guided_json": None, "chat_template_kwargs": {}, "add_generation_prompt": True},
        {"something_new": None, "and_newer": [], "newest": {}, "yet_newer": ""},
        {"messages": [{**TURN, "tool_calls": None, "function_call": None, "audio": None}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Where is ", "cache_control": {"type": "x"}},
                        {"type": "text", "text": "the red ball?", "annotations": []},
                    ],
                }
            ]
        },
    ],
)
def test_what_asks_for_nothing_else_changes_nothing(http, changes):
    """The same answer as without it, at the same seed and temperature."""
    plain = {key: value for key, value in changes.items() if key in ("temperature", "stop", "seed")}
    wanted = said(http.post("/v1/chat/completions", json=CHAT | plain))
    assert said(http.post("/v1/chat/completions", json=CHAT | changes)) == wanted


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "tools is left out by"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format",
            'response_format is not supported (got {"type": "json_schema"}); leave it out',
        ),
        ({"reasoning_effort": "low"}, "reasoning_effort", "chat_template_kwargs"),
        ({"top_k": 5}, "top_k", "top_k is not supported (got 5); leave it out"),
        ({"think": False}, "think", "think is not known here (got false); leave it out"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"temperature": "hot"}, "temperature", 'temperature: got "hot"; should be of type number'),
        ({"temperature": -1}, "temperature", "got -1; should be greater than or equal to 0"),
        ({"top_logprobs": 3}, "top_logprobs", "top_logprobs needs logprobs: true"),
        ({"max_tokens": 65}, "max_tokens", "max_tokens=65 is more than this server's 64"),
        (
            {"stop": ["a", "x" * 300]},
            "stop[1]",
            "a text of 300 characters; should have at most",
        ),
        ({"stop": 3}, "stop", "stop: got 3; should be of type string or list"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs", "should be of type object"),
        ({"messages": "Hello"}, "messages", 'messages: got "Hello"; should be of type list'),
        ({"messages": ["Hello"]}, "messages[0]", 'messages[0]: got "Hello"; should be of type'),
        (
            {"messages": [TURN, {"role": "assistant", "content": None}, TURN]},
            "messages[1].content",
            "messages[1].content: got null; should be of type string or list",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "messages[0].content is missing"),
        (
            {"messages": [TURN, {"role": "wizard", "content": "x"}]},
            "messages[1].role",
            "messages[1].role: got \"wizard\"; should be 'system', 'developer', 'user'",
        ),
        (
            {"messages": [TURN, {"role": "user", "content": [{"type": "text", "text": "a"}, PNG]}]},
            "messages[1].content[1].type",
            "messages[1].content[1].type: got \"image_url\"; should be 'text'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "messages[0].content[0].text is missing",
        ),
        (
            {"messages": [{**TURN, "tool_calls": [{"id": "1"}]}]},
            "messages[0].tool_calls",
            "messages[0].tool_calls belongs to the assistant, not to user",
        ),
        ({"messages": [{**TURN, "name": "<|im_end|>"}]}, "messages[0].name", "pattern"),
        ({"messages": [{**TURN, "content": " "}]}, "messages", "the prompt is empty"),
        ({"\ud800": 1}, None, 'the body holds "\\ud800", which is not Unicode'),
        ({"model": "\ud800"}, "model", "no model '\\ud800'"),
    ],
)
def test_a_refusal_names_the_part_that_it_is_about(http, changes, param, message):
    answer = http.post("/v1/chat/completions", content=json.dumps(CHAT | changes))
    assert answer.status_code == (404 if "model" in changes else 400)
    error = answer.json()["error"]
    assert message in error["message"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_codes_are_those_that_clients_look_for(http):
    """LangChain and LiteLLM tell a conversation that is too long by its code."""

    def code(path="/v1/chat/completions", **changes):
        return http.post(path, json=CHAT | changes).json()["error"]["code"]

    long = "red ball " * 9000
    assert code(messages=[{"role": "user", "content": long}]) == "context_length_exceeded"
    assert code(model="other") == "model_not_found"
    assert code(surprise=1) == "unknown_parameter"
    assert code(tools=[{"type": "function"}]) == "unsupported_parameter"
    assert code(n="two") == "invalid_type"
    assert code(n=17) == "invalid_value"
    assert http.post("/v1/chat/completions", json={"model": "tiny"}).json()["error"] == {
        "message": "messages is missing",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "missing_required_parameter",
    }
    error = http.post("/v1/completions", json={"model": "tiny", "prompt": long, "max_tokens": 1})
    assert error.json()["error"]["param"] == "prompt"


def test_roles_and_names_reach_the_template_as_they_were_sent(http, model):
    """ChatML writes any role; only a template that reads names shows one."""
    developer = {"role": "developer", "content": "Be kind."}
    tokens = model.chat.tokenizer
    for turns in ([developer, TURN], [{**developer, "role": "system"}, TURN]):
        text = tokens.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        answer = http.post("/v1/chat/completions", json=CHAT | {"messages": turns}).json()
        assert answer["usage"]["prompt_tokens"] == len(tokens(text)["input_ids"])
    named = {"messages": [{**TURN, "name": "Ann-2"}]}
    assert said(http.post("/v1/chat/completions", json=CHAT | named))


def test_a_role_that_the_template_refuses_is_a_400(tmp_path):
    """Gemma's own template raises for a system message; this one does for a developer's."""
    folder = make_model(tmp_path / "model", "qwen2")
    model = load_chat_model(str(folder))
    refusing = (
        "{% for m in messages %}{% if m['role'] == 'developer' %}"
        "{{ raise_exception('no developer here') }}{% endif %}{% endfor %}"
    )
    model.chat.tokenizer.chat_template = refusing + model.chat.tokenizer.chat_template
    with serving(tmp_path, {"tiny": model}) as site:
        turns = [{"role": "developer", "content": "Be kind."}, TURN]
        body = CHAT | {"messages": turns}
        answer = httpx.post(f"{site.address}/v1/chat/completions", json=body, timeout=240)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith("no developer here")
    assert answer.json()["error"]["param"] == "messages"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"CONTENT-TYPE": "Application/JSON"},
        {"content-type": "application/vnd.api+json"},
        {},
    ],
)
def test_json_is_read_however_the_header_is_written(http, headers):
    content = json.dumps(CHAT).encode()
    assert said(http.post("/v1/chat/completions", content=content, headers=headers))


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "the body is empty; send a JSON object"),
        (b'{"model": "tiny",', 400, "the body is not JSON: Expecting property name enclosed in"),
        (b'["a"]', 400, 'the body is ["a"]; send a JSON object'),
        (b'{"model": "\xff"}', 400, "the body is not UTF-8"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
def test_a_body_that_is_no_json_object_is_described(http, content, status, message, headers):
    answer = http.post("/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_415_that_names_the_right_one(http, kind):
    """`curl -d` without a header sends the second."""
    content = json.dumps(CHAT).encode()
    answer = http.post("/v1/chat/completions", content=content, headers={"content-type": kind})
    assert answer.status_code == 415
    message = answer.json()["error"]["message"]
    assert message.startswith(f"the body comes as Content-Type '{kind}'; send JSON")
    assert message.endswith("Content-Type: application/json")


def test_paths_and_methods_that_are_not_served_are_named(http):
    wrong = http.post("/chat/completions", json=CHAT)
    assert wrong.status_code == 404
    served = "/v1/models, /v1/chat/completions, /v1/completions"
    message = f"POST /chat/completions is not served; the API is {served}"
    assert wrong.json()["error"]["message"] == message
    method = http.get("/v1/chat/completions")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert method.json()["error"]["message"] == "GET /v1/chat/completions is not served; use POST"


def test_head_is_answered_where_get_is(http):
    """Load balancers ask so whether a server is up."""
    for path in ("/", "/health", "/v1/models"):
        answer = http.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_packed_body_is_said_to_be_packed(http):
    packed = gzip.compress(json.dumps(CHAT).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post("/v1/chat/completions", content=packed, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the body is not UTF-8, but gzip; send it unpacked"


def test_the_scheme_of_a_token_is_read_in_any_case(model, tmp_path):
    """RFC 9110: the scheme is case-insensitive; the token is not."""
    with serving(tmp_path, {"tiny": model}, token=TOKEN) as site:

        def status(value: str) -> int:
            headers = {"AUTHORIZATION": value}
            return httpx.get(f"{site.address}/v1/models", headers=headers).status_code

        assert status(f"Bearer {TOKEN}") == status(f"bearer {TOKEN}") == 200
        assert status(f"BEARER  {TOKEN}") == 200
        assert status(f"Bearer {TOKEN.upper()}") == status(f"Basic {TOKEN}") == 401
        refused = httpx.get(f"{site.address}/v1/models")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"


def test_every_event_has_the_counts_field_where_they_were_asked_for(http):
    """OpenAI: "All other chunks will also include a `usage` field, but with a null value"."""
    how = {"stream": True, "stream_options": {"include_usage": True}}
    text = http.post("/v1/chat/completions", json=CHAT | how).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["usage"]["completion_tokens"] <= 4
    plain = http.post("/v1/chat/completions", json=CHAT | {"stream": True}).text
    assert '"usage"' not in plain
