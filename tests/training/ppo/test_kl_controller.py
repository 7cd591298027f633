import pytest

from rlhf.training.ppo.kl_controller import next_kl_coef


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (6.0, 0.1),  # on target
        (6.6, 0.1 * (1 + 0.1 * 256 / 10000)),  # 10% above
        (60.0, 0.1 * (1 + 0.2 * 256 / 10000)),  # error clipped to 0.2
        (0.0, 0.1 * (1 - 0.2 * 256 / 10000)),
        (-1.0, 0.1 * (1 - 0.2 * 256 / 10000)),  # an estimate can be negative
    ],
)
def test_literal_steps(kl, expected):
    kl_coef = next_kl_coef(0.1, kl=kl, target_kl=6.0, num_samples=256, horizon=10000)
    assert kl_coef == pytest.approx(expected, rel=1e-9)


def test_kl_coef_stays_positive_at_the_shortest_horizon():
    """KL far below its target, 500 responses, horizon 101: 1 - 0.2 * 500 / 101 = 0.0099."""
    kl_coef = next_kl_coef(1.0, kl=0.0, target_kl=6.0, num_samples=500, horizon=101)
    assert kl_coef == pytest.approx(1 / 101)
