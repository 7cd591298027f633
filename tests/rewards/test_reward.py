import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlhf.data.rows.sources import split_weight
from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.function import check_columns, load_function
from rlhf.rewards.model import RewardModel
from rlhf.rewards.reward import load_reward
from rlhf.rewards.spec import RewardSpec
from tests.errors import raises
from tests.tiny_models import make_model

PROMPTS = ["Where is the red ball?", "Name three animals.", "Hi"]
RESPONSES = ["In the box.", "A cat, a dog and a bird.", ""]
FUNCTIONS = """
import torch
from neighbour import ONE

def length(prompts, completions, **columns):
    return [len(text) * ONE for text in completions]

def right(prompts, completions, answer):
    return [float(a in c) for a, c in zip(answer, completions)]

def raises(prompts, completions):
    raise KeyError("boom")

def nothing(prompts, completions):
    return [None if "animals" in prompt else 1.0 for prompt in prompts]

def fussy(prompts, completions):
    if any("animals" in prompt for prompt in prompts):
        raise ValueError("no animals")
    return [1.0 for _ in prompts]

def ranked(prompts, completions):
    longest = max(map(len, completions))
    return [len(c) / longest if c else None for c in completions]

def nan(prompts, completions):
    return [1.0, 2.0, float("nan")]

def short(prompts, completions):
    return [1.0]

def scalar(prompts, completions):
    return 1.0

def several(prompts, completions):
    return torch.ones(len(prompts), 2)

def vector(prompts, completions):
    return torch.tensor([len(text) / 2 for text in completions])

def roles(prompts, completions):
    return [float(c[0]["role"] == "assistant") for c in completions]
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Qwen2-shaped reward model, mean 0.25 and std 0.5."""
    folder = tmp_path_factory.mktemp("reward")
    base = make_model(folder / "base", "qwen2")
    chat = load_tokenizer(str(base))
    save_reward_model(folder / "model", new_reward_model(base, seed=1), chat, 0.25, 0.5)
    return str(folder / "model")


@pytest.fixture
def functions(tmp_path):
    (tmp_path / "neighbour.py").write_text("ONE = 1.0\n")
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return f"{tmp_path}/functions.py"


def test_raw_scores_are_what_plain_transformers_gives(model_folder):
    scores = RewardModel(model_folder).score(PROMPTS, RESPONSES)
    plain = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    chat = load_tokenizer(model_folder)
    for prompt, response, score in zip(PROMPTS, RESPONSES, scores, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        rendered = chat.tokenizer.apply_chat_template(turns, return_dict=False)
        assert rendered == judged_ids(chat, prompt, response)
        ids = torch.tensor([rendered])
        assert plain(ids).logits.item() == pytest.approx(score, abs=1e-5)
    batch = tokenizer.pad(
        {"input_ids": [judged_ids(chat, p, a) for p, a in zip(PROMPTS, RESPONSES, strict=True)]},
        return_tensors="pt",
    )
    torch.testing.assert_close(plain(**batch).logits[:, 0], torch.tensor(scores), atol=1e-5, rtol=0)


def test_weighted_sum_keeps_the_breakdown(model_folder, functions):
    """Model: (raw - 0.25) / 0.5; function: as it is; total: model + 0.1 * function."""
    raw = torch.tensor(RewardModel(model_folder).score(PROMPTS, RESPONSES))
    name = f"{functions}:length"
    scores = load_reward([model_folder, f"0.1*{name}"]).score(PROMPTS, RESPONSES)
    normalized, lengths = (raw - 0.25) / 0.5, torch.tensor([11.0, 24.0, 0.0])
    torch.testing.assert_close(scores.breakdown[model_folder], normalized)
    assert torch.equal(scores.breakdown[name], lengths)
    torch.testing.assert_close(scores.scores, normalized + 0.1 * lengths)


@pytest.mark.parametrize(("normalize", "shift", "divisor"), [("none", 0, 1), ("mean", 0.25, 1)])
def test_normalization_can_be_left_out(model_folder, normalize, shift, divisor):
    raw = torch.tensor(RewardModel(model_folder).score(PROMPTS, RESPONSES))
    scores = load_reward([model_folder], normalize=normalize).score(PROMPTS, RESPONSES).scores
    torch.testing.assert_close(scores, (raw - shift) / divisor)


def test_columns_go_to_the_function_by_name(functions):
    columns = [{"answer": "box", "other": 1}, {"answer": "cow"}, {"answer": ""}]
    reward = load_reward([f"{functions}:right"])
    assert reward.score(PROMPTS, RESPONSES, columns).scores.tolist() == [1.0, 0.0, 1.0]


def test_conversational_prompt_gets_conversational_completion(functions):
    prompts = [[{"role": "user", "content": "Hi"}]]
    assert load_reward([f"{functions}:roles"]).score(prompts, ["x"]).scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("raises", ("KeyError: 'boom'", "red ball")),
        ("nothing", ("None", "1 of 3", "Name three")),
        ("nan", ("nan", "'Hi'")),
        ("short", ("1 for 3",)),
        ("scalar", ("float for 3",)),
        ("several", ("tensor([1., 1.])", "3 of 3")),
    ],
)
def test_unusable_reward_stops_the_run_and_names_prompts(functions, name, values):
    with raises("no-reward", f":{name}", *values) as caught:
        load_reward([f"{functions}:{name}"]).score(PROMPTS, RESPONSES)
    assert "one" in str(caught.value).rpartition(". ")[2]  # the next step: one number each


def test_reward_function_may_return_a_tensor(functions):
    assert load_reward([f"{functions}:vector"]).score(PROMPTS, RESPONSES).scores.tolist() == [
        *(5.5, 12.0, 0.0)
    ]


@pytest.mark.parametrize(
    ("name", "bad", "why"),
    [
        ("raises", [0, 1, 2], "raised KeyError"),
        ("fussy", [1], "raised ValueError: no animals"),
        ("nothing", [1], "returned None"),
    ],
)
def test_skip_leaves_out_failing_responses_with_the_reason(functions, name, bad, why):
    """A function that raises for one answer of three still scores the other two."""
    scores = load_reward([f"{functions}:{name}"], on_error="skip").score(PROMPTS, RESPONSES)
    assert [row for row, failure in enumerate(scores.failures) if failure] == bad
    assert why in scores.failures[bad[0]]
    assert scores.scores.isfinite().tolist() == [row not in bad for row in range(3)]


def test_responses_with_a_number_are_scored_once(functions):
    """None for one of three: the others keep what they got beside it, 11/24 and 1, not 1 each."""
    scores = load_reward([f"{functions}:ranked"], on_error="skip").score(PROMPTS, RESPONSES)
    assert [bool(failure) for failure in scores.failures] == [False, False, True]
    assert "returned None, which is not a finite number, for 1 of 3" in scores.failures[2]
    assert scores.scores[:2].tolist() == pytest.approx([11 / 24, 1.0])


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ([], "reward=[]"),
        (["{f}:length", "2*{f}:length"], "twice"),
        (["{f}:missing"], "'missing'"),
        (["nowhere.py:score"], "nowhere.py:score"),
        ([3.5], "3.5"),
        (["{f}:length", "{f}:length"], "twice"),
    ],
)
def test_sources_that_do_not_load_raise(functions, sources, name):
    with raises("bad-reward", name):
        load_reward([s.format(f=functions) if isinstance(s, str) else s for s in sources])


def test_reward_file_with_dataclasses_loads(tmp_path):
    """Their annotations are strings here, and are looked up in the file's own module."""
    (tmp_path / "classes.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Judge:\n    factor: float\n\n"
        "def score(prompts, completions):\n"
        "    return [Judge(2.0).factor * len(text) for text in completions]\n"
    )
    scores = load_reward([f"{tmp_path}/classes.py:score"]).score(["a"], ["four"])
    assert scores.scores.tolist() == [8.0]


def test_missing_column_of_a_reward_function_is_named(functions):
    right, length = (load_function(f"{functions}:{name}") for name in ("right", "length"))
    check_columns(right, "right", {"answer", "other"})
    check_columns(length, "length", set())  # it takes any columns by **columns
    with raises("bad-reward", "right", "answer", "prompts, completions, thoughts, id"):
        check_columns(right, "right", {"id"})


def test_reward_function_takes_prompts_and_completions_by_name():
    with raises("bad-reward", "f", "no parameter prompts"):
        check_columns(lambda completions: [], "f", set())
    with raises("bad-reward", "f", "prompts", "by position"):
        check_columns(lambda prompts, completions, /: [], "f", set())
    check_columns(lambda completions, **kwargs: [], "f", set())


def test_callables_and_loaded_models_are_rewards(model_folder, functions):
    """The same scores as by name; functions of one name are numbered."""
    model, length = RewardModel(model_folder), load_function(f"{functions}:length")
    named = load_reward([model_folder, f"{functions}:length"]).score(PROMPTS, RESPONSES)
    loaded = load_reward([model, length]).score(PROMPTS, RESPONSES)
    torch.testing.assert_close(loaded.scores, named.scores)
    assert list(loaded.breakdown) == [str(model_folder), "length"]
    halves = [lambda prompts, completions: [0.5] * len(prompts)] * 2
    assert list(load_reward(halves).score(["a"], ["b"]).breakdown) == ["<lambda> 1", "<lambda> 2"]
    with raises("bad-reward", "twice"):
        load_reward([model, model])
    weighted = load_reward(RewardSpec(length, weight=0.5)).score(PROMPTS, RESPONSES)
    assert weighted.scores.tolist() == [5.5, 12.0, 0.0]


def test_weights():
    assert split_weight("0.5*runs/reward") == (0.5, "runs/reward")
    assert split_weight("-1e-2*f.py:g") == (-0.01, "f.py:g")
    assert split_weight("runs/reward") == (1.0, "runs/reward")
    assert math.isclose(split_weight(".5*a*b")[0], 0.5)


def test_reward_model_scores_lists_of_equal_length(model_folder):
    model = RewardModel(model_folder)
    with raises("bad-value", "lists"):
        model.score("Hi", "Yo")
    with raises("bad-value", "1 prompt", "2 responses"):
        model.score(["Hi"], ["Yo", "No"])


@pytest.mark.parametrize(
    ("prompts", "responses", "name"),
    [
        ("Hi", ["a"], "prompts"),
        (["Hi"], "a", "responses"),
        ({"Hi": 1}, ["a"], "dict"),
        (None, ["a"], "NoneType"),
        (["Hi"], ["a", "b"], 2),
        (["Hi", 3], ["a", "b"], "prompts[1]=3"),
        (["Hi"], [None], "responses[0]=None"),
        ([{"role": "user", "content": "Hi"}], ["a"], "prompts[0]"),
        ([[{"role": "user"}]], ["a"], "content"),
        ([[]], ["a"], "prompts[0]=[]"),
    ],
)
def test_unfit_pairs_of_a_reward_model_are_named(model_folder, prompts, responses, name):
    model = RewardModel(model_folder)
    for score in (model.score, model.score_heads):
        with raises("bad-value", name):
            score(prompts, responses)


def test_tools_of_another_count_raise(model_folder):
    with raises("bad-value", "tools", 2):
        RewardModel(model_folder).score(["a", "b"], ["c", "d"], [()])


def test_conversation_needs_a_chat_template_of_the_reward_model(model_folder):
    model = RewardModel(model_folder, chat_template="none")
    with raises("bad-value", model_folder, "prompts[0]"):
        model.score([[{"role": "user", "content": "Hi"}]], ["a"])


@pytest.mark.parametrize(
    "values",
    [["1.5", "2"], {1.0, 2.0}, {"a": 1.0, "b": 2.0}, "12", b"12"],
    ids=["texts", "set", "mapping", "text", "bytes"],
)
def test_values_that_are_not_a_list_of_numbers_are_rejected(values):
    reward = load_reward(lambda prompts, completions: values)
    with raises("no-reward", "<lambda>"):
        reward.score(PROMPTS[:2], RESPONSES[:2])


def test_reward_spec_checks_its_fields(model_folder):
    for weight in ("2", math.nan, math.inf, None, True):
        with raises("bad-value", f"weight={weight!r}"):
            RewardSpec("model", weight=weight)
    for source in (3, None, ""):
        with raises("bad-reward", f"reward={source!r}"):
            RewardSpec(source)
    with raises("bad-value", "label=5"):
        RewardSpec("model", label=5)
    spec = RewardSpec(Path(model_folder), label="quality")
    assert (spec.source, spec.path, spec.name) == (model_folder, model_folder, "quality")
    [source] = load_reward(spec).sources
    assert (source.name, source.path) == ("quality", model_folder)


def test_loaded_module_is_no_reward(model_folder):
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    with raises("bad-reward", type(model).__name__, "RewardModel(folder)"):
        load_reward(model)


def test_function_without_a_signature_is_rejected():
    with raises("bad-reward", "max"):
        check_columns(max, "max", ())
