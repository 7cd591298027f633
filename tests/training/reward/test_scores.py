"""Scores during and after training: each text is read once, and the metrics are the same."""

import json

import pytest
import torch

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.reward_model.probes import EMPTY, OTHER
from rlhf.evaluation.reward_model.report import make_report
from rlhf.models.load import new_reward_model
from rlhf.models.scorer import Scorer, score_ids
from rlhf.recipes import reward_model
from rlhf.rewards.model import RewardModel
from rlhf.rewards.shuffled_words import shuffled
from rlhf.training.reward.metrics import NOT_NORMALIZED
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.text_scores import TextScores
from tests.training.tiny_runs import rankings

ROWS = [
    {"prompt": row.prompt, "responses": row.responses, "ranks": row.ranks} for row in rankings(16)
]
HELD_OUT = [
    {"prompt": row.prompt, "responses": row.responses, "ranks": row.ranks}
    for row in rankings(9, seed=1)
]
DEMONSTRATIONS = [{"prompt": row["prompt"], "completion": row["responses"][0]} for row in ROWS]


class CountingScorer(Scorer):
    """Counts the rows that it reads."""

    def __init__(self, model):
        super().__init__(model, bf16=False)
        self.rows = []

    def forward(self, ids, lengths):
        self.rows += [tuple(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True)]
        return super().forward(ids, lengths)


@pytest.fixture
def scores(llama):
    scorer = CountingScorer(new_reward_model(llama, seed=0))
    return Scores(scorer, load_tokenizer(str(llama)).pad_token_id)


def test_equal_rows_are_read_once(scores):
    rows = [[5, 6, 7], [5, 6], [5, 6, 7], [8]]
    values = scores.read(rows, title="rows")
    again = scores.read([[8], [5, 6], [9]], title="rows")
    assert sorted(scores.scorer.rows) == [(5, 6), (5, 6, 7), (8,), (9,)]
    apart = torch.cat([score_ids(scores.scorer, [row], 0) for row in rows])
    torch.testing.assert_close(values[:, 0], apart, rtol=1e-5, atol=1e-5)
    assert (values[0] == values[2]).all()
    assert again[:2].tolist() == values[[3, 1]].tolist()


def test_changed_weights_are_read_again(scores):
    before = scores.read([[5, 6]], title="rows")
    scores.forget()
    scores.scorer.model.score.weight.data.mul_(2)
    torch.testing.assert_close(scores.read([[5, 6]], title="rows"), 2 * before)


def test_batches_have_similar_lengths(scores, monkeypatch):
    """Lengths 9, 8, 2, 2 with 20 tokens at once: 2 x 9 and 2 x 2, not 4 x 9."""
    monkeypatch.setattr("rlhf.models.scorer.TOKENS_ON_CPU", 20)
    shapes = []
    scores.scorer.model.base_model.register_forward_pre_hook(
        lambda module, args, options: shapes.append(options["input_ids"].shape), with_kwargs=True
    )
    rows = [[1] * 2, [2] * 9, [3] * 2, [4] * 8]
    together = scores.read(rows, title="rows")
    assert shapes == [(2, 9), (2, 2)]
    apart = torch.cat([score_ids(scores.scorer, [row], 0) for row in rows])
    torch.testing.assert_close(together[:, 0], apart, rtol=1e-5, atol=1e-5)


def test_report_equals_that_of_the_saved_model(llama, tmp_path):
    """Scored through one cache, or text by text by the model on the disk."""
    from rlhf.models.save import save_reward_model
    from rlhf.types import Demonstration

    chat, model = load_tokenizer(str(llama), judges=True), new_reward_model(llama, seed=0)
    save_reward_model(tmp_path / "saved", model, chat, 0.0, 1.0)
    texts = TextScores(Scores(Scorer(model, bf16=False), chat.pad_token_id), chat, NOT_NORMALIZED)
    demonstrations = [Demonstration(**row) for row in DEMONSTRATIONS]
    keys = {"name": "reward_model", "num_demonstrations": 9, "seed": 0}
    ours, saved = (
        make_report(each, rankings(9, seed=1), demonstrations, **keys)
        for each in (texts, RewardModel(tmp_path / "saved"))
    )
    assert [(r.metric, r.axis) for r in ours.results] == [(r.metric, r.axis) for r in saved.results]
    for one, other in zip(ours.results, saved.results, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx(
            (other.value, other.low, other.high), abs=1e-4
        ), one.metric
    assert ours.gate.verdict == saved.gate.verdict


def test_run_reads_each_text_once_after_the_last_step(llama, tmp_path, monkeypatch):
    """16 prompts with 3 responses are trained on. Held-out texts are read before the first step
    and after the last, demonstrations and their altered texts only after the last."""
    for name, rows in (("train", ROWS), ("held", HELD_OUT), ("demos", DEMONSTRATIONS)):
        (tmp_path / name).with_suffix(".jsonl").write_text(
            "".join(json.dumps(r) + "\n" for r in rows)
        )
    read = []
    forward = Scorer.forward

    def counting(self, ids, lengths):
        if not torch.is_grad_enabled():
            read.extend(tuple(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True))
        return forward(self, ids, lengths)

    monkeypatch.setattr(Scorer, "forward", counting)
    keys = {
        "model_name_or_path": llama, "output_dir": tmp_path / "run", "bf16": "false",
        "train_data": tmp_path / "train.jsonl", "eval_data": tmp_path / "held.jsonl",
        "normalization_data": tmp_path / "demos.jsonl", "max_length": 64, "max_steps": 2,
    }  # fmt: skip
    monkeypatch.setattr("sys.argv", ["rlhf reward", *(f"--{k}={v}" for k, v in keys.items())])
    reward_model.main()
    chat = load_tokenizer(str(llama), judges=True)

    def ids(rows):
        return {tuple(judged_ids(chat, prompt, text)) for prompt, text in rows}

    held_out = ids((row["prompt"], text) for row in HELD_OUT for text in row["responses"])
    texts = [row["completion"] for row in DEMONSTRATIONS]
    prompts = [row["prompt"] for row in DEMONSTRATIONS]
    known = ids(zip(prompts, texts, strict=True))
    known |= ids(zip(prompts, [shuffled(text, 0) for text in texts], strict=True))
    after = read[len(held_out) :]
    assert set(read[: len(held_out)]) == held_out
    assert len(after) == len(set(after))
    assert held_out | known <= set(after)
    results = json.loads((tmp_path / "run" / "evaluation.json").read_text())["results"]
    probed = {r["axis"]: r["n"] for r in results if r["metric"] == "score"}
    # Beyond these: an empty response to each prompt, and another prompt's response.
    assert len(set(after) - held_out - known) <= probed[EMPTY] + probed[OTHER]


def test_progress_is_printed_in_lines(scores, monkeypatch, capsys):
    monkeypatch.setattr("rlhf.runtime.progress.SECONDS", 0.0)
    monkeypatch.setattr("rlhf.runtime.progress.time.monotonic", lambda: 7.0)
    monkeypatch.setattr("rlhf.models.scorer.TOKENS_ON_CPU", 4)
    scores.read([[1, 2], [3, 4], [5, 6]], title="held-out responses")
    assert capsys.readouterr().out.splitlines() == [
        "score held-out responses: 2 of 3, about 0 s left",
        "score held-out responses: 3 of 3",
    ]


def test_progress_is_silent_under_the_logger(scores, monkeypatch, capsys):
    import logging

    monkeypatch.setattr("rlhf.runtime.progress.SECONDS", 0.0)
    monkeypatch.setattr(logging.getLogger("rlhf"), "level", logging.WARNING)
    scores.read([[1, 2]], title="held-out responses")
    assert capsys.readouterr().out == ""
