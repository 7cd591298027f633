"""Generative reward models: the expected verdict, how it is read, settings, uses as a reward."""

import json
import logging

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import rlhf
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.judges.llm import judge_prompt
from rlhf.evaluation.judges.pairwise import AnonymousPair
from rlhf.evaluation.judges.scoring import judges_of_objects
from rlhf.evaluation.reward_model import cli as report_cli
from rlhf.pipeline.fingerprint import hash_source
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.reward import load_reward
from rlhf.rewards.rubric import SUPPLIED, Rubric, conversation_text, read_generative
from rlhf.rewards.spec import parse_reward
from rlhf.rewards.templates import JudgeTemplate
from tests.errors import raises
from tests.tiny_models import make_model

WORDS = {"cat": 1, "dog": 0}
PROMPTS = ["Where?", [{"role": "user", "content": "Name a bird."}], "Where?"]
RESPONSES = ["In the box.", "A bird, a cat and a dog in the red box by the sea.", "No"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def write(folder, model, **keys):
    """A file of settings; returns its path."""
    path = folder / "judge.yaml"
    path.write_text(yaml.safe_dump({"model": str(model), "verdicts": WORDS, **keys}))
    return path


def plain(model, reward, prompt, response):
    """The expected verdict and its mass by transformers' own tokens and softmax over all words."""
    chat = load_tokenizer(str(model))
    text = reward.rubric.text(prompt, response)
    ids = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(torch.tensor([ids])).logits[0, -1]
    first = [chat.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS]
    p = logits.softmax(-1)[first]
    return float(p[0] / p.sum()), float(p.sum())


def test_reward_is_the_expected_verdict_of_plain_transformers(llama, tmp_path):
    reward = GenerativeReward(write(tmp_path, llama))
    expected, mass = reward.judge(PROMPTS, RESPONSES)
    for place, pair in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        value, total = plain(llama, reward, *pair)
        assert float(expected[place]) == pytest.approx(value, abs=1e-5)
        assert float(mass[place]) == pytest.approx(total, rel=1e-3)
    assert reward.score(PROMPTS, RESPONSES) == expected.tolist()
    torch.testing.assert_close(reward.score_heads(PROMPTS, RESPONSES), expected[:, None])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma", "gpt2", "mistral"])
def test_batch_and_padding_change_nothing(tmp_path, family):
    model = make_model(tmp_path / "model", family)
    keys = {"chat_template": "none"} if family == "gpt2" else {}
    keys |= {"rubric": str(tmp_path / "rubric.jinja")}
    (tmp_path / "rubric.jinja").write_text("{{ conversation }}\n{{ response }}\nA ")
    reward = GenerativeReward(write(tmp_path, model, **keys))
    together = reward.score(PROMPTS, RESPONSES)
    alone = [reward.score([p], [r])[0] for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_shared_prefix_and_own_forward_give_the_same_reward(llama, tmp_path, monkeypatch):
    reward = GenerativeReward(write(tmp_path, llama))
    expected = reward.score(PROMPTS, RESPONSES)
    monkeypatch.setattr("rlhf.models.shared_prefix.WORTH_SHARING", 0)
    assert reward.score(PROMPTS, RESPONSES) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr("rlhf.rewards.generative.plain_head", lambda model: None)
    assert reward.score(PROMPTS, RESPONSES) == pytest.approx(expected, abs=1e-5)


def test_values_scale_the_reward(llama, tmp_path):
    """Verdicts 5 and -1: six times the share of the first, minus 1."""
    (tmp_path / "a").mkdir()
    share = GenerativeReward(write(tmp_path, llama)).score(PROMPTS, RESPONSES)
    other = GenerativeReward(write(tmp_path / "a", llama, verdicts={"cat": 5, "dog": -1}))
    expected = [6 * each - 1 for each in share]
    assert other.score(PROMPTS, RESPONSES) == pytest.approx(expected, abs=1e-4)


def test_thought_of_a_response_is_not_read(llama, tmp_path):
    reward = GenerativeReward(write(tmp_path, llama))
    thought = "<think>\nhm\n</think>\n\nNo"
    assert reward.ids("Where?", thought) == reward.ids("Where?", "No")


def test_source_is_a_reward_wherever_a_function_is(llama, tmp_path):
    path = write(tmp_path, llama)
    spec = parse_reward(f"0.5*{path}")
    assert (spec.is_function, spec.path, spec.weight) == (True, None, 0.5)
    assert (spec.language_model, parse_reward("gold.py:score").language_model) == (str(llama), None)
    RewardConfig(reward=[str(path)])
    with raises("key-conflict", "reward_chat_template"):
        RewardConfig(reward=[str(path)], reward_chat_template=["none"])
    values = GenerativeReward(path).score(PROMPTS, RESPONSES)
    scores = load_reward([f"0.5*{path}"]).score(PROMPTS, RESPONSES)
    torch.testing.assert_close(scores.scores, 0.5 * torch.tensor(values))
    given = load_reward(GenerativeReward(path)).score(PROMPTS, RESPONSES)
    torch.testing.assert_close(given.scores, torch.tensor(values))


def test_judge_of_an_evaluation_is_a_reward_model(llama, tmp_path):
    path = str(write(tmp_path, llama))
    for judge in (path, GenerativeReward(path)):
        [scoring] = judges_of_objects([judge], JudgeTemplate())
        assert scoring.judge.kind == "reward_model"


def test_fingerprint_changes_with_settings_rubric_and_model(llama, tmp_path):
    rubric = tmp_path / "rubric.jinja"
    rubric.write_text("{{ conversation }} {{ response }}")
    path = write(tmp_path, llama, rubric=str(rubric))
    first = hash_source(str(path))
    rubric.write_text("{{ conversation }}: {{ response }}")
    second = hash_source(str(path))
    write(tmp_path, llama, rubric=str(rubric), verdicts={"cat": 2, "dog": 0})
    assert len({first, second, hash_source(str(path))}) == 3


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"verdicts": {"cat": 1}}, "bad-value", "verdicts"),
        ({"verdicts": {"cat": 1, "dog": 1}}, "bad-value", "same reward"),
        ({"verdicts": {"cat": "good", "dog": 1}}, "bad-value", "'good'"),
        ({"verdicts": {" ": 1, "dog": 0}}, "bad-value", "' '"),
        ({"verdicts": ["cat", "dog"]}, "bad-value", "verdicts"),
        ({"verdicts": {True: 1, False: 0}}, "bad-value", "False"),
        ({"verdict": {}}, "unknown-key", "verdict"),
        ({"rubric": "no/such.jinja"}, "missing-file", "no/such.jinja"),
        ({"model": "no/such/model"}, "not-a-model", "no/such/model"),
        ({"chat_template_kwargs": "x"}, "bad-value", "chat_template_kwargs"),
    ],
)
def test_settings_that_cannot_be_used_raise(llama, tmp_path, keys, code, name):
    others = {key: value for key, value in keys.items() if key != "model"}
    with raises(code, name):
        GenerativeReward(write(tmp_path, keys.get("model", llama), **others))


def test_missing_file_of_settings_raises(tmp_path):
    with raises("missing-file", "judge.yaml"):
        load_reward([str(tmp_path / "judge.yaml")])


def test_words_that_yaml_reads_as_booleans_are_named(llama, tmp_path):
    path = tmp_path / "judge.yaml"
    path.write_text(f"model: {llama}\nverdicts:\n  yes: 1\n  no: 0\n")
    with raises("bad-value", "True", "quotes"):
        read_generative(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{{ response }}", "conversation"),
        ("{{ conversation }}", "response"),
        ("{{ answer }}", "answer"),
        ("{% if %}", "rubric"),
        ("{{ ''.__class__ }} {{ conversation }} {{ response }}", "unsafe"),
    ],
)
def test_rubric_that_leaves_a_part_out_raises(tmp_path, text, name):
    path = tmp_path / "rubric.jinja"
    path.write_text(text)
    with raises("template-error", name):
        Rubric(str(path), ["good", "bad"])


def test_supplied_rubric_names_the_verdicts_and_shares_the_judges_conversation():
    prompt = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a bird."},
    ]
    rubric = Rubric(None, ["good", "bad"])
    text = rubric.text(prompt, "A wren.")
    assert rubric.name == SUPPLIED
    assert "good or bad" in text
    assert "A wren." in text
    assert conversation_text(prompt) in text
    pair = AnonymousPair(prompt=prompt, first="A wren.", second="A robin.")
    assert conversation_text(prompt) in judge_prompt(pair)


def test_verdicts_that_begin_alike_raise(llama, tmp_path):
    verdicts = {"cat": 1, "cat dog": 0.5, "dog": 0}
    with raises("bad-reward", "'cat'", "'cat dog'"):
        GenerativeReward(write(tmp_path, llama, verdicts=verdicts))


def test_text_beyond_the_positions_of_the_model_raises(tmp_path):
    """GPT-2 has a table of 256 positions."""
    rubric = tmp_path / "rubric.jinja"
    rubric.write_text("{{ conversation }}\n{{ response }}\nA ")
    model = make_model(tmp_path / "model", "gpt2")
    reward = GenerativeReward(write(tmp_path, model, chat_template="none", rubric=str(rubric)))
    with raises("too-long", "256"):
        reward.score(["Where?"], ["word " * 400])


def test_little_mass_is_warned_about_once(llama, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(
        "rlhf.rewards.generative.expected_verdict",
        lambda logits, tokens, values: (torch.zeros(len(logits)), torch.full((len(logits),), 0.01)),
    )
    reward = GenerativeReward(write(tmp_path, llama))
    with caplog.at_level(logging.WARNING):
        reward.score(PROMPTS, RESPONSES)
        reward.score(PROMPTS, RESPONSES)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "0.01" in caplog.text


def test_health_report_of_a_generative_reward_model(llama, tmp_path, monkeypatch):
    rows = [
        {"prompt": f"Where is the {thing}?", "responses": ["In the box.", "No"], "ranks": [1, 2]}
        for thing in ("ball", "cat", "dog", "bird", "sea", "story", "box", "animal")
    ]
    rankings = tmp_path / "rankings.jsonl"
    rankings.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        f"--reward_model={write(tmp_path, llama)}", f"--rankings={rankings}",
        f"--output_dir={tmp_path / 'out'}", "--cpu_threads=1",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["cli", *words])
    report_cli.main()
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    metrics = {result["metric"] for result in content["results"]}
    assert {"accuracy", "longer_wins"} <= metrics
    assert "ece" not in metrics  # a difference of expected verdicts is not the logit of a choice
    assert content["reliability"] == []
    monkeypatch.setattr("sys.argv", ["cli", *words, "--chat_template=none"])
    with raises("key-conflict", "chat_template"):
        report_cli.main()


def test_ppo_is_rewarded_by_verdicts(llama, tmp_path):
    """A weight of 2: the mean score lies between 0 and 2."""
    path = write(tmp_path, llama)
    config = rlhf.PPOConfig(
        max_steps=1, rollout_batch_size=4, num_minibatches=1, max_completion_length=4,
        num_eval_prompts=2,
    )  # fmt: skip
    prompts = [{"prompt": f"Say {number}."} for number in range(4)]
    one = rlhf.PPOTrainer(
        rlhf.BackboneConfig(model_name_or_path=str(llama), bf16=False),
        prompts,
        f"2*{path}",
        config=config,
        output_dir=tmp_path / "run",
    )
    one.train()
    [line] = [line for line in one.metrics if "score" in line]
    assert 0 < line["score"] < 2


def test_evaluation_is_judged_by_verdicts(llama, tmp_path):
    evaluation = rlhf.evaluate(
        {"a": llama, "b": llama},
        [f"Say {number}." for number in range(4)],
        judge=str(write(tmp_path, llama)),
        num_generations=2,
        max_completion_length=4,
        bootstrap_samples=50,
    )
    scores = [r for r in evaluation.results if (r.metric, r.judge) == ("score", "reward_model")]
    assert {"a", "b"} <= {result.model for result in scores}
    assert all(0 < result.value < 1 for result in scores)
