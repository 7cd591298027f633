"""LLM judges as rewards: the file, what the judge reads, and which replies have a score."""

import pytest

from rlhf.rewards.case import Case
from rlhf.rewards.judge_file import read_judge
from rlhf.rewards.judge_prompts import compared_score, read_choice, read_score, score_prompt
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import load_reward
from rlhf.rewards.scorers import check_source
from rlhf.rewards.spec import RewardSpec
from rlhf.types import PromptRow
from tests.errors import raises
from tests.tiny_models import make_model

FILE = """
judge: {judge}
model: tiny
rubric: Shorter is better.
scale: [1, 10]
"""

pytestmark = pytest.mark.usefixtures("no_wait")


@pytest.fixture
def write(tmp_path):
    """Writes a judge's file; returns the source that names it."""

    def write(text):
        (tmp_path / "rubric.yaml").write_text(text)
        return f"judge:{tmp_path}/rubric.yaml"

    return write


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good.\n[[7]]", 7.0),
        ("[[ 7.5 ]]", 7.5),
        ("**[[10]]**", 10.0),
        ("First I thought [[3]], but:\n[[8]]", 8.0),
        ("[[4]] is my score", 4.0),
        ("[[4]], yes [[4]]", 4.0),
        ("<think>[[2]]</think>\n[[5]]", 5.0),
        ("the template opened the thought [[2]] </think> [[5]]", 5.0),
        ("[[3]] or [[4]]", None),
        ("[[11]]", None),
        ("[[0]]", None),
        ("[[-3]]", None),
        ("7", None),
        ("Score: 7/10", None),
        ("[[seven]]", None),
        ("[[7", None),
        ("<think>[[7]]", None),
        ("", None),
    ],
)
def test_only_a_number_in_brackets_on_the_scale_is_a_score(reply, score):
    assert read_score(reply, 1.0, 10.0) == score


def test_scale_may_be_negative():
    assert read_score("[[-0.5]]", -1.0, 1.0) == -0.5


@pytest.mark.parametrize(
    ("reply", "choice"),
    [("[[A]]", "A"), ("B? No.\n[[C]]", "C"), ("[[A]] [[B]]", None), ("A", None), ("[[D]]", None)],
)
def test_only_a_letter_in_brackets_is_a_verdict(reply, choice):
    assert read_choice(reply) == choice


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [("A", "B", 5.0), ("B", "A", 1.0), ("A", "A", 3.0), ("C", "C", 3.0), ("A", "C", 3.0)],
)
def test_only_a_win_in_both_orders_is_a_win(first, second, score):
    assert compared_score(first, second, 1.0, 5.0) == score


def test_prompt_has_rubric_conversation_and_response(write):
    judge = read_judge(write(FILE.format(judge="http://h/v1")))
    turns = [{"role": "system", "content": "Be {brief}."}, {"role": "user", "content": "Hi"}]
    text = score_prompt(judge, Case(prompt=turns, response="<think>x</think>Yes {0}", columns={}))
    for part in ("Shorter is better.", "system: Be {brief}.\nuser: Hi", "\nYes {0}\n", "1 (worst)"):
        assert part in text
    assert "10 (best)" in text
    assert "<think>" not in text


def reply(text, finish="stop"):
    return {"choices": [{"message": {"content": text}, "finish_reason": finish}]}


def test_judge_behind_an_address_scores_each_response(serve, write, monkeypatch):
    """The score is the length of the response in the prompt."""

    def answer(path, content):
        assert path == "/v1/chat/completions"
        text = content["messages"][0]["content"]
        response = text.partition("[Response]\n")[2].partition("\n[End")[0]
        return 200, reply(f"[[{len(response)}]]")

    server = serve(answer)
    monkeypatch.setenv("OPENAI_API_KEY", "k3y")
    source = write(FILE.format(judge=f"{server.address}/v1/"))
    reward = load_reward(f"0.5*{source}")
    assert reward.score(["p"] * 3, ["a", "bb", "ccc"]).scores.tolist() == [0.5, 1.0, 1.5]
    assert server.keys == ["Bearer k3y"] * 3
    fields = {name: value for name, value in server.asked[0][1].items() if name != "messages"}
    assert fields == {"model": "tiny", "max_tokens": 512, "temperature": 0.0}


def test_fields_replace_and_remove_those_of_a_request(serve, write):
    server = serve(lambda path, content: (200, reply("[[2]]")))
    extra = "max_tokens: 9\nfields: {max_tokens: null, max_completion_tokens: 9, temperature: null}"
    source = write(FILE.format(judge=f"{server.address}/v1") + extra)
    load_reward(source).score(["p"], ["r"])
    assert server.asked[0][1].keys() == {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (reply("I like it."), "I like it."),
        (reply("[[9]]", finish="length"), "max_tokens"),
        (reply(None), "no score from 1 to 10"),
        ({"choices": []}, "no reply"),
        ({"error": "x"}, "no reply"),
    ],
)
def test_reply_without_a_score_is_no_zero(serve, write, answer, name):
    server = serve(lambda path, content: (200, answer))
    source = write(FILE.format(judge=f"{server.address}/v1"))
    with raises("no-reward", "rubric.yaml", name):
        load_reward(source).score(["p"], ["r"])
    scores = load_reward(source, on_error="skip").score(["p"], ["r"])
    assert scores.scores.isnan().all()
    assert len(server.asked) == 2  # such a reply is not asked for again


def test_parts_of_a_reply_are_read_without_thoughts(serve, write):
    parts = [{"type": "thinking", "text": "[[1]]"}, {"type": "text", "text": "[[3]]"}]
    server = serve(lambda path, content: (200, reply(parts)))
    source = write(FILE.format(judge=f"{server.address}/v1"))
    assert load_reward(source).score(["p"], ["r"]).scores.tolist() == [3.0]


COMPARE = FILE + "compare_with: reference\n"


def test_comparing_judge_reads_both_orders(serve, write):
    """It prefers the shorter response; equal texts need no request and are in the middle."""

    def answer(path, content):
        text = content["messages"][0]["content"]
        first = text.partition("[Response A]\n")[2].partition("\n[End")[0]
        second = text.partition("[Response B]\n")[2].partition("\n[End")[0]
        return 200, reply("[[A]]" if len(first) < len(second) else "[[B]]")

    server = serve(answer)
    source = write(COMPARE.format(judge=f"{server.address}/v1"))
    columns = [{"reference": "two"}, {"reference": "2"}, {"reference": "same"}]
    scores = load_reward(source).score(["p"] * 3, ["2", "two", "same"], columns)
    assert scores.scores.tolist() == [10.0, 1.0, 5.5]
    assert len(server.asked) == 4


def test_judge_that_prefers_a_place_gives_the_middle(serve, write):
    server = serve(lambda path, content: (200, reply("[[A]]")))
    source = write(COMPARE.format(judge=f"{server.address}/v1"))
    scores = load_reward(source).score(["p"], ["r"], [{"reference": "s"}])
    assert scores.scores.tolist() == [5.5]


@pytest.mark.parametrize(
    ("lines", "code", "names"),
    [
        ("judge: http://h/v1\nmodel: m\nrubric: good\n", "missing-key", ["scale", "[1, 10]"]),
        ("judge: http://h/v1\nmodel: m\nscale: [1, 2]\n", "missing-key", ["rubric"]),
        ("rubric: good\nscale: [1, 2]\n", "missing-key", ["judge", "/v1"]),
        ("judge: http://h/v1\nrubric: good\nscale: [1, 2]\n", "missing-key", ["model"]),
        (FILE.format(judge="http://h/v1") + "scales: 3\n", "unknown-key", ["scales"]),
        ("judge: folder\nmodel: m\nrubric: good\nscale: [1, 2]\n", "key-conflict", ["model"]),
        ("judge: [", "bad-config-file", []),
    ]
    + [
        (f"judge: folder\nrubric: good\nscale: {scale}\n", "bad-value", ["scale"])
        for scale in ("7", "[1]", "[2, 1]", "[1, 1]", "[low, high]", "[1, .inf]", "[1, true]")
    ]
    + [
        (f"judge: folder\nrubric: good\nscale: [0, 1]\n{line}\n", "bad-value", [name])
        for name, line in (
            ("max_tokens", "max_tokens: 0"),
            ("temperature", "temperature: -1"),
            ("compare_with", "compare_with: [a]"),
            ("fields", "fields: 3"),
        )
    ],
)
def test_file_that_cannot_be_used_is_reported(write, lines, code, names):
    source = write(lines)
    with raises(code, "rubric.yaml", *names):
        read_judge(source)


def test_missing_file_is_reported(tmp_path):
    with raises("missing-file", "none.yaml"):
        read_judge(f"judge:{tmp_path}/none.yaml")


def check(source, rows):
    check_source(RewardSpec(source), CallOptions(), None, rows)


def test_judge_is_tried_before_the_run(serve, write):
    rows = [PromptRow(prompt="p")]
    server = serve(lambda path, content: (200, reply("[[4]]")))
    check(write(FILE.format(judge=f"{server.address}/v1")), rows)
    server = serve(lambda path, content: (404, {"error": {"message": "no model tiny"}}))
    with raises("judge-failed", "rubric.yaml", "no model tiny", "OPENAI_API_KEY"):
        check(write(FILE.format(judge=f"{server.address}/v1")), rows)
    server = serve(lambda path, content: (200, reply("Fine!")))
    with raises("judge-failed", "Fine!"):
        check(write(FILE.format(judge=f"{server.address}/v1")), rows)
    with raises("judge-failed", "127.0.0.1:9"):
        check(write(FILE.format(judge="http://127.0.0.1:9/v1")), rows)


def test_row_without_a_response_to_compare_with_is_named(serve, write):
    server = serve(lambda path, content: (200, reply("[[C]]")))
    source = write(COMPARE.format(judge=f"{server.address}/v1"))
    rows = [PromptRow(prompt="p", columns={"reference": "r"}), PromptRow(prompt="second")]
    check(source, rows[:1])
    with raises("bad-reward", "reference", "row 2", "second"):
        check(source, rows)


def test_local_judge_without_a_score_is_no_zero(tmp_path, write):
    """A random model writes no score: every response has the reason, and none has a number."""
    folder = make_model(tmp_path / "judge")
    lines = f"judge: {folder}\nrubric: good\nscale: [1, 10]\nmax_tokens: 4\n"
    source = write(lines)
    check(source, [PromptRow(prompt="p")])
    scores = load_reward(source, on_error="skip").score(["p", "q"], ["a", "b"])
    assert scores.scores.isnan().all()
    with raises("no-reward", "rubric.yaml", "None"):
        load_reward(source).score(["p"], ["a"])


@pytest.mark.parametrize("bf16", [False, True])
def test_local_judge_gives_the_score_that_it_writes(tmp_path, write, monkeypatch, bf16):
    """Its weights have the precision of the run, as those of a reward model."""
    from types import SimpleNamespace

    from rlhf.rewards import judge

    def sample(model, chat, prompts, **keys):
        assert keys["temperature"] == 0.0
        assert {str(p.dtype) for p in model.parameters()} == {
            "torch.bfloat16" if bf16 else "torch.float32"
        }
        responses = [text.partition("[Response]\n")[2].partition("\n[End")[0] for text in prompts]
        return [[SimpleNamespace(text=f"[[{len(text)}]]")] for text in responses]

    monkeypatch.setattr(judge, "sample_responses", sample)
    folder = make_model(tmp_path / "judge")
    source = write(f"judge: {folder}\nrubric: good\nscale: [1, 10]\n")
    scores = load_reward(source, bf16=bf16).score(["p", "p", "p"], ["a", "bbb", "a"])
    assert scores.scores.tolist() == [1.0, 3.0, 1.0]
