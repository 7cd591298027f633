"""Early stopping on curves of known kind, then in a run that is resumed."""

import math
import random

import pytest
import torch

from rlhf.errors import ConfigError
from rlhf.training.common.early_stopping import EarlyStopping
from rlhf.training.sft.config import SFTConfig
from tests.training.sft.test_trainer import ROWS, base, train  # noqa: F401 - base is a fixture


def _end(losses, *, patience=3, threshold=0.002):
    """(evaluation at which the run ended or None, evaluation whose weights are kept)."""
    stopper = EarlyStopping(patience, threshold)
    for number, loss in enumerate(losses):
        stopper.see(loss, number, {"w": torch.tensor([float(number)])})
        if stopper.over:
            return number, int(stopper.weights["w"])
    return None, int(stopper.weights["w"])


def test_a_loss_that_falls_on_never_ends_the_run():
    """1% lower each time."""
    assert _end([0.99**i for i in range(60)]) == (None, 59)


def test_a_plateau_ends_the_run_three_evaluations_after_its_beginning():
    """Falls to 1.0 at the fourth evaluation (number 3) and stays: numbers 4, 5, 6 are none."""
    assert _end([4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == (6, 3)


def test_an_exponential_ends_where_its_steps_are_below_the_threshold():
    """1 + e^-n. From one mark to the next at most three evaluations may pass.

    After the mark at 5 (1.006738) come 6 (1.002479, 0.42% lower: progress), then 7 (1.000912,
    0.16% below 1.002479: none), 8 (1.000335, 0.21%: progress), 9 (0.02%), 10, 11: over.
    """
    assert _end([1 + math.exp(-n) for n in range(30)]) == (11, 11)


def test_a_loss_that_creeps_is_progress_when_the_steps_add_up():
    """0.1% lower each time is 0.2% in two: the run goes on; at 0.05% it ends."""
    assert _end([0.999**i for i in range(50)], patience=3)[0] is None
    assert _end([0.9995**i for i in range(50)], patience=3)[0] == 3


def test_a_loss_that_rises_again_keeps_the_lowest():
    assert _end([3.0, 2.0, 1.0, 1.1, 1.2, 1.3, 0.1]) == (5, 2)


def test_noise_around_a_plateau_ends_the_run_and_noise_on_a_slope_does_not():
    rng = random.Random(0)
    flat = [1.0 + 0.01 * rng.random() for _ in range(200)]
    assert _end(flat)[0] is not None
    slope = [3.0 - 0.02 * i + 0.01 * rng.random() for i in range(100)]
    assert _end(slope)[0] is None


def test_without_patience_nothing_ends_and_nothing_is_kept():
    stopper = EarlyStopping(None)
    for number in range(50):
        stopper.see(1.0, number, {"w": torch.zeros(1)})
    assert not stopper.over
    assert stopper.weights == {}


def test_what_was_seen_survives_a_checkpoint():
    one, other = EarlyStopping(3, 0.01), EarlyStopping(3, 0.01)
    losses = [3.0, 1.0, 1.0, 1.0]
    for number, loss in enumerate(losses):
        one.see(loss, number, {"w": torch.tensor([loss])})
    other.restore(one.state())
    for stopper in (one, other):
        stopper.see(1.0, 4, {"w": torch.zeros(1)})
    assert (other.over, other.step, other.lowest) == (True, 1, 1.0) == (one.over, 1, 1.0)


KEYS = {"learning_rate": 0.03, "lr_scheduler_type": "constant", "warmup_ratio": 0.0,
        "max_steps": 40, "eval_steps": 2, "packing": False, "early_stopping_patience": 2,
        "save_steps": 4, "save_total_limit": 9}  # fmt: skip


def test_sft_stops_and_keeps_the_best_weights_and_resumes_to_the_same(base, tmp_path):  # noqa: F811
    """Rows of one thing are learned by heart; the held-out ones get worse soon."""
    held_out, rows = ROWS[:2], ROWS[4:6]
    whole, lines = train(base, tmp_path / "run", rows=rows, held_out=held_out, **KEYS)
    losses = {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}
    assert whole.stopped_early
    assert whole.steps < 40
    assert whole.eval_loss_after == pytest.approx(min(losses.values()))
    checkpoint = tmp_path / "run" / "checkpoint-4"
    if checkpoint.is_dir():
        again, _ = train(
            base, tmp_path / "again", rows=rows, held_out=held_out, resume=checkpoint, **KEYS
        )
        assert again.steps == whole.steps
        for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_sft_without_held_out_rows_has_nothing_to_stop_by(base, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="nothing is held out"):
        train(base, tmp_path / "run", early_stopping_patience=2)


@pytest.mark.parametrize("keys", [{"early_stopping_patience": 0}, {"early_stopping_threshold": 1}])
def test_settings_that_mean_nothing_are_refused(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        SFTConfig(**keys)
