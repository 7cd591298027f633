"""Keys of DPO: ranges, and keys without an effect."""

import pytest

from rlhf.training.dpo.config import DPOConfig
from tests.errors import raises


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"beta": 0.0}, "bad-value", "beta=0"),
        ({"beta": float("nan")}, "bad-value", "beta=nan"),
        ({"sft_coef": -1.0}, "bad-value", "sft_coef"),
        ({"loss_type": "cdpo", "label_smoothing": 0.5}, "bad-value", "label_smoothing=0.5"),
        ({"sample_max_new_tokens": 0}, "bad-value", "sample_max_new_tokens"),
        ({"label_smoothing": 0.1}, "key-conflict", "label_smoothing"),
        ({"loss_type": "ipo", "margin_coef": 0.1}, "key-conflict", "margin_coef"),
        ({"simpo_gamma": 0.5}, "key-conflict", "simpo_gamma"),
        ({"loss_type": "robust"}, "missing-key", "label_smoothing"),
        ({"loss_type": "orpo", "sft_coef": 0.5}, "key-conflict", "sft_coef"),
    ],
)
def test_key_out_of_range_or_without_effect_raises(keys, code, name):
    with raises(code, name):
        DPOConfig(**keys)


def test_losses_without_reference():
    needs = {kind: DPOConfig(loss_type=kind).needs_reference for kind in ("sigmoid", "simpo")}
    assert needs == {"sigmoid": True, "simpo": False}
