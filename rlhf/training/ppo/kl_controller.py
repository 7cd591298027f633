"""The KL coefficient over time."""

MOST_ERROR = 0.2  # of (kl - target) / target that one step answers to


def next_kl_coef(
    kl_coef: float, *, kl: float, target_kl: float, num_samples: int, horizon: int
) -> float:
    """The coefficient after an iteration of `num_samples` responses (Ziegler et al. 2019, 2.2).

        e = clip(kl / target_kl - 1, -0.2, 0.2)
        kl_coef * (1 + e * num_samples / horizon)

    kl, target_kl: nats per response. horizon: responses over which a constant error of 0.2
    changes the coefficient by a factor of about 1.2. The coefficient is the whole state. It stays
    above 0 where horizon > 0.2 * num_samples.
    """
    error = min(max(kl / target_kl - 1, -MOST_ERROR), MOST_ERROR)
    return kl_coef * (1 + error * num_samples / horizon)
