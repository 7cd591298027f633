"""Reward-model training: exact resume, gradients that batching leaves alone, learning."""

import json
import math
import random
from dataclasses import replace
from functools import partial

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError, ConfigError, TrainingError
from rlhf.models.config import ModelConfig
from rlhf.models.load import add_lora, new_reward_model
from rlhf.models.scorer import Scorer, score_ids
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.reward.annotators import ANNOTATORS
from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.cross_fit import weigh_annotators
from rlhf.training.reward.data import draw_for_heads, tokenize
from rlhf.training.reward.metrics import measure, normalization, summary
from rlhf.training.reward.schedule import batch_rows, num_steps, rate
from rlhf.training.reward.trainer import train_reward_model
from rlhf.types import Demonstration, Ranking
from tests.tiny_models import make_model

WORDS = "red ball box cat dog bird sea story".split()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Llama and its tokenizer."""
    start_processes(1)
    path = make_model(tmp_path_factory.mktemp("model"))
    return path, load_tokenizer(str(path))


def rankings(count, seed=0, answers=3):
    """Answers in the order of how many of their words are `cat`."""
    draw, rows = random.Random(seed), []
    while len(rows) < count:
        texts = [" ".join(draw.choice(WORDS) for _ in range(4)) for _ in range(answers)]
        ranks = [1 + sum(b.count("cat") > a.count("cat") for b in texts) for a in texts]
        if len(set(ranks)) > 1:
            rows.append(Ranking(prompt=f"Story {draw.random()}", responses=texts, ranks=ranks))
    return rows


def train(base, folder, rows, *, held_out=(), resume=None, model=None, seed=0, bf16=False, **keys):
    """The trained model and the lines of metrics.jsonl."""
    path, chat = base
    model = model if model is not None else new_reward_model(path, seed=0)
    settings = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "logging_steps": 1}
    config = RewardModelConfig(**(settings | keys))
    folder.mkdir(exist_ok=True)
    train_reward_model(
        model,
        tokenize(chat, rows),
        tokenize(chat, held_out),
        run=RunConfig(output_dir=str(folder), seed=seed),
        model_config=ModelConfig(model_name_or_path=str(path), bf16=bf16),
        config=config,
        pad_token_id=chat.pad_token_id,
        data_sha256="rows",
        resume=resume,
    )
    metrics = folder / "metrics.jsonl"  # none where nothing was left to do
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return model, [json.loads(line) for line in lines]


def same(one, two, **tolerance):
    """All weights of two models."""
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_resumed_equals_uninterrupted(base, tmp_path):
    """Eight steps at once, and the last four again from checkpoint-4: bit for bit."""
    keys = {"max_steps": 8, "save_steps": 4, "save_total_limit": 5}
    whole, lines = train(base, tmp_path / "run", rankings(20), **keys)
    again, later = train(
        base, tmp_path / "again", rankings(20), resume=tmp_path / "run" / "checkpoint-4", **keys
    )
    same(whole, again, rtol=0, atol=0)
    assert [x["loss"] for x in later] == [x["loss"] for x in lines if x["step"] > 4]


def test_the_logged_loss_is_that_of_all_its_steps(base, tmp_path):
    """A checkpoint between two lines of metrics: the next one speaks of the steps before it too."""
    keys = {"max_steps": 6, "save_steps": 2, "save_total_limit": 5, "logging_steps": 3}
    _, lines = train(base, tmp_path / "run", rankings(20), **keys)
    _, later = train(
        base, tmp_path / "again", rankings(20), resume=tmp_path / "run" / "checkpoint-2", **keys
    )
    assert [(x["step"], x["loss"]) for x in later] == [
        (x["step"], x["loss"]) for x in lines if x["step"] > 2
    ]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label_smoothing": 0.1}, r"label_smoothing 0\.0, this run has 0\.1"),
        ({"loss_type": "plackett_luce"}, "loss_type bradley_terry"),
        ({"seed": 1}, "seed 0, this run has 1"),
    ],
)
def test_another_loss_or_order_is_another_run(base, tmp_path, changed, words):
    train(base, tmp_path / "run", rankings(20), max_steps=2)
    resume = tmp_path / "run" / "checkpoint-2"
    with pytest.raises(CheckpointError, match=words):
        train(base, tmp_path / "again", rankings(20), resume=resume, max_steps=2, **changed)


def test_other_rankings_of_the_same_file_are_another_run(base, tmp_path):
    """As many of them: another share was held out."""
    train(base, tmp_path / "run", rankings(20)[:18], max_steps=2)
    with pytest.raises(CheckpointError, match="rankings of sha256"):
        train(
            base,
            tmp_path / "again",
            rankings(20)[2:],
            resume=tmp_path / "run" / "checkpoint-2",
            max_steps=2,
        )


def test_another_run_is_not_resumed(base, tmp_path):
    train(base, tmp_path / "run", rankings(20), max_steps=2)
    with pytest.raises(CheckpointError, match="batch_size 4, this run has 8"):
        train(
            base,
            tmp_path / "again",
            rankings(20),
            resume=tmp_path / "run" / "checkpoint-2",
            max_steps=2,
            per_device_train_batch_size=8,
        )


def test_accumulation_changes_nothing(base, tmp_path):
    """4 prompts at once, or 4 times 1: the same sums, so the same weights."""
    one, _ = train(base, tmp_path / "a", rankings(12), max_steps=3)
    four, _ = train(
        base,
        tmp_path / "b",
        rankings(12),
        max_steps=3,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )
    same(one, four, rtol=1e-3, atol=1e-5)


def test_first_loss_of_a_zero_head_is_log_2(base, tmp_path):
    """All rewards 0: every pair is a coin, whatever the number of answers."""
    model = new_reward_model(base[0], seed=0)
    model.score.weight.data.zero_()
    rows = rankings(2, answers=2) + rankings(2, answers=5)
    _, lines = train(base, tmp_path / "run", rows, model=model, max_steps=1)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_it_learns_what_people_prefer(base, tmp_path):
    """Rankings by a word's count: from a coin's accuracy to nearly all held-out pairs."""
    held_out = rankings(40, seed=1)
    _, lines = train(
        base,
        tmp_path / "run",
        rankings(100),
        held_out=held_out,
        max_steps=25,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        eval_steps=25,
    )
    evaluated = [line for line in lines if "eval_accuracy" in line]
    assert evaluated[0]["step"] == 0
    assert evaluated[-1]["eval_accuracy"] > 0.9
    assert evaluated[-1]["eval_accuracy_low"] < evaluated[-1]["eval_accuracy"]
    assert evaluated[-1]["eval_loss"] < 0.4


def test_lora_on_a_bf16_base_reads_the_float32_head_that_is_trained(base, tmp_path):
    """peft keeps the frozen bf16 head first; a score is head times last state, in float32."""
    path, chat = base
    lora = ModelConfig(model_name_or_path=str(path), use_peft=True, lora_r=4)
    fresh = new_reward_model(path, seed=0, dtype=torch.bfloat16)
    model = add_lora(fresh, lora, "SEQ_CLS")
    _, lines = train(base, tmp_path / "run", rankings(8), model=model, bf16=True, max_steps=2)
    assert len(lines) == 2
    assert all(line["grad_norm"] > 0 for line in lines)
    ids = torch.tensor([[5, 6, 7]])
    score = score_ids(Scorer(model, bf16=True), ids.tolist(), chat.pad_token_id)
    head = model.get_base_model().score.modules_to_save["default"].weight
    assert head.dtype == torch.float32
    with torch.no_grad():
        state = model.get_base_model().base_model(ids).last_hidden_state[0, -1]
    torch.testing.assert_close(score, (head @ state.float()).detach())


def test_lora_trains_the_adapters_and_the_head_alone(base, tmp_path):
    path, _ = base
    model = new_reward_model(path, seed=0)
    before = {name: p.clone() for name, p in model.base_model.named_parameters()}
    lora = ModelConfig(model_name_or_path=str(path), use_peft=True, lora_r=4)
    model = add_lora(model, lora, "SEQ_CLS")
    train(base, tmp_path / "run", rankings(8), model=model, max_steps=2)
    after = dict(model.get_base_model().base_model.named_parameters())
    for name, weight in before.items():
        kept = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(kept, weight)


def test_a_loss_that_is_not_finite_stops_before_the_step(base, tmp_path):
    """The message names the step and a prompt; no weight moves, no checkpoint appears."""
    model = new_reward_model(base[0], seed=0)
    model.score.weight.data[0, 0] = math.nan
    others = model.base_model.state_dict()["norm.weight"].clone()
    with pytest.raises(TrainingError, match=r"step 1: loss nan.*'Story"):
        train(base, tmp_path / "run", rankings(8), model=model, max_steps=2)
    assert torch.equal(model.base_model.state_dict()["norm.weight"], others)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_gradient_that_gets_lost_stops_the_run(base, tmp_path):
    model = new_reward_model(base[0], seed=0)
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    with pytest.raises(TrainingError, match="step 1: the gradient of the reward model is exactly"):
        train(base, tmp_path / "run", rankings(8), model=model, max_steps=2)


def test_a_trunk_that_is_frozen_is_no_run(base, tmp_path):
    """The head alone would learn, with a loss that falls and a gradient that is not 0."""
    model = new_reward_model(base[0], seed=0)
    model.base_model.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"model: 20 of 20 .*model.embed_tokens"):
        train(base, tmp_path / "run", rankings(8), model=model, max_steps=2)


def test_rankings_that_only_tie_have_no_gradient_and_are_no_fault(base, tmp_path):
    """Under ties=out a tie teaches nothing."""
    tied = [replace(row, ranks=[1] * len(row.ranks)) for row in rankings(8)]
    _, lines = train(base, tmp_path / "run", tied, ties="out", max_steps=2)
    assert [line["grad_norm"] for line in lines] == [0.0, 0.0]


def test_padding_and_neighbours_do_not_change_a_score(base):
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    ids = [answer for ranking in tokenize(chat, rankings(5)) for answer in ranking.ids]
    ids += [ids[0] * 3]
    together = score_ids(scorer, ids, chat.pad_token_id)
    alone = torch.cat([score_ids(scorer, [row], chat.pad_token_id) for row in ids])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_normalization_makes_demonstrations_mean_0_and_std_1(base):
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    rows = [Demonstration(prompt=r.prompt, completion=r.responses[0]) for r in rankings(30)]
    found = normalization(scorer, chat, rows, seed=0)
    ids = [
        answer
        for row in rows
        for answer in tokenize(
            chat, [Ranking(prompt=row.prompt, responses=[row.completion], ranks=[1])]
        )[0].ids
    ]
    rewards = (score_ids(scorer, ids, chat.pad_token_id) - found.mean) / found.std
    assert rewards.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert rewards.std().item() == pytest.approx(1.0, abs=1e-5)
    assert found.rows == 30


def test_one_demonstration_leaves_the_scale(base):
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    rows = [Demonstration(prompt="Where?", completion="In the box")]
    assert normalization(scorer, chat, rows, seed=0).std == 1.0


def test_what_is_not_known_is_not_told_as_nan(base):
    """Held-out rankings that tie everything, demonstrations of one word."""
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    tied = replace(rankings(1)[0], ranks=[1, 1, 1])
    health = measure(scorer, tokenize(chat, [tied]), chat.pad_token_id)
    words = [Demonstration(prompt=f"Say {word}", completion=word) for word in WORDS]
    said = summary(3, health, normalization(scorer, chat, words, seed=0))
    assert said["held-out accuracy"] == "unknown: no held-out ranking has an order"
    assert "demonstrations above their shuffled words" not in said
    assert not any("nan" in value for value in said.values())


def test_health_does_not_count_ties(base):
    """Two answers of one rank make no pair: 3 answers with ranks 1, 2, 2 make two."""
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    row = replace(rankings(1)[0], ranks=[1, 2, 2])
    assert measure(scorer, tokenize(chat, [row]), chat.pad_token_id).pairs == 2


def test_three_people_on_one_prompt_are_one_piece_of_evidence(base):
    """Each ranking three times: three times the pairs, the same shares and the same intervals."""
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    once, thrice = (
        measure(scorer, tokenize(chat, rows), chat.pad_token_id)
        for rows in (rankings(12), rankings(12) * 3)
    )
    assert thrice.pairs == 3 * once.pairs
    for name in ("accuracy", "low", "high", "longer_wins", "longer_low", "longer_high"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name), abs=1e-6), name


def test_the_longer_answer_wins_by_tokens(base):
    """Four prompts, the longer answer better in three: 0.75, and 4 coins leave much open."""
    path, chat = base
    scorer = Scorer(new_reward_model(path, seed=0), bf16=False)
    rows = [
        Ranking(prompt=f"Say {i}", responses=["red ball box", "cat"], ranks=ranks)
        for i, ranks in enumerate([[1, 2], [1, 2], [1, 2], [2, 1]])
    ]
    found = measure(scorer, tokenize(chat, rows), chat.pad_token_id)
    assert found.longer_wins == 0.75
    # Residuals .25, .25, .25, -.75: variance 4/3 * 0.75 / 16 = 1/16, so 0.1875 / (1/16) = 3 flips.
    # Wilson: (0.75 + 3.8415/6) / 2.2805 = 0.6096 ∓ 1.96 * sqrt(0.0625 + 3.8415/36) / 2.2805.
    assert (found.longer_low, found.longer_high) == pytest.approx((0.256, 0.963), abs=2e-3)


def test_epochs_are_permutations_without_a_seam():
    """10 rows in batches of 4: rows 0-9 and 10-19 of the stream each hold every row once."""
    stream = [row for step in range(5) for row in batch_rows(step, 10, 4, seed=1)]
    assert sorted(stream[:10]) == list(range(10))
    assert sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


def test_number_of_steps():
    """1.5 epochs of 10 prompts in fours: 15 / 4, rounded up, are 4 steps."""
    config = RewardModelConfig(num_train_epochs=1.5)
    assert num_steps(config, 10, 4) == 4
    assert num_steps(replace(config, max_steps=7), 10, 4) == 7


def test_learning_rate_goes_up_and_down_to_zero():
    """Ten steps, two of warm-up: 1/3, 2/3, then 8/8 … 1/8, and 0 after the last."""
    rates = [rate(step, total=10, warmup_ratio=0.2) for step in range(11)]
    expected = [1 / 3, 2 / 3, *(k / 8 for k in range(8, -1, -1))]
    assert rates == pytest.approx(expected)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="eval_steps=0"):
        RewardModelConfig(eval_steps=0)
    with pytest.raises(ConfigError, match="warmup_ratio=1"):
        RewardModelConfig(warmup_ratio=1.0)


def test_early_stopping_keeps_the_weights_of_the_lowest_loss(base, tmp_path):
    """A rate far too high: the loss rises, the run ends early with the best weights it had."""
    held_out = rankings(20, seed=1)
    keys = {"eval_steps": 2, "learning_rate": 3e-2, "max_steps": 60}
    model, lines = train(
        base, tmp_path / "run", rankings(30), held_out=held_out, early_stopping_patience=2, **keys
    )
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    best = min(losses, key=losses.get)
    assert max(losses) == best + 4 < 60
    _, chat = base
    found = measure(Scorer(model, bf16=False), tokenize(chat, held_out), chat.pad_token_id)
    assert found.loss == pytest.approx(losses[best], abs=1e-5)


def test_a_run_that_early_stopping_ended_resumes_to_the_same(base, tmp_path):
    """From a checkpoint in the middle, and from the last: the same end, the same weights."""
    held_out, rows = rankings(20, seed=1), rankings(30)
    keys = {"eval_steps": 2, "learning_rate": 3e-2, "max_steps": 60, "save_steps": 2}
    keys |= {"early_stopping_patience": 2, "save_total_limit": 50, "held_out": held_out}
    whole, lines = train(base, tmp_path / "run", rows, **keys)
    last = max(line["step"] for line in lines)
    for step in (2, last):
        at = tmp_path / "run" / f"checkpoint-{step}"
        again, _ = train(base, tmp_path / f"again-{step}", rows, resume=at, **keys)
        same(whole, again, rtol=0, atol=0)


def test_heads_learn_apart_and_resume_exactly(base, tmp_path):
    """Three heads, each on its own draw of the rankings; the last half again, bit for bit."""
    path, _ = base
    keys = {"max_steps": 8, "save_steps": 4, "num_heads": 3}
    whole, _ = train(
        base, tmp_path / "run", rankings(20), model=new_reward_model(path, seed=0, num_heads=3),
        **keys,
    )  # fmt: skip
    again, _ = train(
        base, tmp_path / "again", rankings(20), resume=tmp_path / "run" / "checkpoint-4",
        model=new_reward_model(path, seed=0, num_heads=3), **keys,
    )  # fmt: skip
    same(whole, again, rtol=0, atol=0)
    drawn = draw_for_heads(tokenize(base[1], rankings(2000)), 3, seed=0)
    weights = torch.tensor([row.weights for row in drawn])
    # Exponential: mean 1 and std 1, each within 4 standard errors of 2000 draws.
    torch.testing.assert_close(weights.mean(dim=0), torch.ones(3), rtol=0, atol=0.09)
    torch.testing.assert_close(weights.std(dim=0), torch.ones(3), rtol=0, atol=0.15)


def test_a_checkpoint_of_other_weights_is_not_resumed(base, tmp_path):
    """Annotators weighed anew are another run."""
    rows = [replace(row, annotator="Ann") for row in rankings(20)]
    train(base, tmp_path / "run", rows, max_steps=2)
    chat = base[1]
    changed = [replace(row, weights=(0.5,)) for row in tokenize(chat, rows)]
    with pytest.raises(CheckpointError, match="weights"):
        train_reward_model(
            new_reward_model(base[0], seed=0),
            changed,
            [],
            run=RunConfig(output_dir=str(tmp_path / "again")),
            model_config=ModelConfig(model_name_or_path=str(base[0]), bf16=False),
            config=RewardModelConfig(max_steps=2, per_device_train_batch_size=4),
            pad_token_id=chat.pad_token_id,
            data_sha256="rows",
            resume=tmp_path / "run" / "checkpoint-2",
        )


def test_too_few_prompts_for_two_halves_are_refused(base, tmp_path):
    """Two people on one prompt: no model of the other half."""
    path, chat = base
    rows = [replace(rankings(1)[0], annotator=name) for name in ("Ann", "Bob")]
    with pytest.raises(ConfigError, match="one half of these 1 is empty"):
        weigh_annotators(
            tokenize(chat, rows),
            partial(new_reward_model, path, seed=0),
            run=RunConfig(output_dir=str(tmp_path)),
            model_config=ModelConfig(model_name_or_path=str(path), bf16=False),
            config=RewardModelConfig(annotator_weights="model", max_steps=2),
            pad_token_id=chat.pad_token_id,
            resuming=False,
        )


def test_a_half_without_ties_takes_the_threshold_of_all(base, tmp_path):
    """Rao and Kupper's, of 12 rankings of which one ties two answers: a half has none."""
    path, chat = base
    rows = [replace(row, annotator=name) for row in rankings(6, answers=2) for name in "AB"]
    rows[0] = replace(rows[0], ranks=[1, 1])
    found = weigh_annotators(
        tokenize(chat, rows),
        partial(new_reward_model, path, seed=0),
        run=RunConfig(output_dir=str(tmp_path)),
        model_config=ModelConfig(model_name_or_path=str(path), bf16=False),
        config=RewardModelConfig(annotator_weights="model", max_steps=2, ties="rao_kupper"),
        pad_token_id=chat.pad_token_id,
        resuming=False,
    )
    assert [row.ranks for row in found] == [row.ranks for row in rows]


def test_annotator_weights_are_estimated_once_and_read_again(base, tmp_path):
    """Two people who know and one who says the opposite, on prompts that nobody shares: only the
    models of the other half can tell. A resumed run reads what was written."""
    rows = [
        replace(row, annotator="XYZ"[number % 3])
        for number, row in enumerate(rankings(150, answers=4))
    ]
    rows = [
        replace(row, ranks=[5 - rank for rank in row.ranks]) if row.annotator == "X" else row
        for row in rows
    ]
    path, chat = base
    settings = {
        "run": RunConfig(output_dir=str(tmp_path)),
        "model_config": ModelConfig(model_name_or_path=str(path), bf16=False),
        "pad_token_id": chat.pad_token_id,
        "config": RewardModelConfig(
            annotator_weights="model",
            max_steps=50,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
        ),
    }
    make = partial(new_reward_model, path, seed=0)
    found = weigh_annotators(tokenize(chat, rows), make, resuming=False, **settings)
    weights = {row.annotator: row.weights for row in found}
    assert weights["X"] == (0.0,)
    assert min(weights["Y"], weights["Z"]) > (1.2,)
    assert not (tmp_path / "cross_fit").exists()
    written = (tmp_path / ANNOTATORS).read_text().replace('"weight": 0.0', '"weight": 0.25')
    (tmp_path / ANNOTATORS).write_text(written)
    again = weigh_annotators(tokenize(chat, rows), make, resuming=True, **settings)
    assert {row.annotator: row.weights for row in again}["X"] == (0.25,)
