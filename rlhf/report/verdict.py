"""Three sentences with a light each: is it better, can that be believed, is it still text?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.report.read import RunView, StageView

LOOKUP = "lookup"  # the baseline that answers as the nearest training prompt was answered
GREEN, AMBER, RED, GREY = "green", "amber", "red", "grey"
UNREAD = 0.1  # of a language model's verdicts: above it the first light says so
Result = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Light:
    """A sentence and its colour."""

    tone: str
    text: str


def verdict(run: RunView) -> list[Light]:
    """What to think of the run at a glance; for a training run alone, how it went."""
    judged = next((stage for stage in run.stages if stage.evaluation), None)
    gate = next((stage.gate for stage in run.stages if stage.gate), {})
    if judged is None:
        trained = [light for stage in run.stages if (light := _training(stage)) is not None]
        return [*trained, *([gated(gate)] if gate else [])]
    results: list[Result] = list(judged.evaluation.get("results", []))
    model = _last_model(judged.evaluation)
    lights = (
        better(results, model),
        believable(results, model, gate, judged.evaluation.get("frontier")),
        text(results, model, judged.evaluation.get("baseline")),
    )
    return [light for light in lights if light is not None]


def better(results: Sequence[Result], model: str) -> Light | None:
    """By the most trustworthy judge there is; never green by the reward model trained on alone."""
    wins = by_trust(results, model)
    if not wins:
        return None
    win = wins[0]
    said = (
        f"{model} wins {win['value']:.0%} [{win['low']:.0%}, {win['high']:.0%}] against "
        f"{win['baseline']} by {_judge(win)} on {win['n']} held-out prompts"
        + _unread(results, model, win)
    )
    if win["low"] > 0.5 and win is _proxy(results, model):
        return Light(
            tone=AMBER, text=f"A higher reward: {said}; ask a judge that it was not trained on."
        )
    if win["low"] > 0.5:
        return Light(tone=GREEN, text=f"Better: {said}.")
    if win["high"] < 0.5:
        return Light(tone=RED, text=f"Worse: {said}.")
    return Light(tone=AMBER, text=f"No clear difference: {said}.")


def believable(
    results: Sequence[Result],
    model: str,
    gate: Mapping[str, Any],
    frontier: Mapping[str, Any] | None = None,
) -> Light | None:
    """Whether the reward that was trained on still means what it should."""
    every = [r for r in _overall(results, model) if r["metric"] == "win_rate"]
    if frontier and frontier.get("over_optimized"):
        return Light(tone=RED, text=str(frontier["says"]))
    known = _most_trusted([r for r in every if r["baseline"] == LOOKUP])
    if known is not None and known["high"] < 0.5:
        said = f"wins {known['value']:.0%} by {_judge(known)}"
        return Light(tone=RED, text=f"A lookup in the training data is better: {model} {said}.")
    proxy = _proxy(results, model)
    trusted = next((r for r in by_trust(results, model) if r is not proxy), None)
    # Not better, and the intervals do not touch: fewer labels alone are no gaming.
    if trusted and proxy and trusted["low"] <= 0.5 < proxy["low"] > trusted["high"]:
        said = f"{proxy['value']:.0%} by the reward model, {trusted['value']:.0%} by "
        said += _judge(trusted)
        return Light(tone=RED, text=f"The reward was gamed: it wins {said}.")
    return gated(gate) if gate else None


def by_trust(results: Sequence[Result], model: str) -> list[Result]:
    """The model's win rates: by people, gold, a language model, a reward model, the proxy last."""
    wins = [r for r in _overall(results, model) if r["metric"] == "win_rate"]
    return _trusted_first([r for r in wins if r["baseline"] != LOOKUP])


def _trusted_first(wins: Sequence[Result]) -> list[Result]:
    """Of several reward models the first is the proxy, which the frontier takes it for too."""
    order = {"human": 0, "gold": 1, "llm": 2, "reward_model": 3}
    rewards = [r for r in wins if r["judge"] == "reward_model"]
    ranked = [r for r in wins if r not in rewards] + rewards[::-1]
    return sorted(ranked, key=lambda r: order.get(str(r["judge"]), 9))


def _most_trusted(wins: Sequence[Result]) -> Result | None:
    return next(iter(_trusted_first(wins)), None)


def _proxy(results: Sequence[Result], model: str) -> Result | None:
    """The win rate by the reward model named first."""
    wins = [r for r in by_trust(results, model) if r["judge"] == "reward_model"]
    return wins[-1] if wins else None


def _unread(results: Sequence[Result], model: str, win: Result) -> str:
    """What share of a language model's replies said nothing, where that is much."""
    if win["judge"] != "llm":
        return ""
    shares = [r["value"] for r in _overall(results, model) if r["metric"] == "judge_unparsable"]
    if not shares or shares[0] <= UNREAD:
        return ""
    return f", of whose verdicts {shares[0]:.0%} could not be read and count as ties"


def gated(gate: Mapping[str, Any]) -> Light:
    """What the gate before PPO said."""
    accuracy = gate.get("accuracy") or {"value": float("nan"), "low": 0.0, "high": 1.0}
    figures = f"{accuracy['value']:.2f} [{accuracy['low']:.2f}, {accuracy['high']:.2f}]"
    tone = {"pass": GREEN, "warn": AMBER}.get(str(gate["verdict"]), RED)
    why = "; ".join(gate["reasons"]) or (
        f"it orders {figures} of held-out pairs as the annotators did"
    )
    return Light(tone=tone, text=f"The reward model's check says {gate['verdict']}: {why}.")


def text(results: Sequence[Result], model: str, baseline: str | None = None) -> Light | None:
    """Diversity, length, endings and loops beside the baseline's.

    baseline: its name, where no judge was asked and so no figure names it.
    """
    now = {r["metric"]: r["value"] for r in _overall(results, model)}
    baselines = (r["baseline"] for r in results if r.get("baseline") not in (None, LOOKUP))
    base = next(baselines, baseline)
    if base == model:
        return None
    then = {r["metric"]: r["value"] for r in _overall(results, str(base))}
    if not {"distinct_2", "length"} <= (now.keys() & then.keys()):
        return None
    diversity = now["distinct_2"] / (then["distinct_2"] or 1.0)
    length = now["length"] / (then["length"] or 1.0)
    faults = []
    if diversity < 0.75:
        faults.append(f"distinct-2 is {diversity:.0%} of {base}'s")
    if not 0.6 <= length <= 1.4:
        faults.append(f"answers are {length:.1f} times as long as {base}'s")
    for metric, name in (("repetition_rate", "loops"), ("empty_rate", "empty answers")):
        if now.get(metric, 0.0) > then.get(metric, 0.0) + 0.05:
            before = then.get(metric, 0.0)
            faults.append(f"{name} rose from {before:.0%} to {now[metric]:.0%}")
    kl = f" It moved {now['kl']:.1f} nats per answer away." if "kl" in now else ""
    if not faults:
        said = f"diversity {diversity:.0%} and length {length:.0%} of {base}'s"
        return Light(tone=GREEN, text=f"The text is healthy: {said}.{kl}")
    tone = RED if diversity < 0.5 else AMBER
    return Light(tone=tone, text=f"Look at the text: {'; '.join(faults)}.{kl}")


def _training(stage: StageView) -> Light | None:
    """How a training run went, from its curve."""
    for key, name in (("eval_accuracy", "held-out accuracy"), ("eval_loss", "held-out loss"),
                      ("score", "score"), ("loss", "loss")):  # fmt: skip
        values = [row[key] for row in stage.metrics if isinstance(row.get(key), int | float)]
        curve = [value for value in values if math.isfinite(value)]
        if curve:
            said = f"{stage.name}: {name} went from {curve[0]:.3g} to {curve[-1]:.3g}"
            up = key in ("eval_accuracy", "score")
            good = curve[-1] > curve[0] if up else curve[-1] < curve[0]
            tone = GREY if len(curve) == 1 else GREEN if good else AMBER
            return Light(tone=tone, text=f"{said}.")
    return None


def _overall(results: Sequence[Result], model: str) -> list[Result]:
    """The model's figures over all prompts."""
    return [
        r
        for r in results
        if r["model"] == model and "subset" not in r and r.get("with_contaminated", True)
    ]


def _last_model(evaluation: Result) -> str:
    """The model the evaluation is about: the last one named."""
    results = evaluation.get("results", [])
    named = list(evaluation.get("models", {})) or [r["model"] for r in results]
    return str(named[-1]) if named else ""


def _judge(result: Result) -> str:
    names = {
        "gold": "the gold score",
        "reward_model": "the reward model",
        "human": "people",
        "llm": "a language model",
    }
    name = names.get(str(result["judge"]), str(result["judge"]))
    return f"{name} {result['judge_source']}" if result.get("judge_source") else name
