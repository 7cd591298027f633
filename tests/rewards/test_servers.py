"""Rewards from servers: the form of requests and answers, and what is checked before a run."""

import pytest

from rlhf.rewards.case import Case
from rlhf.rewards.http_shapes import Texts, shape_of
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import load_reward
from rlhf.rewards.scorers import check_options, check_source
from rlhf.rewards.spec import RewardSpec, parse_rewards
from rlhf.types import PromptRow
from tests.errors import raises

PROMPTS = ["One?", "Two?", "Three?"]
RESPONSES = ["1", "<think>\nhm\n</think>\n\n22", "333"]
ROWS = [PromptRow(prompt=prompt, columns={"answer": "1"}) for prompt in PROMPTS]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
TEXTS = Texts(
    prompt=lambda prompt, tools: f"<user>{prompt}<assistant>",
    whole=lambda prompt, response, tools: f"<user>{prompt}<assistant>{response}<end>",
    raw=False,
)

pytestmark = pytest.mark.usefixtures("no_wait")


def ours(path, content):
    """Mean 1, std 2; the score of a response is its length; the last item comes first."""
    if content is None:
        return 200, {"model": "rm", "mean": 1.0, "std": 2.0}
    data = [
        {"index": index, "score": float(len(item["response"]))}
        for index, item in enumerate(content["items"])
    ]
    return 200, {"data": data[::-1]}


def test_server_of_this_project_normalises_as_a_local_model(serve):
    """(length - 1) / 2; with mean alone length - 1. A thought is the server's matter."""
    server = serve(ours)
    address = f"{server.address}/v1/score"
    lengths = [1.0, float(len(RESPONSES[1])), 3.0]
    for normalize, shift, divisor in (("mean_std", 1, 2), ("mean", 1, 1), ("none", 0, 1)):
        scores = load_reward(address, normalize=normalize).score(PROMPTS, RESPONSES)
        assert scores.scores.tolist() == [(each - shift) / divisor for each in lengths]
    assert server.asked[-1][1] == {
        "items": [
            {"prompt": prompt, "response": response}
            for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
        ]
    }


def test_responses_are_sent_sixteen_at_a_time_and_requests_together(serve):
    server = serve(ours, delay=0.1)
    reward = load_reward(f"{server.address}/v1/score", normalize="none",
                         calls=CallOptions(concurrency=2))  # fmt: skip
    responses = ["x" * number for number in range(40)]
    scores = reward.score(["p"] * 40, responses)
    assert scores.scores.tolist() == [float(number) for number in range(40)]
    sizes = [len(content["items"]) for _, content in server.asked[1:]]
    assert sorted(sizes) == [8, 16, 16]
    assert server.most_at_once == 2


def test_vllm_classifier_gets_a_conversation_and_gives_its_logit(serve):
    def classify(path, content):
        assert path == "/classify"
        value = -float(len(content["messages"][-1]["content"]))
        return 200, {"data": [{"index": 0, "probs": [value], "num_classes": 1}]}

    server = serve(classify)
    reward = load_reward(f"{server.address}/classify", calls=CallOptions(concurrency=1))
    assert reward.score([MESSAGES, "Two?", "3?"], RESPONSES).scores.tolist() == [-1.0, -2.0, -3.0]
    assert server.asked[0][1] == {
        "messages": [*MESSAGES, {"role": "assistant", "content": "1"}], "use_activation": False
    }  # fmt: skip
    assert server.asked[1][1]["messages"][-1]["content"] == "22"  # without the thought


def test_vllm_classifier_gets_texts_where_prompts_are_raw():
    case = Case(prompt="Once upon ", response="a time", columns={})
    raw = Texts(prompt=TEXTS.prompt, whole=TEXTS.whole, raw=True)
    shape = shape_of("http://h/classify", raw=True)
    assert shape.body([case, case], raw) == {
        "input": ["Once upon a time"] * 2, "use_activation": False
    }  # fmt: skip


def test_vllm_classifier_of_several_classes_is_no_reward_model(serve):
    server = serve(lambda path, content: (200, {"data": [{"index": 0, "probs": [0.1, 0.9]}]}))
    with raises("no-reward", "2 classes"):
        load_reward(f"{server.address}/classify").score(["p"], ["r"])


def test_vllm_cross_encoder_gets_pairs_of_plain_texts(serve):
    def score(path, content):
        assert path == "/score"
        pairs = zip(content["text_1"], content["text_2"], strict=True)
        scores = [len(first) + len(second) / 10 for first, second in pairs]
        return 200, {"data": [{"index": i, "score": s} for i, s in enumerate(scores)]}

    server = serve(score)
    reward = load_reward(f"{server.address}/score")
    assert reward.score(["One?", MESSAGES], ["1", "22"]).scores.tolist() == pytest.approx(
        [4.1, len("system: Be brief.\nuser: One?") + 0.2]
    )


def test_openrlhf_server_gets_rendered_texts_and_labels(serve):
    def get_reward(path, content):
        assert path == "/get_reward"
        return 200, {"rewards": [[float(len(text))] for text in content["query"]]}

    server = serve(get_reward)
    reward = load_reward(f"{server.address}/get_reward", texts=TEXTS)
    columns = [{"answer": "A"}, {"label": "L", "answer": "A"}, {}]
    scores = reward.score(PROMPTS, ["1", "22", "333"], columns).scores.tolist()
    query = [
        "<user>One?<assistant>1<end>",
        "<user>Two?<assistant>22<end>",
        "<user>Three?<assistant>333<end>",
    ]
    assert scores == [float(len(text)) for text in query]
    assert server.asked[0][1] == {
        "query": query,
        "prompts": [f"<user>{prompt}<assistant>" for prompt in PROMPTS],
        "labels": ["A", "L", ""],
    }


def test_openrlhf_server_needs_a_template_for_conversations(serve):
    server = serve(lambda path, content: (200, {"rewards": [1.0] * len(content["query"])}))
    reward = load_reward(f"{server.address}/get_reward")
    assert reward.score(["One? "], ["1"]).scores.tolist() == [1.0]
    assert server.asked[0][1]["query"] == ["One? 1"]
    with raises("no-reward", "chat template", "/v1/score"):
        reward.score([MESSAGES], ["1"])


def test_path_chooses_the_shape():
    for path in ("", "/", "/scores", "/reward", "/classify/x"):
        with raises("bad-reward", f"http://h{path}", "/v1/score", "/classify", "/get_reward"):
            shape_of(f"http://h{path}")
    assert shape_of("https://h:1/prefix/v1/score").path == "/prefix/v1/score"
    assert shape_of("http://h/score/?x=1").cases_per_call == 16


def test_null_is_no_score_and_other_forms_are_reported(serve):
    server = serve(lambda path, content: (200, {"rewards": [None]}))
    with raises("no-reward", "nan"):
        load_reward(f"{server.address}/get_reward").score(["p"], ["r"])
    server = serve(lambda path, content: (200, {"scores": [1.0]}))
    with raises("no-reward", "/get_reward", "{'scores': [1.0]}"):
        load_reward(f"{server.address}/get_reward").score(["p"], ["r"])


def test_busy_server_is_asked_again_after_the_time_that_it_names(serve, monkeypatch):
    answers = iter([(429, {}), (503, {}), (200, {"rewards": [5.0]})])
    server = serve(lambda path, content: next(answers), retry_after="0")
    reward = load_reward(f"{server.address}/get_reward")
    assert reward.score(["p"], ["r"]).scores.tolist() == [5.0]
    [counts] = reward.counts.take().values()
    assert (counts.calls, counts.retries) == (3, 2)


def test_rejected_text_is_not_repeated_and_does_not_fail_its_neighbours(serve):
    """Sixteen are sent together, and rejected for one; with skip each is then sent alone."""

    def get_reward(path, content):
        if any("long" in text for text in content["query"]):
            return 400, {"error": "too long"}
        return 200, {"rewards": [1.0] * len(content["query"])}

    server = serve(get_reward)
    address = f"{server.address}/get_reward"
    responses = ["a", "long", "b"]
    with raises("no-reward", "400", "too long"):
        load_reward(address).score(PROMPTS, responses)
    assert len(server.asked) == 1
    scores = load_reward(address, on_error="skip").score(PROMPTS, responses)
    assert scores.scores.nan_to_num(nan=-1).tolist() == [1.0, -1.0, 1.0]
    assert ["too long" in failure for failure in scores.failures] == [False, True, False]


def test_token_is_sent_as_a_bearer(serve, monkeypatch):
    server = serve(ours)
    monkeypatch.setenv("REWARD_API_KEY", "t0ken")
    load_reward(f"{server.address}/v1/score").score(["p"], ["r"])
    assert server.keys == ["Bearer t0ken"] * 2


def check(address, rows=ROWS, **options):
    check_source(RewardSpec(address), CallOptions(**options), TEXTS, rows)


@pytest.mark.parametrize("path", ["/v1/score", "/classify", "/score", "/get_reward"])
def test_server_that_cannot_be_reached_is_reported_before_the_run(path):
    address = f"http://127.0.0.1:9{path}"
    with raises("bad-reward", address, "start the server"):
        check(address)


@pytest.mark.parametrize(
    ("status", "answer", "name"),
    [
        (404, {"detail": "Not Found"}, "404"),
        (401, {"error": "no key"}, "no key"),
        (500, {"error": "broken"}, "broken"),
        (200, {"rewards": ["x"]}, "['x']"),
        (200, {"rewards": [1.0, 2.0]}, "[1.0, 2.0]"),
        (200, {"rewards": [float("nan")]}, "nan"),
        (200, {}, "rewards"),
    ],
)
def test_server_that_does_not_score_is_reported_before_the_run(serve, status, answer, name):
    server = serve(lambda path, content: (status, answer))
    with raises("bad-reward", server.address, name):
        check(f"{server.address}/get_reward")


def test_trial_request_has_the_first_prompt_and_its_label(serve):
    server = serve(lambda path, content: (200, {"rewards": [1.0]}))
    check(f"{server.address}/get_reward")
    [(_, content)] = server.asked
    assert content["prompts"] == ["<user>One?<assistant>"]
    assert content["labels"] == ["1"]


def test_other_server_at_our_path_is_named(serve):
    server = serve(lambda path, content: (405, {"detail": "Method Not Allowed"}))
    with raises("bad-reward", f"{server.address}/v1/score", "405", "/score: vLLM"):
        load_reward(f"{server.address}/v1/score")
    server = serve(lambda path, content: (200, {"model": "rm", "mean": 0.0, "std": 0.0}))
    with raises("bad-reward", "0.0"):
        load_reward(f"{server.address}/v1/score")


def test_keys_of_calls_need_a_source_that_is_called(tmp_path):
    (tmp_path / "f.py").write_text(
        "def plain(prompts, completions):\n    return [1.0]\n"
        "async def remote(prompts, completions):\n    return [1.0]\n"
    )
    plain, remote = parse_rewards([f"{tmp_path}/f.py:plain"]), [f"{tmp_path}/f.py:remote"]
    with raises("key-conflict", "reward_timeout", "plain"):
        check_options(plain, CallOptions(timeout=1.0), ["reward_timeout"])
    check_options(plain, CallOptions(), [])
    check_options(parse_rewards(remote), CallOptions(timeout=1.0), ["reward_timeout"])
    check_options(parse_rewards("http://h/score"), CallOptions(retries=0), ["reward_retries"])


def test_cache_needs_a_source_with_a_name(tmp_path):
    async def nameless(prompts, completions):
        return [1.0]

    options = CallOptions(cache=str(tmp_path / "s.sqlite"))
    with raises("key-conflict", "reward_cache", "file.py:function"):
        check_options(parse_rewards(nameless), options, ["reward_cache"])
    with raises("unreadable-file", "reward_cache"):
        check_options(
            parse_rewards("http://h/score"), CallOptions(cache=str(tmp_path)), ["reward_cache"]
        )
