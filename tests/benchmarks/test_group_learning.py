"""The learning benchmark of GRPO: its table, and a run of both engines."""

import pytest

from benchmarks import group_learning
from benchmarks.learning import Curve


def curve(label, scores, kls):
    return Curve(label=label, seconds=[1.0] * len(scores), scores=scores, kls=kls)


def test_table_has_quarters_and_the_paired_difference():
    """Quarters of four iterations are single ones. Differences of the final scores by seed are 0.5
    and 0.1: mean 0.3, standard deviation 0.283, standard error 0.2."""
    curves = [
        curve("rlhf", [-1.0, 0, 0, 1.0], [0, 0, 0, 2.0]),
        curve("trl", [-1.0, 0, 0, 0.5], [0, 0, 0, 1.0]),
        curve("rlhf", [-2.0, 0, 0, 1.0], [0, 0, 0, 2.0]),
        curve("trl", [-1.0, 0, 0, 0.9], [0, 0, 0, 1.0]),
    ]

    _, _, rlhf, trl, _, difference = group_learning.learning_rows(curves)

    assert rlhf == "| rlhf | -1.50 ± 0.50 | 1.00 ± 0.00 | 2.00 ± 0.00 | 2 |"
    assert trl == "| trl | -1.00 ± 0.00 | 0.70 ± 0.20 | 1.00 ± 0.00 | 2 |"
    assert difference.endswith("paired by seed: 0.30 ± 0.20.")


@pytest.mark.slow
def test_both_engines_learn_on_the_bundled_model(root, tmp_path):
    page = tmp_path / "GROUP-LEARNING.md"
    model = str(root / "data" / "pocket" / "model")
    keys = "--seeds 0 --iterations 2 --prompts 2 --generations 2 --max_response_length 8".split()
    assert group_learning.main([model, *keys, "--threads", "1", "--output", str(page)]) == 0
    assert [line[:7] for line in page.read_text().splitlines()[-4:-2]] == ["| rlhf ", "| trl | "]
