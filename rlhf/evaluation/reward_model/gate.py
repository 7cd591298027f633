"""May PPO be let loose on this reward model? pass, warn or fail, each with its reason.

PPO finds whatever the reward model rewards. What is cheap to ask before: does it order held-out
answers better than chance, and better than their length does? Does it score a demonstration above
the same words shuffled, above nothing, above an answer to something else? Is the best of N by its
choice also better to people? Whose labels does it contradict?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from rlhf.evaluation.core.results import Result
from rlhf.evaluation.reward_model.best_of_n import BestOfN
from rlhf.evaluation.reward_model.probes import EMPTY, OTHER, SHUFFLED

GATE = "gate.json"
PASS, WARN, FAIL = "pass", "warn", "fail"
WEAK_ACCURACY = 0.6
FEW_PROMPTS = 30
TOO_FEW_PROMPTS = 8  # all of 8 coins fall heads once in 256; of 4, once in 16
HIGH_ECE = 0.1
ANNOTATOR = "annotator "
# What is said of a reward model that does not tell a demonstration from each.
PREFERENCES = {SHUFFLED: "word salad", EMPTY: "to say nothing", OTHER: "what was not asked"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that a verdict rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The verdict and what it rests on."""

    verdict: str  # pass, warn, fail
    reasons: Sequence[str]  # why it is not a pass; empty where it is
    accuracy: Figure | None  # of held-out pairs, ties left out; None of fewer than two prompts
    above_shuffled: Figure | None  # share of demonstrations above their own words shuffled


def judge_reward_model(
    results: Sequence[Result], curve: Sequence[BestOfN] = (), *, trained_on: int = 0
) -> Gate:
    """The verdict on the figures of a report.

    fail: the interval of the accuracy reaches down to chance, or stands on too few prompts to
    tell from coins; or demonstrations lie clearly below shuffled text, the empty answer or another
    prompt's. warn: the accuracy is weak, no better than that of length, rests on few prompts or on
    some that were trained on (`trained_on` rankings); demonstrations are not clearly above;
    rewards claim more certainty than they have; the best of many by reward is worse to people
    than the best of fewer; an annotator says the opposite or clicks at random. pass: none of
    these.
    """
    failures, warnings = _of_accuracy(results)
    if trained_on:
        warnings.append(
            f"{trained_on} held-out rankings are of prompts that were trained on: the accuracy "
            "promises too much"
        )
    for name, preference in PREFERENCES.items():
        above = _find(results, "demonstrations_above", axis=name)
        if above is None:
            continue
        said = f"demonstrations above {name} {above}"
        if above.high < 0.5:
            failures.append(f"{said}: it prefers {preference}")
        elif above.low <= 0.5:
            warnings.append(f"{said}: it hardly sees the difference")
    shuffled = _find(results, "demonstrations_above", axis=SHUFFLED)
    if shuffled is None:
        warnings.append("no demonstrations of 3 words or more to compare with shuffled text")
    warnings += _of_calibration(results) + _of_best_of_n(curve) + careless(results)
    return Gate(
        verdict=FAIL if failures else WARN if warnings else PASS,
        reasons=failures + warnings,
        accuracy=_find(results, "accuracy"),
        above_shuffled=shuffled,
    )


def careless(results: Sequence[Result]) -> list[str]:
    """A sentence on each annotator whose held-out labels the model cannot have learned from:
    it agrees with them clearly less than half of the time, or no more than by chance where it
    agrees with all together clearly more.

    Clearly: at 5% over all annotators together (Bonferroni). Among 50 careful people of whom each
    is judged at 5% one or two would be named, and every report would be a warning.
    """
    whole = _find(results, "accuracy")
    people = {
        result.subset: _figure(result)
        for result in results
        if result.metric == "accuracy"
        and (result.subset or "").startswith(ANNOTATOR)
        and result.n >= TOO_FEW_PROMPTS
    }
    found = []
    for name, own in people.items():
        sure = NormalDist().inv_cdf(1 - 0.025 / len(people)) / NormalDist().inv_cdf(0.975)
        at_most = own.value + sure * (own.high - own.value)
        if at_most < 0.5:
            found.append(f"{name}: accuracy {own} on these labels, they say the opposite")
        elif whole is not None and own.low <= 0.5 and at_most < whole.value:
            found.append(f"{name}: accuracy {own} on these labels, as of random clicks")
    return found


def _of_accuracy(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Failures and warnings."""
    accuracy = _find(results, "accuracy")
    if accuracy is None:
        return ["fewer than two held-out prompts with an order: nothing is known of it"], []
    held = f"held-out accuracy {accuracy}, {accuracy.n} prompts"
    if accuracy.n < TOO_FEW_PROMPTS:
        return [f"{held}: fewer than {TOO_FEW_PROMPTS} cannot be told from coins"], []
    if accuracy.high < 0.5:
        return [f"{held}: the wrong way round; is rank 1 the best in every file?"], []
    if accuracy.low <= 0.5:
        return [f"{held}: the interval reaches 0.5, a coin"], []
    warnings = []
    if accuracy.value < WEAK_ACCURACY:
        warnings.append(f"{held}: below {WEAK_ACCURACY}, a weak guide")
    if accuracy.n < FEW_PROMPTS:
        warnings.append(f"{held}: fewer than {FEW_PROMPTS}")
    longer = _find(results, "longer_wins")
    if longer is not None and max(longer.value, 1 - longer.value) >= accuracy.value:
        rule = "longer" if longer.value >= 0.5 else "shorter"
        best = max(longer.value, 1 - longer.value)
        warnings.append(f"{held}: `the {rule} answer wins` is right in {best:.2f}")
    return [], warnings


def _of_calibration(results: Sequence[Result]) -> list[str]:
    error, chance = _find(results, "ece"), _find(results, "ece_by_chance")
    if error is None or error.low <= HIGH_ECE:
        return []
    if chance is not None and error.value <= chance.high:
        return []  # so few pairs that scores which are right about themselves may show as much
    return [f"calibration error {error}: differences of reward claim too much or too little"]


def _of_best_of_n(curve: Sequence[BestOfN]) -> list[str]:
    """Whether people's view falls where the reward model's choice grows."""
    if not curve:
        return []
    last, best = curve[-1], max(curve, key=lambda point: point.people)
    if last.people_high >= best.people_low:
        return []
    return [
        f"the best of {last.n} by reward is above {last.people:.2f} of the others to people, the "
        f"best of {best.n} above {best.people:.2f}: more of this reward is worse"
    ]


def _find(results: Sequence[Result], metric: str, axis: str | None = None) -> Figure | None:
    for result in results:
        if (result.metric, result.axis, result.subset) == (metric, axis, None):
            return _figure(result)
    return None


def _figure(result: Result) -> Figure:
    return Figure(value=result.value, low=result.low, high=result.high, n=result.n)
