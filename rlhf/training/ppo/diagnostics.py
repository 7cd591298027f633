"""Signs that a run goes wrong: a sentence with the likely cause, or the end of the run."""

from collections.abc import Mapping

from rlhf.errors import TrainingError
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.metrics import shown
from rlhf.training.ppo.models import computes_in_bf16
from rlhf.types import ScoredRollouts

HALVED = 0.5
JUMP = 0.1  # nats per token from the policy that sampled; 0.01 to 0.05 is usual
AT_THE_LIMIT = 0.95  # mean length over max_completion_length
FAR_OVER_TARGET = 2.0  # KL over target_kl
BASELINE = ("distinct_2", "eos_rate")  # figures of the first iteration that later ones stand beside


def check_finite(evaluated: ScoredRollouts, step: int) -> None:
    """Refuse to learn from rollouts, or to judge by them, with a number that is none.

    Raises:
        TrainingError: step, what is not finite, rows and prompts.
    """
    rollouts, mask = evaluated.rollouts, evaluated.rollouts.response_mask
    for name, values in (
        ("log-probs of the policy", rollouts.logprobs),
        ("log-probs of the reference", evaluated.ref_logprobs),
        ("values of the critic", evaluated.values),
        ("scores", evaluated.scores.scores[:, None].expand_as(mask)),
    ):
        bad = (~values.isfinite() & mask).any(1).nonzero()[:, 0].tolist()
        if bad:
            prompts = shown([rollouts.batch.prompts[row] for row in bad], 3)
            raise TrainingError(
                f"step {step}: {name} are not finite in rows {bad[:8]} (prompts {prompts}); "
                "the run ends here. Try --bf16 false or a lower learning_rate, "
                "from the last checkpoint."
            )


def starting_warnings(step: int, figures: Mapping[str, float], config: PPOConfig) -> dict[str, str]:
    """Where policy and sampler, or at step 1 policy and reference, are not what they should be.

    Before the first optimizer step of an iteration the policy that is trained is the one that
    was sampled from; before the first of the run it is the reference too. Of tokens drawn from
    one distribution the mean ratio to any other is 1, so that it is the KL that tells them apart.
    """
    bf16, found = computes_in_bf16(config), {}
    ratio, kl, clipped = (figures[f"first_{x}"] for x in ("ratio", "approx_kl", "clip_fraction"))
    limit, kl_limit, most_clipped = (1e-2, 1e-2, 1e-2) if bf16 else (1e-4, 1e-5, 0.0)
    if abs(ratio - 1) > limit or kl > kl_limit or clipped > most_clipped:
        found["first_ratio"] = (
            f"began with a mean ratio of {ratio:.5f}, an approx KL of {kl:.2g} and {clipped:.2%} "
            f"of the tokens clipped, not 1 ± {limit}, 0 ± {kl_limit} and {most_clipped:.0%}: "
            "sampling and training compute different log-probs; try --bf16 false or "
            "--importance_weight_cap 2."
        )
    limit = kl_limit
    if step == 1 and max(abs(figures["kl_per_token"]), figures["kl_k3_per_token"]) > limit:
        found["first_kl"] = (
            f"the untrained policy is {figures['kl_per_token']:.2g} nats per token from the "
            f"reference, not 0 ± {limit}: they are not the same model; check "
            "model_name_or_path, and try --bf16 false."
        )
    return found


def collapse_warnings(
    figures: Mapping[str, float], baseline: Mapping[str, float], config: PPOConfig
) -> dict[str, str]:
    """What looks like collapse in the figures of one iteration, by kind.

    baseline: the figures that BASELINE names, of the run's first iteration.
    """
    found = {}
    if figures["distinct_2"] < HALVED * baseline["distinct_2"]:
        found["distinct_2"] = (
            f"distinct-2 fell from {baseline['distinct_2']:.2f} to {figures['distinct_2']:.2f}: "
            "the answers become alike, likely since one phrase is rewarded; raise kl_coef."
        )
    if figures["eos_rate"] < HALVED * baseline["eos_rate"]:
        found["eos_rate"] = (
            f"eos_rate fell from {baseline['eos_rate']:.2f} to {figures['eos_rate']:.2f}: the "
            "policy forgets to end, likely since length is rewarded; set missing_eos_penalty."
        )
    if figures["approx_kl"] > JUMP:
        found["approx_kl"] = (
            f"this iteration moved the policy by an approx KL of {figures['approx_kl']:.2f} nats "
            "per token: its advantages were mostly noise or its steps too long; lower "
            "learning_rate, or train the critic first (critic_warmup_steps)."
        )
    length, limit = figures["response_length"], config.max_completion_length
    if length >= AT_THE_LIMIT * limit:
        found["length"] = (
            f"answers are {length:.0f} tokens long and {limit} is the limit: length is rewarded, "
            "or the policy never learnt to end; set missing_eos_penalty or allow more tokens."
        )
    if config.target_kl is not None and figures["kl"] > FAR_OVER_TARGET * config.target_kl:
        found["kl"] = (
            f"KL is {figures['kl']:.1f} nats where target_kl is {config.target_kl}: kl_coef "
            "follows too slowly; lower kl_horizon or learning_rate."
        )
    return found


def overfit_warnings(
    held_out: Mapping[str, float],
    score: float,
    *,
    best_score: float,
    score_at_best: float,
) -> dict[str, str]:
    """Whether the held-out score fell, by more than its noise, while the training score rose.

    best_score, score_at_best: both scores where the held-out one was highest; -inf before.
    """
    fell = best_score - held_out["eval_score"]
    if fell <= 2 * held_out["eval_score_error"] or score <= score_at_best:
        return {}
    return {
        "eval_score": f"eval_score fell from {best_score:.2f} to {held_out['eval_score']:.2f} "
        f"while score rose from {score_at_best:.2f} to {score:.2f}: the policy learns its prompts "
        "or the reward's faults; stop here, raise kl_coef, or take best/."
    }


def over_budget(kl: float, config: PPOConfig, step: int) -> str:
    """Why the run stops before iteration `step`; empty where KL is within kl_budget."""
    if config.kl_budget is None or kl <= config.kl_budget:
        return ""
    return (
        f"KL {kl:.2f} nats per sequence passed kl_budget {config.kl_budget} before step {step}; "
        "the run stopped there. Likely the penalty is too weak for the reward: raise kl_coef."
    )
