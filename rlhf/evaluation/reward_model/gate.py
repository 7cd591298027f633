"""The gate before PPO: pass, warn or fail for a reward model, with reasons.

PPO finds whatever the reward model rewards, so some cheap checks come first. Does it order held-out
responses better than chance, and better than their length? Does it score a demonstration above the
same words in shuffled order, an empty response, a response to another prompt? Do annotators prefer
its best of N? Which annotators does it contradict?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.reward_model.best_of_n import BestOfN
from rlhf.evaluation.reward_model.parts import worst_parts
from rlhf.evaluation.reward_model.probes import EMPTY, OTHER, SHUFFLED
from rlhf.runtime.printing import counted

GATE = "gate.json"
PASS, WARN, FAIL = "pass", "warn", "fail"
WEAK_ACCURACY = 0.6
FEW_PROMPTS = 30
TOO_FEW_PROMPTS = 8  # all of 8 coins fall heads once in 256; of 4, once in 16
HIGH_ECE = 0.1
DISCOVERY = 0.05  # share of false discoveries among the parts that are named
ANNOTATOR = "annotator "
# What a reward model prefers if it scores an altered demonstration higher.
PREFERENCES = {
    SHUFFLED: "shuffled words",
    EMPTY: "empty responses",
    OTHER: "responses to other prompts",
}


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A metric that the verdict is based on."""

    value: float
    low: float
    high: float
    n: int
    mde: float | None = None  # minimal detectable effect; None for an exact value

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The verdict and its main metrics."""

    verdict: str  # pass, warn, fail
    reasons: Sequence[str]  # for a warning or failure; empty for a pass
    accuracy: MetricValue | None  # of held-out pairs without ties; None for fewer than two prompts
    above_shuffled: MetricValue | None  # share of demonstrations above their shuffled words
    worst_part: str | None = None  # the category or group with the lowest accuracy
    worst_accuracy: MetricValue | None = None  # there; its interval holds for all parts together


def judge_reward_model(
    results: Sequence[Result],
    curve: Sequence[BestOfN] = (),
    *,
    trained_on: int = 0,
    losses: Mapping[int, float] | None = None,
) -> Gate:
    """The verdict on the metrics of a report.

    - fail: the interval of the accuracy includes chance or has too few prompts; or demonstrations
      score significantly below shuffled words, empty responses or responses to other prompts.
    - warn: the accuracy is low, not better than that of length, has few prompts or prompts that
      were trained on; demonstrations do not score significantly higher; rewards are miscalibrated;
      the held-out loss was significantly lower earlier in training; annotators prefer the best of
      a smaller N; an annotator's labels are reversed or random; it may be no better than chance in
      a category or for a group of annotators.
    - pass: none of these.

    Args:
        results: the metrics.
        curve: best of N.
        trained_on: number of held-out rankings with prompts that the model was trained on.
        losses: held-out loss by optimizer step, from the training; None if unknown.
    """
    failures, warnings = check_accuracy(results)
    if trained_on:
        warnings.append(
            f"{trained_on} held-out rankings have prompts that were trained on: "
            "the accuracy is too high"
        )
    of_probes = check_probes(results)
    warnings += of_probes[1] + check_calibration(results)
    warnings += check_over_training(results, losses or {}) + check_best_of_n(curve)
    warnings += unreliable_annotators(results) + check_parts(results)
    return gate_of(failures + of_probes[0], warnings, results)


def gate_of(failures: Sequence[str], warnings: Sequence[str], results: Sequence[Result]) -> Gate:
    """The verdict for these reasons, with its main metrics."""
    worst = min(worst_parts(results), key=lambda one: one.value, default=None)
    return Gate(
        verdict=FAIL if failures else WARN if warnings else PASS,
        reasons=[*failures, *warnings],
        accuracy=find_value(results, "accuracy"),
        above_shuffled=find_value(results, "demonstrations_above", axis=SHUFFLED),
        worst_part=worst.subset if worst else None,
        worst_accuracy=_value_of(worst) if worst else None,
    )


def check_parts(results: Sequence[Result]) -> list[str]:
    """A warning for the worst category and group if it differs and may be no better than chance.

    It differs if q, corrected for the number of parts, is below 5%. A part that is merely harder
    than the rest is no reason for a warning.
    """
    return [
        f"{one.subset}: accuracy {_value_of(one)}, different from the rest (q = {one.q:.2g}) and "
        "not clearly better than chance"
        for one in worst_parts(results)
        if one.q is not None and one.q < DISCOVERY and one.low <= 0.5
    ]


def check_probes(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Failures and warnings of demonstrations compared with altered ones."""
    failures, warnings = [], []
    for name, preference in PREFERENCES.items():
        above = find_value(results, "demonstrations_above", axis=name)
        if above is None:
            continue
        measured = f"demonstrations above {name} {above}"
        if above.high < 0.5:
            failures.append(f"{measured}: it prefers {preference}")
        elif above.low <= 0.5:
            warnings.append(f"{measured}: no significant difference")
    if find_value(results, "demonstrations_above", axis=SHUFFLED) is None:
        warnings.append("no demonstrations of 3 words or more to compare with shuffled words")
    return failures, warnings


def unreliable_annotators(results: Sequence[Result]) -> list[str]:
    """A warning for each annotator whose held-out labels are reversed or random.

    The model agrees with their labels significantly less than half of the time, or no more than by
    chance while it agrees with all labels significantly more.

    The level is 5% over all annotators together (Bonferroni). At 5% for each of 50 careful
    annotators, one or two would be named and every report would be a warning.
    """
    whole = find_value(results, "accuracy")
    annotators = {
        result.subset: _value_of(result)
        for result in results
        if result.metric == "accuracy"
        and (result.subset or "").startswith(ANNOTATOR)
        and result.n >= TOO_FEW_PROMPTS
    }
    warnings = []
    for name, accuracy in annotators.items():
        widening = NormalDist().inv_cdf(1 - 0.025 / len(annotators)) / NormalDist().inv_cdf(0.975)
        upper = accuracy.value + widening * (accuracy.high - accuracy.value)
        if upper < 0.5:
            warnings.append(f"{name}: accuracy {accuracy} on these labels; they look reversed")
        elif whole is not None and accuracy.low <= 0.5 and upper < whole.value:
            warnings.append(f"{name}: accuracy {accuracy} on these labels; they look random")
    return warnings


def check_accuracy(
    results: Sequence[Result], metric: str = "accuracy", by_length: str = "longer_wins"
) -> tuple[list[str], list[str]]:
    """Failures and warnings of the share of pairs that the model orders correctly.

    Args:
        results: the metrics.
        metric: name of the share.
        by_length: name of the same share of the rule that the longer response is better.
    """
    accuracy = find_value(results, metric)
    if accuracy is None:
        return [f"fewer than two held-out prompts with an order: the {metric} is unknown"], []
    measured = f"held-out {metric} {accuracy}, {counted(accuracy.n, 'prompt')}"
    if accuracy.n < TOO_FEW_PROMPTS:
        return [f"{measured}: fewer than {TOO_FEW_PROMPTS} prompts are not conclusive"], []
    if accuracy.high < 0.5:
        label = "rank 1" if metric == "accuracy" else "`correct: true`"
        return [f"{measured}: reversed; is {label} the best in every file?"], []
    if accuracy.low <= 0.5:
        return [f"{measured}: the interval includes 0.5, chance"], []
    warnings = []
    if accuracy.value < WEAK_ACCURACY:
        warnings.append(f"{measured}: below {WEAK_ACCURACY}")
    if accuracy.n < FEW_PROMPTS:
        warnings.append(f"{measured}: fewer than {FEW_PROMPTS} prompts")
    longer = find_value(results, by_length)
    if longer is not None and max(longer.value, 1 - longer.value) >= accuracy.value:
        rule = "longer" if longer.value >= 0.5 else "shorter"
        best = max(longer.value, 1 - longer.value)
        warnings.append(f"{measured}: `the {rule} response wins` is correct in {best:.2f}")
    return [], warnings


def check_calibration(
    results: Sequence[Result], predictions: str = "reward differences"
) -> list[str]:
    """A warning if `predictions` are calibrated worse than chance explains."""
    error, chance = find_value(results, "ece"), find_value(results, "ece_by_chance")
    if error is None or error.low <= HIGH_ECE:
        return []
    if chance is not None and error.value <= chance.high:
        return []  # with so few pairs calibrated scores can have this error
    return [f"calibration error {error}: {predictions} are too large or too small"]


def check_over_training(results: Sequence[Result], losses: Mapping[int, float]) -> list[str]:
    """A warning if the held-out loss was lower earlier than the interval of the last one.

    The interval is that of the loss itself. The difference to an earlier loss on the same rankings
    varies less, so that the check rarely warns by chance, even of the lowest of many.
    """
    last = find_value(results, "held_out_loss")
    if last is None or not losses:
        return []
    step = min(losses, key=lambda step: losses[step])
    if losses[step] >= last.low:
        return []
    return [
        f"held-out loss {last}, but {losses[step]:.2f} after step {step}: trained too long; "
        "early_stopping_patience keeps the weights of the lowest loss"
    ]


def check_best_of_n(curve: Sequence[BestOfN]) -> list[str]:
    """A warning if the annotators' preference falls while N grows."""
    if not curve:
        return []
    last, best = curve[-1], max(curve, key=lambda point: point.people)
    if last.people_high >= best.people_low:
        return []
    return [
        f"annotators rank the best of {last.n} by reward above {last.people:.0%} of the other "
        f"responses, but the best of {best.n} above {best.people:.0%}: a higher reward is worse"
    ]


def find_value(
    results: Sequence[Result], metric: str, axis: str | None = None
) -> MetricValue | None:
    """The metric over all prompts; None if it was not measured."""
    for result in results:
        if (result.metric, result.axis, result.subset) == (metric, axis, None):
            return _value_of(result)
    return None


def _value_of(result: Result) -> MetricValue:
    return MetricValue(
        value=result.value, low=result.low, high=result.high, n=result.n, mde=result.mde
    )
