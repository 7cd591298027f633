"""Built-in verifiers: values by hand, and what is reported before a run."""

import json
import random

import pytest

from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import load_reward
from rlhf.rewards.scorers import check_source
from rlhf.rewards.spec import RewardSpec
from rlhf.rewards.verifiers.source import parse_verifier
from rlhf.types import PromptRow
from tests.errors import raises

CODE = "verifier:code"


def values(source, responses, columns=None):
    columns = columns or [{}] * len(responses)
    return load_reward(source).score(["p"] * len(responses), responses, columns).scores.tolist()


def check(source, *columns):
    rows = [PromptRow(prompt=f"prompt {n}", columns=each) for n, each in enumerate(columns)]
    check_source(RewardSpec(source), CallOptions(), None, rows)


def test_exact_match_compares_texts_with_one_space_for_white_space():
    responses = ["4", " 4\n", "four", "4.", "New  York", "<think>4</think>5"]
    answers = ["4", "4", "4", "4", "New York", "5"]
    columns = [{"answer": answer} for answer in answers]
    assert values("verifier:exact_match", responses, columns) == [1, 1, 0, 0, 1, 1]


def test_exact_match_options():
    columns = [{"gold": ["Yes", "Sure"]}] * 3
    source = "verifier:exact_match?column=gold&ignore_case=true"
    assert values(source, ["sure", "YES", "no"], columns) == [1, 1, 0]
    columns = [{"answer": "7"}] * 3
    source = "verifier:exact_match?after=%23%23%23%23"
    assert values(source, ["3 + 4 = 7 #### 7", "7", "#### 8 #### 7"], columns) == [1, 0, 1]


def test_conversations_are_verified_by_their_response():
    prompt = [{"role": "user", "content": "2 + 2?"}]
    reward = load_reward("verifier:exact_match")
    assert reward.score([prompt], ["4"], [{"answer": "4"}]).scores.tolist() == [1.0]


def test_regex_searches_or_matches_the_whole():
    responses = ["yes, sure", "oh yes", "yes\nsure"]
    assert values("verifier:regex?pattern=^yes", responses) == [1, 0, 1]
    assert values("verifier:regex?pattern=yes.*sure&full=true", responses) == [1, 0, 1]
    assert values("verifier:regex?pattern=a+%26b", ["aa&b", "ab"]) == [1, 0]
    columns = [{"pattern": "^o"}, {"pattern": "^o"}, {"pattern": "s"}]
    assert values("verifier:regex", responses, columns) == [0, 1, 1]


def test_length_falls_in_the_buffer_and_below_the_minimum():
    """max 6, buffer 4: 0 up to 2, then -¼ a word down to -1 at 6; min 2: 1 word is 1/2 - 1."""
    responses = ["a " * words for words in (0, 1, 2, 3, 4, 6, 9)]
    source = "verifier:length?min=2&max=6&buffer=4"
    assert values(source, responses) == [-1.0, -0.5, 0.0, -0.25, -0.5, -1.0, -1.0]
    assert values("verifier:length?max=3&unit=characters", ["abc", "abcd"]) == [0.0, -1.0]


def test_repetition_is_the_share_of_repeated_grams():
    """a b c a b c has the 3-grams abc bca cab abc: 3 of 4 differ."""
    responses = ["a b c a b c", "one two three four", "x " * 12, "short", ""]
    assert values("verifier:repetition", responses) == pytest.approx([-0.25, 0, -0.9, 0, 0])
    assert values("verifier:repetition?n=1", ["a A b b"]) == [-0.5]


def test_verifiers_are_weighted_like_other_sources():
    reward = load_reward(["2*verifier:length?max=1", "verifier:repetition?n=1"])
    scores = reward.score(["p"], ["a a"])
    assert list(scores.breakdown) == ["verifier:length?max=1", "verifier:repetition?n=1"]
    assert scores.scores.tolist() == [-2.5]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("verifier:maths", ["exact_match", "json_schema"]),
        ("verifier:", ["exact_match"]),
        ("verifier:length?maximum=3", ["maximum", "min"]),
        ("verifier:length", ["max"]),
        ("verifier:length?max=0", ["max=0"]),
        ("verifier:length?max=x", ["max=x"]),
        ("verifier:length?max=5&unit=tokens", ["unit=tokens", "words"]),
        ("verifier:length?max=5&min=9", ["max=5", "min=9"]),
        ("verifier:length?max=5&buffer=6", ["buffer=6"]),
        ("verifier:length?max", ["'max'"]),
        ("verifier:length?max=3&max=4", ["max=4"]),
        ("verifier:regex?pattern=(", ["'('"]),
        ("verifier:regex?pattern=a&full=1", ["full=1"]),
        ("verifier:repetition?n=0", ["n=0"]),
    ],
)
def test_source_that_cannot_be_used_is_reported(source, names):
    with raises("bad-reward", source, *names):
        check(source, {})


def test_missing_column_is_reported_with_its_row():
    with raises("bad-reward", "verifier:exact_match", "answer", "row 2", "prompt 1", "?column="):
        check("verifier:exact_match", {"answer": "a"}, {"other": "b"})
    with raises("bad-reward", "gold", "row 1"):
        check("verifier:exact_match?column=gold", {"answer": "a"})
    with raises("bad-reward", "answer", "row 1"):
        check("verifier:exact_match", {"answer": None})
    check("verifier:exact_match", {"answer": ""})


def test_pattern_of_a_row_is_checked_before_the_run():
    check("verifier:regex", {"pattern": "a+"})
    with raises("bad-reward", "verifier:regex", "'('"):
        check("verifier:regex", {"pattern": "a+"}, {"pattern": "("})


def test_options_are_read_as_text():
    parsed = parse_verifier("verifier:regex?pattern=a%3Db%25+c&full=true")
    assert parsed.options == {"pattern": "a=b%+c", "full": "true"}


def test_mathematics_compares_values():
    pytest.importorskip("math_verify")
    answers = ["0.5", "\\frac{1}{2}", "$\\frac{1}{2}$", "12", "x^2-1", "3"]
    responses = [
        "It is \\boxed{\\frac{1}{2}}.",
        "The answer is 0.5",
        "$1/3$",
        "So 3 * 4 = 12.",
        "$(x-1)(x+1)$",
        "I do not know.",
    ]
    columns = [{"answer": answer} for answer in answers]
    assert values("verifier:math", responses, columns) == [1, 1, 0, 1, 1, 0]
    check("verifier:math", *columns)
    with raises("bad-reward", "verifier:math", "answer"):
        check("verifier:math", {"answer": "3"}, {"answer": " "})


def test_json_schema_checks_values_and_fences(tmp_path):
    pytest.importorskip("jsonschema")
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    responses = ['{"n": 1}', '```json\n{"n": 2}\n```', '{"n": "1"}', '{"n": 1', "[]", 'ok {"n": 1}']
    for column in (schema, json.dumps(schema)):
        columns = [{"schema": column}] * len(responses)
        assert values("verifier:json_schema", responses, columns) == [1, 1, 0, 0, 0, 0]
        check("verifier:json_schema", *columns)
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    assert values(f"verifier:json_schema?file={file}", responses) == [1, 1, 0, 0, 0, 0]
    with raises("bad-reward", "none.json"):
        check("verifier:json_schema?file=none.json", {})
    for wrong in ({"type": "number of"}, "{", 3):
        with raises("bad-reward", "verifier:json_schema", "schema"):
            check("verifier:json_schema", {"schema": wrong})


def test_language_is_compared_with_the_row_or_the_option():
    pytest.importorskip("py3langid")
    responses = [
        "The weather is nice today and we are going for a long walk by the river.",
        "Das Wetter ist heute schön und wir machen einen langen Spaziergang am Fluss.",
        "123 456",
    ]
    assert values("verifier:language?language=en", responses) == [1, 0, 0]
    columns = [{"language": code} for code in ("de", "de", "en")]
    assert values("verifier:language", responses, columns) == [0, 1, 0]
    with raises("bad-reward", "language=english", "en"):
        check("verifier:language?language=english", {})
    with raises("bad-reward", "language=xx"):
        check("verifier:language", {"language": "xx"})


ASKED = {
    "instruction_id_list": [
        "punctuation:no_comma",
        "detectable_format:number_highlighted_sections",
    ],
    "kwargs": [{}, {"num_highlights": 2, "num_words": None}],
}


@pytest.fixture
def ifeval(monkeypatch):
    """IFEval's checks, on a machine that has NLTK's data."""
    reason = "needs pip install 'rlhf[ifeval]'"
    nltk = pytest.importorskip("nltk", reason=reason)
    monkeypatch.setattr(nltk.data, "find", lambda name: name)
    util = pytest.importorskip("lm_eval.tasks.ifeval.instructions_util", reason=reason)
    monkeypatch.setattr(util, "count_sentences", lambda text: 2)


def test_ifeval_is_the_share_of_followed_instructions(ifeval):
    """Two highlights and no comma; a comma; neither; the first line has the only comma."""
    responses = ["*a b* and *c d*", "*a b*, and *c d*", "a, b", "Sure, here:\n*a b* and *c d*"]
    columns = [ASKED] * 4
    assert values("verifier:ifeval", responses, columns) == [1, 0.5, 0, 0.5]
    assert values("verifier:ifeval?all=true", responses, columns) == [1, 0, 0, 0]
    assert values("verifier:ifeval?loose=true", responses, columns) == [1, 0.5, 0, 1]
    check("verifier:ifeval", ASKED)


def test_language_of_a_text_is_the_same_each_time(ifeval):
    """langdetect draws at random: without a seed this text is Polish in a third of the calls."""
    row = {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "pl"}]}
    assert len(set(values("verifier:ifeval", ["Otec matka syn."] * 30, [row] * 30))) == 1


def test_count_of_a_sign_that_is_no_letter_is_the_same_each_time(ifeval):
    """IFEval counts one of 52 letters, drawn at random, in place of "!"; 26 of them are in a-m."""
    kwargs = [{"let_relation": "at least", "letter": "!", "let_frequency": 1}]
    row = {"instruction_id_list": ["keywords:letter_frequency"], "kwargs": kwargs}
    state = random.getstate()
    assert len(set(values("verifier:ifeval", ["abcdefghijklm"] * 30, [row] * 30))) == 1
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"kwargs": [{}]}, ["2 instructions", "1 in kwargs"]),
        ({"instruction_id_list": [], "kwargs": []}, ["0 instructions"]),
        ({"kwargs": [{}, {"num_highlights": None}]}, ["num_highlights", "random"]),
        ({"kwargs": [{"num_words": 2}, {"num_highlights": 2}]}, ["no_comma", "num_words"]),
        ({"instruction_id_list": ["no_comma", "x"]}, ["'no_comma'"]),
    ],
)
def test_instructions_that_ifeval_cannot_check_are_reported(ifeval, changes, names):
    with raises("bad-reward", "verifier:ifeval", *names):
        check("verifier:ifeval", ASKED | changes)


def test_rows_of_the_benchmark_have_all_arguments(ifeval, shared_dir):
    lines = (shared_dir / "data/instructions/ifeval.jsonl").read_text().splitlines()
    check("verifier:ifeval", *map(json.loads, lines))


def test_missing_package_of_ifeval_is_named(monkeypatch):
    monkeypatch.setattr("rlhf.rewards.verifiers.ifeval.find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.tasks.ifeval.utils", None)
    with raises("missing-package", "verifier:ifeval", "rlhf[ifeval]"):
        check("verifier:ifeval", ASKED)


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("verifier:math", "math_verify"),
        ("verifier:json_schema", "jsonschema"),
        ("verifier:language", "py3langid"),
    ],
)
def test_missing_package_is_named(source, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with raises("missing-package", source, package.replace("_", "-"), "rlhf[verifiers]"):
        check(source, {"answer": "1", "schema": {}, "language": "en"})
