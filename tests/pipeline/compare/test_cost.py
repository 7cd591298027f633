"""Costs and budgets by value."""

import json
from pathlib import Path

from rlhf.pipeline.compare.budget import (
    limits_of,
    prompts_of,
    prompts_within,
    responses_per_step,
    step_seconds,
)
from rlhf.pipeline.compare.cost import (
    Cost,
    LabelTokens,
    cost_of,
    label_tokens,
    ppo_cost,
    rejection_cost,
    seconds_of,
    timed,
)
from rlhf.pipeline.compare.runs import training_runs
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.dpo.config import DPOConfig
from rlhf.training.ppo.config import PPOConfig
from tests.errors import raises
from tests.pipeline.compare.points import config_of


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(folder, methods, **keys):
    """The first run of a comparison in the folder, with its configuration."""
    config = config_of(methods, **keys)
    return training_runs(RunConfig(output_dir=str(folder)), config)[0], config


def columns_of(path):
    return [json.loads(line)["column"] for line in Path(path).read_text().splitlines()]


def count_words(text):
    return len(text.split()) + 1


def ppo_config(**keys):
    return PPOConfig(max_steps=10, rollout_batch_size=16, num_minibatches=2, **keys)


def test_cost_of_ppo_is_episodes_and_tokens_times_passes():
    """Two iterations of 16 responses of 5 and 7 tokens on average, 3 passes: 2 · 16 · 6 · 3."""
    lines = [
        {"step": 0, "episode": 0, "eval_score": 0.1},
        {"step": 1, "episode": 16, "response_length": 5.0},
        {"step": 2, "episode": 32, "response_length": 7.0},
    ]
    assert ppo_cost(lines, ppo_config(num_ppo_epochs=3)) == (32, 576)
    assert ppo_cost([], ppo_config()) == (0, 0)


def test_cost_of_rejection_sampling(tmp_path):
    """Two rounds of 2 prompts x 3 responses; best responses of 2 + 1 and 3 + 1 tokens, 2 epochs."""
    for number in (1, 2):
        folder = tmp_path / f"round-{number}"
        rows = [{"prompt": p, "responses": ["a", "b", "c"], "scores": [1, 2, 3]} for p in "xy"]
        write_lines(folder / "responses" / "scored.jsonl", rows)
        best = [{"prompt": "x", "completion": "a b"}, {"prompt": "y", "completion": "a b c"}]
        write_lines(folder / "responses" / "best.jsonl", best)
        write_lines(folder / "sft" / "metrics.jsonl", [{"step": 4, "epoch": 2.0}])
    assert rejection_cost(tmp_path, 2, count_words) == (12, 2 * 2 * 7)


def test_tokens_of_labels_count_a_response_of_a_prompt_once(tmp_path):
    """Prompt x: "a", "b c" and "d" have 2 + 3 + 2 tokens; prompt y: "e" and "f g" have 2 + 3.

    Thumbs are the ends: x a, x d; x b c, x a; y e, y f g.
    """
    path = tmp_path / "rankings.jsonl"
    rows = [
        {"prompt": "x", "responses": ["a", "b c", "d"], "ranks": [1, 2, 3]},
        {"prompt": "x", "responses": ["b c", "a"], "ranks": [1, 2]},
        {"prompt": "y", "responses": ["e", "f g"], "ranks": [1, 2]},
    ]
    write_lines(path, rows)
    tokens = label_tokens(path, count_words)
    assert tokens == LabelTokens(dpo=(7 + 5) / 2, kto=(2 + 2 + 3 + 2 + 2 + 3) / 6)


def test_cost_of_dpo_is_steps_times_prompts_of_a_batch(tmp_path):
    """5 steps of 4 x 2 prompts on 2 processes, 10 tokens each; all attempts count as time."""
    run, _ = make_run(tmp_path, {"dpo": {"sweep": {"beta": [0.1]}}})
    inputs = {"num_processes": 2}
    write_lines(run.folder / "train" / "metrics.jsonl", [{"step": 0}, {"step": 5, "loss": 0.1}])
    record = {"inputs": inputs, "done": {"dpo": 3.0}, "finished": True}
    (run.folder / "train" / "stage.json").write_text(json.dumps(record))
    statuses = iter([75, 0])
    step = Step(name="dpo", run=lambda: next(statuses))
    stage = timed(Stage(name="x", folder=run.folder, inputs=inputs, steps=[step]), run)
    assert [stage.steps[0].run(), stage.steps[0].run()] == [75, 0]
    lines = (run.folder / "seconds.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert seconds_of(run, {"num_processes": 1}) == 0
    digest = json.loads(lines[0])["inputs"]
    write_lines(
        run.folder / "seconds.jsonl", [{"inputs": digest, "seconds": s} for s in (1.5, 2.5)]
    )
    config = DPOConfig(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    cost = cost_of(run, (None, None, None, config), LabelTokens(dpo=10.0, kto=1.0), count_words)
    assert cost == Cost(responses=0, tokens=5 * 4 * 2 * 2 * 10, seconds=4.0)


def test_responses_bound_iterations_of_ppo(tmp_path):
    """100 responses are 6 iterations of 16; with remax, whose 16 greedy ones count too, 3."""
    run, config = make_run(tmp_path, {"ppo": {"sweep": {"kl_coef": [0.1]}}}, budget_responses=100)
    parsed = (None, None, None, None, ppo_config())
    assert limits_of(run, config, parsed, {}) == {"max_steps": 6}
    assert responses_per_step(ppo_config(advantage="remax")) == 32
    episodes = PPOConfig(total_episodes=500, rollout_batch_size=16, num_minibatches=2)
    assert limits_of(run, config, (*parsed[:4], episodes), {}) == {"total_episodes": 96}
    _, small = make_run(tmp_path, {"ppo": {"sweep": {"kl_coef": [0.1]}}}, budget_responses=15)
    with raises("key-conflict", "budget_responses=15", "16 responses"):
        limits_of(run, small, parsed, {})


def test_responses_do_not_bound_dpo(tmp_path):
    run, config = make_run(tmp_path, {"dpo": {"sweep": {"beta": [0.1]}}}, budget_responses=1)
    assert limits_of(run, config, (None,) * 4, {}) == {}


def test_responses_bound_prompts_of_rejection_sampling(tmp_path):
    """100 responses in 2 rounds of 8 are 6 prompts, drawn by the seed."""
    prompts = tmp_path / "prompts.jsonl"
    write_lines(prompts, [{"prompt": f"Name {i}.", "column": i} for i in range(20)])
    methods = {"rejection_sampling": {"keys": {"num_rounds": 2}, "sweep": {"num_responses": [8]}}}
    run, config = make_run(tmp_path, methods, budget_responses=100)
    object.__setattr__(config, "prompts", str(prompts))
    assert prompts_within(run, config) == 6
    path = prompts_of(run, config)["train_data"]
    chosen = columns_of(path)
    assert len(chosen) == 6
    assert chosen == sorted(chosen)
    assert prompts_of(run, config) == {"train_data": path}
    assert columns_of(path) == chosen
    object.__setattr__(config, "budget_responses", 16 * 20)
    assert prompts_of(run, config) == {}
    object.__setattr__(config, "budget_responses", 15)
    with raises("key-conflict", "one prompt"):
        limits_of(run, config, (), {})


def test_seconds_bound_steps_by_the_measured_speed(tmp_path):
    run, config = make_run(tmp_path, {"ppo": {"sweep": {"kl_coef": [0.1]}}}, budget_seconds=60.0)
    parsed = (None, None, None, None, ppo_config(critic_warmup_steps=2))
    assert limits_of(run, config, parsed, {"ppo": 2.5}) == {"max_steps": 24}
    with raises("key-conflict", "budget_seconds=60", "3 steps"):
        limits_of(run, config, parsed, {"ppo": 25.0})
    assert limits_of(run, config, parsed, {}) == {}  # before the speed is known


def test_speed_of_a_short_run(tmp_path):
    """PPO: 16 responses at 8, 4 and 2 per second after warm-up and a first step: median 4 s.

    DPO: the median of 1, 3 and 2 seconds between logged steps.
    """
    ppo, _ = make_run(tmp_path, {"ppo": {"sweep": {"kl_coef": [0.1]}}})
    rates = [100.0, 50.0, 8.0, 4.0, 2.0]
    write_lines(
        tmp_path / "ppo" / "metrics.jsonl",
        [{"step": i, "samples_per_second": rate} for i, rate in enumerate(rates, 1)],
    )
    parsed = (None, None, None, None, ppo_config(critic_warmup_steps=1))
    assert step_seconds(tmp_path / "ppo", ppo.method, parsed) == 4.0
    dpo, _ = make_run(tmp_path, {"dpo": {"sweep": {"beta": [0.1]}}})
    times = [10.0, 11.0, 14.0, 16.0]
    lines = [{"step": i, "time": time, "loss": 1.0} for i, time in enumerate(times, 1)]
    write_lines(tmp_path / "dpo" / "metrics.jsonl", [{"step": 0, "time": 1.0}, *lines])
    assert step_seconds(tmp_path / "dpo", dpo.method, ()) == 2.0
    with raises("other-run", "none"):
        step_seconds(tmp_path / "none", dpo.method, ())
