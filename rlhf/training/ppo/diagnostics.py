"""Signs of a failing run: a warning with the likely cause, or an error that ends the run."""

from collections.abc import Mapping

from rlhf.errors import TrainingError
from rlhf.rollouts.trial import check_gap
from rlhf.runtime.distributed import print_once
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.metrics import preview
from rlhf.types import ScoredRollouts

HALVED = 0.5
JUMP = 0.1  # nats per token from the policy that sampled; 0.01 to 0.05 is usual
AT_THE_LIMIT = 0.95  # mean length over max_completion_length
FAR_OVER_TARGET = 2.0  # KL over target_kl
BASELINE = ("distinct_2", "eos_rate")  # of the first iteration, to compare later ones with


def check_finite(scored: ScoredRollouts, step: int) -> None:
    """Check that every number of the rollouts is finite.

    Raises:
        TrainingError: step, what is not finite, rows and prompts.
    """
    rollouts, mask = scored.rollouts, scored.rollouts.action_mask
    for name, values in (
        ("log-probs of the policy", rollouts.logprobs),
        ("log-probs of the reference", scored.ref_logprobs),
        *([] if scored.values is None else [("values of the critic", scored.values)]),
        ("scores", scored.scores.scores[:, None].expand_as(mask)),
    ):
        bad = (~values.isfinite() & mask).any(1).nonzero()[:, 0].tolist()
        if bad:
            prompts = preview([rollouts.batch.prompts[row] for row in bad], 3)
            raise TrainingError(
                f"step {step}: {name} are not finite in rows {bad[:8]} (prompts {prompts}); "
                "the run stops. Try --bf16 false or a lower learning_rate, from the last "
                "checkpoint.",
                code="non-finite",
            )


def check_engine(metrics: Mapping[str, float], step: int) -> None:
    """Check that the engine sampled from the policy.

    Raises:
        TrainingError: its log-probs are those of another model.
    """
    check_gap(metrics.get("logprob_gap", 0.0), f"step {step}")


class Warnings:
    """Prints warnings of a run, each kind once."""

    def __init__(self) -> None:
        self.shown: set[str] = set()

    def show(self, step: int, warnings: Mapping[str, str]) -> None:
        """Print the warnings of kinds that were not shown yet.

        warnings: sentences by kind.
        """
        for kind, sentence in warnings.items():
            if kind not in self.shown:
                print_once(f"warning: step {step}: {sentence}")
        self.shown |= warnings.keys()


def starting_warnings(
    step: int, metrics: Mapping[str, float], *, bf16: bool, recomputed: bool = False
) -> dict[str, str]:
    """Warnings where policy and sampler, or at step 1 policy and reference, differ.

    Before the first optimizer step of an iteration the trained policy equals the one that was
    sampled from; before the first of the run it equals the reference too. For tokens drawn from
    one distribution the mean ratio to any other is 1, so the KL has to be checked as well.

    Args:
        step: the iteration.
        metrics: of the iteration.
        bf16: whether the run computes in bf16.
        recomputed: whether the log-probs were computed once more after sampling, so that the
            sampler has no part in the difference.
    """
    warnings = {}
    ratio, kl, clipped = (metrics[f"first_{x}"] for x in ("ratio", "approx_kl", "clip_fraction"))
    limit, kl_limit, most_clipped = (1e-2, 1e-2, 1e-2) if bf16 else (1e-4, 1e-5, 0.0)
    if abs(ratio - 1) > limit or kl > kl_limit or clipped > most_clipped:
        passes = "the pass that recomputes log-probs" if recomputed else "sampling"
        weights = "" if recomputed else " or --importance_weight_cap 2"
        warnings["first_ratio"] = (
            f"the iteration starts with a mean ratio of {ratio:.5f}, an approx KL of {kl:.2g} and "
            f"{clipped:.2%} of the tokens clipped, not 1 ± {limit}, 0 ± {kl_limit} and "
            f"{most_clipped:.0%}: {passes} and training compute different log-probs; try --bf16 "
            f"false{weights}."
        )
    limit = kl_limit
    if step == 1 and max(abs(metrics["kl_per_token"]), metrics["kl_k3_per_token"]) > limit:
        warnings["first_kl"] = (
            f"the untrained policy is {metrics['kl_per_token']:.2g} nats per token from the "
            f"reference, not 0 ± {limit}: they are different models; check "
            "model_name_or_path, and try --bf16 false."
        )
    return warnings


def collapse_warnings(
    metrics: Mapping[str, float], baseline: Mapping[str, float], config: PPOConfig
) -> dict[str, str]:
    """Warnings about a collapse in the metrics of one iteration, by kind.

    baseline: the metrics named in BASELINE, of the run's first iteration.
    """
    warnings = {}
    if metrics["distinct_2"] < HALVED * baseline["distinct_2"]:
        warnings["distinct_2"] = (
            f"distinct-2 fell from {baseline['distinct_2']:.2f} to {metrics['distinct_2']:.2f}: "
            "responses become similar, likely because one phrase is rewarded; raise kl_coef."
        )
    if metrics["eos_rate"] < HALVED * baseline["eos_rate"]:
        warnings["eos_rate"] = (
            f"eos_rate fell from {baseline['eos_rate']:.2f} to {metrics['eos_rate']:.2f}: the "
            "policy no longer ends its responses, likely because length is rewarded; set "
            "missing_eos_penalty."
        )
    if metrics["approx_kl"] > JUMP:
        warnings["approx_kl"] = (
            f"this iteration moved the policy by an approx KL of {metrics['approx_kl']:.2f} nats "
            "per token: the advantages were mostly noise or the steps too large; lower "
            "learning_rate, or train the critic first (critic_warmup_steps)."
        )
    length, limit = metrics["response_length"], config.max_completion_length
    if length >= AT_THE_LIMIT * limit:
        warnings["length"] = (
            f"responses have {length:.0f} tokens and {limit} is the limit: length is rewarded, or "
            "the policy never learned to end; set missing_eos_penalty or allow more tokens."
        )
    if config.target_kl is not None and metrics["kl"] > FAR_OVER_TARGET * config.target_kl:
        warnings["kl"] = (
            f"KL is {metrics['kl']:.1f} nats where target_kl is {config.target_kl}: kl_coef "
            "adapts too slowly; lower kl_horizon or learning_rate."
        )
    return warnings


def overfit_warnings(
    held_out: Mapping[str, float],
    score: float,
    *,
    best_score: float,
    score_at_best: float,
) -> dict[str, str]:
    """A warning where the held-out score fell, beyond its noise, while the training score rose.

    best_score, score_at_best: both scores where the held-out one was highest; -inf before.
    """
    fell = best_score - held_out["eval_score"]
    if fell <= 2 * held_out["eval_score_error"] or score <= score_at_best:
        return {}
    return {
        "eval_score": f"eval_score fell from {best_score:.2f} to {held_out['eval_score']:.2f} "
        f"while score rose from {score_at_best:.2f} to {score:.2f}: the policy overfits its "
        "prompts or the reward; stop here, raise kl_coef, or take best/."
    }


def over_budget(kl: float, config: PPOConfig, step: int) -> str:
    """Why the run stops before iteration `step`; empty where the KL is within kl_budget."""
    if config.kl_budget is None or kl <= config.kl_budget:
        return ""
    return (
        f"KL {kl:.2f} nats per response passed kl_budget {config.kl_budget} before step {step}; "
        "the run stopped. The penalty is likely too weak for the reward: raise kl_coef."
    )
