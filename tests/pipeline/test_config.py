"""Numbers of the pipeline are checked before its first stage."""

import pytest

from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.rounds_config import RoundsConfig, round_config
from tests.errors import raises
from tests.pipeline.keys import KEYS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_responses", 1),
        ("sample_temperature", 0.0),
        ("sample_temperature", float("nan")),
        ("sample_max_new_tokens", 0),
        ("sample_batch_size", 0),
        ("label_overlap", 0),
        ("label_quota", 0),
        ("label_port", 65536),
        ("label_eval_fraction", 0.0),
        ("label_eval_fraction", 1.0),
        ("num_processes", 0),
        ("num_responses", "4"),
    ],
)
def test_number_out_of_range_raises(key, value):
    with raises("bad-value", f"{key}={value!r}"):
        AlignConfig(**{**KEYS, key: value})


def test_number_of_a_later_round_is_checked():
    with raises("bad-value", "num_responses=1"):
        round_config(AlignConfig(**KEYS), RoundsConfig(round_keys=["2.num_responses=1"]), 2)


def test_smallest_numbers_are_accepted():
    least = dict.fromkeys(("sample_max_new_tokens", "sample_batch_size", "label_overlap"), 1)
    AlignConfig(**KEYS, **least, num_responses=2, label_quota=1, num_processes=1, label_port=0)
