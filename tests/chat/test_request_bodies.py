"""Bodies of OpenAI clients are accepted; unsupported fields with an effect are rejected by name."""

import gzip
import json

import httpx
import openai
import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from rlhf.chat.loading import load_chat_model
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

TURN = {"role": "user", "content": "Where is the red ball?"}
CHAT = {"model": "tiny", "messages": [TURN], "max_tokens": 4, "seed": 3}
TEXT = {"model": "tiny", "prompt": "A cat", "max_tokens": 4, "seed": 3}
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


def content_of(reply: httpx.Response) -> str:
    """The response's text; fails with the error if there is one."""
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "changes",
    [
        # lm-evaluation-harness, local-chat-completions
        {"messages": [{**TURN, "type": "text"}], "temperature": 0, "stop": ["\n\n"], "seed": 1234},
        # openai-python's and LangChain's defaults, bytes_of_tokens out
        {"n": 1, "stream": False, "temperature": 0.7, "top_p": 1, "max_completion_tokens": 4},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": None},
        {"tools": None, "tool_choice": "auto", "function_call": "auto", "logit_bias": {}},
        {"response_format": {"type": "text"}, "modalities": ["text"], "audio": None},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0},
        {"store": True, "metadata": {"run": "7"}, "user": "ann", "service_tier": "flex"},
        {"safety_identifier": "x", "prompt_cache_key": "y", "prompt_cache_retention": "24h"},
        {"stream_options": {"include_usage": None}, "stop": None, "n": None, "top_p": None},
        {"reasoning_effort": "medium", "verbosity": "medium", "web_search_options": None},
        # vLLM and LiteLLM
        {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "ignore_eos": False},
        {"guided_json": None, "chat_template_kwargs": {}, "add_generation_prompt": True},
        {"something_new": None, "and_newer": [], "newest": {}, "yet_newer": ""},
        {"messages": [{**TURN, "tool_calls": None, "function_call": None, "audio": None}]},
        {"top_k": 0, "logit_bias": {"3": 0.0}, "repetition_penalty": 1, "min_p": None},
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
def test_neutral_fields_do_not_change_the_response(http, changes):
    """The same response as without them, at the same seed and temperature."""
    plain = {key: value for key, value in changes.items() if key in ("temperature", "stop", "seed")}
    expected = content_of(http.post("/v1/chat/completions", json=CHAT | plain))
    assert content_of(http.post("/v1/chat/completions", json=CHAT | changes)) == expected


@pytest.mark.parametrize(
    ("path", "params", "body"),
    [
        ("/v1/chat/completions", chat_params.CompletionCreateParamsBase, CHAT),
        ("/v1/completions", completion_params.CompletionCreateParamsBase, TEXT),
        ("/v1/embeddings", openai.types.EmbeddingCreateParams, {"model": "tiny", "input": "A"}),
    ],
)
def test_null_is_accepted_in_every_optional_field(http, path, params, body):
    """The fields are those of OpenAI's own client."""
    optional = params.__annotations__.keys() - params.__required_keys__ - body.keys()
    assert len(optional) > 2
    reply = http.post(path, json={**dict.fromkeys(optional), **body})
    assert reply.status_code == 200, reply.text


def test_refusal_of_an_earlier_turn_is_its_text(http):
    """OpenAI: content parts of the assistant are texts or one refusal."""

    def tokens(content):
        turns = [TURN, {"role": "assistant", "content": content}, TURN]
        reply = http.post("/v1/chat/completions", json=CHAT | {"messages": turns})
        return reply.json()["usage"]["prompt_tokens"]

    assert tokens([{"type": "refusal", "refusal": "No."}]) == tokens("No.")


def test_field_of_another_address_is_named_once(http):
    """The nearest known field is the field itself."""
    reply = http.post("/v1/completions", json=TEXT | {"messages": [TURN]})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == "messages"
    assert error["message"].startswith("messages is a field of other requests (got [")
    assert error["message"].endswith("); leave it out")


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "tools is ignored by"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "chat_template_kwargs"),
        ({"typical_p": 0.5}, "typical_p", "typical_p is not supported (got 0.5); leave it out"),
        ({"think": False}, "think", "think is an unknown field (got false); leave it out"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"temperature": "hot"}, "temperature", 'temperature: got "hot"; should be of type number'),
        ({"temperature": -1}, "temperature", "got -1; should be greater than or equal to 0"),
        ({"top_logprobs": 3}, "top_logprobs", "top_logprobs needs logprobs: true"),
        ({"max_tokens": 65}, "max_tokens", "max_tokens=65 is above this server's limit of 64"),
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
            "messages[1].content[1]",
            "messages[1].content[1]: image_url parts are not supported; send text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "messages[0].content[0].text is missing",
        ),
        (
            {"messages": [{**TURN, "tool_calls": [{"id": "1"}]}]},
            "messages[0].tool_calls",
            "messages[0].tool_calls is a field of assistant messages, not of user messages",
        ),
        ({"messages": [{**TURN, "name": "<|im_end|>"}]}, "messages[0].name", "pattern"),
        ({"messages": [{**TURN, "content": " "}]}, "messages", "the prompt is empty"),
        ({"\ud800": 1}, None, 'the body has "\\ud800", which is not Unicode'),
        ({"model": "\ud800"}, "model", "unknown model '\\ud800'"),
    ],
)
def test_rejection_names_the_field(http, changes, param, message):
    reply = http.post("/v1/chat/completions", content=json.dumps(CHAT | changes))
    assert reply.status_code == (404 if "model" in changes else 400)
    error = reply.json()["error"]
    assert message in error["message"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_error_codes_are_openais(http):
    """LangChain and LiteLLM recognise a conversation that is too long by its code."""

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


def test_roles_and_names_reach_the_template_unchanged(http, model):
    """ChatML renders any role; names appear only in templates that read them."""
    developer = {"role": "developer", "content": "Be kind."}
    tokens = model.chat.tokenizer
    for turns in ([developer, TURN], [{**developer, "role": "system"}, TURN]):
        text = tokens.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        reply = http.post("/v1/chat/completions", json=CHAT | {"messages": turns}).json()
        assert reply["usage"]["prompt_tokens"] == len(tokens(text)["input_ids"])
    named = {"messages": [{**TURN, "name": "Ann-2"}]}
    assert content_of(http.post("/v1/chat/completions", json=CHAT | named))


def test_role_rejected_by_the_template_returns_400(tmp_path):
    """Gemma's own template raises for a system message; this one does for a developer's."""
    folder = make_model(tmp_path / "model", "qwen2")
    model = load_chat_model(str(folder))
    raising_template = (
        "{% for m in messages %}{% if m['role'] == 'developer' %}"
        "{{ raise_exception('no developer here') }}{% endif %}{% endfor %}"
    )
    model.chat.tokenizer.chat_template = raising_template + model.chat.tokenizer.chat_template
    with serving(tmp_path, {"tiny": model}) as site:
        turns = [{"role": "developer", "content": "Be kind."}, TURN]
        body = CHAT | {"messages": turns}
        reply = httpx.post(f"{site.address}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].endswith("no developer here")
    assert reply.json()["error"]["param"] == "messages"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"CONTENT-TYPE": "Application/JSON"},
        {"content-type": "application/vnd.api+json"},
        {},
    ],
)
def test_json_content_types_are_accepted(http, headers):
    content = json.dumps(CHAT).encode()
    assert content_of(http.post("/v1/chat/completions", content=content, headers=headers))


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
def test_body_that_is_not_a_json_object_is_rejected(http, content, status, message, headers):
    reply = http.post("/v1/chat/completions", content=content, headers=headers)
    assert reply.status_code == status
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_return_415(http, kind):
    """`curl -d` without a header sends the second one."""
    content = json.dumps(CHAT).encode()
    reply = http.post("/v1/chat/completions", content=content, headers={"content-type": kind})
    assert reply.status_code == 415
    message = reply.json()["error"]["message"]
    assert message.startswith(f"unsupported Content-Type '{kind}'; send JSON")
    assert message.endswith("Content-Type: application/json")


def test_unknown_paths_and_methods_are_rejected(http):
    wrong = http.post("/chat/completions", json=CHAT)
    assert wrong.status_code == 404
    routes = "/v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings"
    message = f"POST /chat/completions does not exist; the API has {routes}"
    assert wrong.json()["error"]["message"] == message
    method = http.get("/v1/chat/completions")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert method.json()["error"]["message"] == "GET /v1/chat/completions is not allowed; use POST"


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_responses_api_is_rejected_with_what_to_use(http, method):
    reply = http.request(method, "/v1/responses", json={"model": "tiny", "input": "Hi"})
    assert reply.status_code == 404
    message = f"{method} /v1/responses is not supported; use /v1/chat/completions"
    assert reply.json()["error"]["message"] == message


def test_head_works_like_get(http):
    """Load balancers use it to check that a server is up."""
    for path in ("/", "/health", "/v1/models"):
        reply = http.head(path)
        assert (reply.status_code, reply.content) == (200, b"")


def test_compressed_body_is_rejected(http):
    compressed = gzip.compress(json.dumps(CHAT).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    reply = http.post("/v1/chat/completions", content=compressed, headers=headers)
    assert reply.status_code == 400
    assert (
        reply.json()["error"]["message"] == "the body is not UTF-8 but gzip; send it uncompressed"
    )


def test_token_scheme_is_case_insensitive(model, tmp_path):
    """RFC 9110: the scheme is case-insensitive; the token is not."""
    with serving(tmp_path, {"tiny": model}, token=TOKEN) as site:

        def status(value: str) -> int:
            headers = {"AUTHORIZATION": value}
            return httpx.get(f"{site.address}/v1/models", headers=headers).status_code

        assert status(f"Bearer {TOKEN}") == status(f"bearer {TOKEN}") == 200
        assert status(f"BEARER  {TOKEN}") == 200
        assert status(f"Bearer {TOKEN.upper()}") == status(f"Basic {TOKEN}") == 401
        rejected = httpx.get(f"{site.address}/v1/models")
    assert rejected.headers["www-authenticate"] == "Bearer"
    assert rejected.json()["error"]["code"] == "invalid_api_key"


def test_every_event_has_usage_if_it_was_requested(http):
    """OpenAI: "All other chunks will also include a `usage` field, but with a null value"."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    text = http.post("/v1/chat/completions", json=CHAT | options).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["usage"]["completion_tokens"] <= 4
    plain = http.post("/v1/chat/completions", json=CHAT | {"stream": True}).text
    assert '"usage"' not in plain
