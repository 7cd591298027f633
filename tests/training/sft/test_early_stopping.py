"""Early stopping on known curves, then in a run that is resumed."""

import math
import random

import pytest
import torch

from rlhf.training.common.early_stopping import EarlyStopping
from rlhf.training.sft.config import SFTConfig
from tests.errors import raises
from tests.training.tiny_runs import DEMONSTRATIONS as ROWS
from tests.training.tiny_runs import tune


def _end(losses, *, patience=3, threshold=0.002):
    """(evaluation that ended the run or None, evaluation whose weights are kept)."""
    stopper = EarlyStopping(patience, threshold)
    for number, loss in enumerate(losses):
        stopper.update(loss, number, {"w": torch.tensor([float(number)])})
        if stopper.over:
            return number, int(stopper.weights["w"])
    return None, int(stopper.weights["w"])


def test_falling_loss_never_ends_the_run():
    """1% lower each time."""
    assert _end([0.99**i for i in range(60)]) == (None, 59)


def test_plateau_ends_the_run_after_three_evaluations():
    """Falls to 1.0 at the fourth evaluation (number 3); 4, 5 and 6 are no progress."""
    assert _end([4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == (6, 3)


def test_exponential_ends_when_steps_fall_below_the_threshold():
    """1 + e^-n. From one mark to the next at most three evaluations may pass.

    After the mark at 5 (1.006738) come 6 (1.002479, 0.42% lower: progress), then 7 (1.000912,
    0.16% below 1.002479: none), 8 (1.000335, 0.21%: progress), 9 (0.02%), 10, 11: over.
    """
    assert _end([1 + math.exp(-n) for n in range(30)]) == (11, 11)


def test_slow_fall_is_progress_when_the_steps_add_up():
    """0.1% lower each time is 0.2% in two: the run continues; at 0.05% it ends."""
    assert _end([0.999**i for i in range(50)], patience=3)[0] is None
    assert _end([0.9995**i for i in range(50)], patience=3)[0] == 3


def test_rising_loss_keeps_the_lowest():
    assert _end([3.0, 2.0, 1.0, 1.1, 1.2, 1.3, 0.1]) == (5, 2)


def test_noise_ends_the_run_on_a_plateau_but_not_on_a_slope():
    rng = random.Random(0)
    flat = [1.0 + 0.01 * rng.random() for _ in range(200)]
    assert _end(flat)[0] is not None
    slope = [3.0 - 0.02 * i + 0.01 * rng.random() for i in range(100)]
    assert _end(slope)[0] is None


def test_without_patience_no_run_ends_and_no_weights_are_kept():
    stopper = EarlyStopping(None)
    for number in range(50):
        stopper.update(1.0, number, {"w": torch.zeros(1)})
    assert not stopper.over
    assert stopper.weights == {}


def test_state_survives_a_checkpoint():
    one, other = EarlyStopping(3, 0.01), EarlyStopping(3, 0.01)
    losses = [3.0, 1.0, 1.0, 1.0]
    for number, loss in enumerate(losses):
        one.update(loss, number, {"w": torch.tensor([loss])})
    other.restore(one.state())
    for stopper in (one, other):
        stopper.update(1.0, 4, {"w": torch.zeros(1)})
    assert (other.over, other.step, other.lowest) == (True, 1, 1.0) == (one.over, 1, 1.0)


KEYS = {"learning_rate": 0.03, "lr_scheduler_type": "constant", "warmup_ratio": 0.0,
        "max_steps": 40, "eval_steps": 2, "packing": False, "early_stopping_patience": 2,
        "save_steps": 4, "save_total_limit": 9}  # fmt: skip


def test_sft_stops_keeps_the_best_weights_and_resumes_the_same(llama, tmp_path):
    """Rows about one thing are memorised; the held-out ones soon get worse."""
    held_out, rows = ROWS[:2], ROWS[4:6]
    whole, lines = tune(llama, tmp_path / "run", rows=rows, held_out=held_out, **KEYS)
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    assert whole.stopped_early == "the held-out loss stopped falling"
    assert whole.steps < 40
    assert whole.eval_loss_after == pytest.approx(min(losses.values()))
    checkpoint = tmp_path / "run" / "checkpoint-4"
    if checkpoint.is_dir():
        again, _ = tune(
            llama, tmp_path / "again", rows=rows, held_out=held_out, resume=checkpoint, **KEYS
        )
        assert again.steps == whole.steps
        for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_early_stopping_needs_held_out_rows(llama, tmp_path):
    with raises("key-conflict", "early_stopping_patience"):
        tune(llama, tmp_path / "run", early_stopping_patience=2)


@pytest.mark.parametrize("keys", [{"early_stopping_patience": 0}, {"early_stopping_threshold": 1}])
def test_settings_out_of_range_are_rejected(keys):
    with raises("bad-value", next(iter(keys))):
        SFTConfig(**keys)
