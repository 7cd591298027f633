"""Three lights: is the model better, is the reward still valid, is the text sound?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.report.read import Row, RunView, StageView

LOOKUP = "lookup"  # the baseline whose responses are those to the nearest training prompt
GREEN, AMBER, RED, GREY = "green", "amber", "red", "grey"
WORST = ("win_rate_worst_category", "win_rate_worst_group")
UNPARSED = 0.1  # share of an LLM judge's verdicts above which the first light mentions it


@dataclass(frozen=True, kw_only=True)
class Light:
    """A sentence and its colour."""

    tone: str
    text: str


def verdict(run: RunView) -> list[Light]:
    """The lights of an evaluated run; for a training run alone, how its metrics changed."""
    judged = next((stage for stage in run.stages if stage.evaluation), None)
    gate = next((stage.gate for stage in run.stages if stage.gate), {})
    if judged is None:
        trained = [light for stage in run.stages if (light := _training_light(stage)) is not None]
        return [*trained, *([gate_light(gate)] if gate else [])]
    results: list[Row] = list(judged.evaluation.get("results", []))
    model = _last_model(judged.evaluation)
    lights = (
        win_light(results, model),
        reward_light(results, model, gate, judged.evaluation.get("frontier")),
        text_light(results, model, judged.evaluation.get("baseline")),
    )
    return [light for light in lights if light is not None]


def win_light(results: Sequence[Row], model: str) -> Light | None:
    """The win rate by the most trusted judge; never green by the training reward model alone."""
    wins = by_trust(results, model)
    if not wins:
        return None
    win = wins[0]
    sentence = (
        f"{model} wins {win['value']:.0%} [{win['low']:.0%}, {win['high']:.0%}] against "
        f"{win['baseline']} by {_judge(win)} on {win['n']} held-out prompts"
        + _unparsed_note(results, model, win)
        + _worst_note(results, model, win)
    )
    if win["low"] > 0.5 and win is _proxy(results, model):
        return Light(
            tone=AMBER,
            text=f"Higher reward: {sentence}; use a judge that it was not trained on.",
        )
    if win["low"] > 0.5:
        return Light(tone=GREEN, text=f"Better: {sentence}.")
    if win["high"] < 0.5:
        return Light(tone=RED, text=f"Worse: {sentence}.")
    return Light(tone=AMBER, text=f"No clear difference: {sentence}.")


def reward_light(
    results: Sequence[Row],
    model: str,
    gate: Row,
    frontier: Row | None = None,
) -> Light | None:
    """Whether the training reward still agrees with other judges."""
    wins = [r for r in _overall(results, model) if r["metric"] == "win_rate"]
    if frontier and frontier.get("over_optimized"):
        return Light(tone=RED, text=str(frontier["says"]))
    lookup = next(iter(_trusted_first([r for r in wins if r["baseline"] == LOOKUP])), None)
    if lookup is not None and lookup["high"] < 0.5:
        rate = f"{model} wins {lookup['value']:.0%} by {_judge(lookup)}"
        return Light(tone=RED, text=f"Worse than a lookup in the training data: {rate}.")
    proxy = _proxy(results, model)
    trusted = next((r for r in by_trust(results, model) if r is not proxy), None)
    # Not better, and the intervals do not overlap: a smaller sample alone is not reward hacking.
    if trusted and proxy and trusted["low"] <= 0.5 < proxy["low"] > trusted["high"]:
        rates = f"{proxy['value']:.0%} by the reward model, {trusted['value']:.0%} by "
        return Light(tone=RED, text=f"Reward hacking: {model} wins {rates}{_judge(trusted)}.")
    return gate_light(gate) if gate else None


def by_trust(results: Sequence[Row], model: str) -> list[Row]:
    """The model's win rates: by annotators, gold, LLM and reward model; the proxy is last.

    Annotators with an LLM judge come first: their interval is the narrower one and as valid.
    """
    wins = [r for r in _overall(results, model) if r["metric"] == "win_rate"]
    return _trusted_first([r for r in wins if r["baseline"] != LOOKUP])


def _trusted_first(wins: Sequence[Row]) -> list[Row]:
    """The first of several reward models is the proxy, as in the frontier."""
    order = {"human+llm": 0, "human": 1, "gold": 2, "llm": 3, "reward_model": 4}
    by_reward = [r for r in wins if r["judge"] == "reward_model"]
    ranked = [r for r in wins if r not in by_reward] + by_reward[::-1]
    return sorted(ranked, key=lambda r: order.get(str(r["judge"]), 9))


def _proxy(results: Sequence[Row], model: str) -> Row | None:
    """The win rate by the first reward model."""
    wins = [r for r in by_trust(results, model) if r["judge"] == "reward_model"]
    return wins[-1] if wins else None


def _unparsed_note(results: Sequence[Row], model: str, win: Row) -> str:
    """The share of an LLM judge's verdicts that could not be parsed, if it is large."""
    if win["judge"] != "llm":
        return ""
    shares = [r["value"] for r in _overall(results, model) if r["metric"] == "judge_unparsable"]
    if not shares or shares[0] <= UNPARSED:
        return ""
    return f" ({shares[0]:.0%} of its verdicts could not be parsed and count as ties)"


def _worst_note(results: Sequence[Row], model: str, win: Row) -> str:
    """The category or group of annotators with the lowest win rate by the same judge."""
    worst = [
        r
        for r in results
        if r["metric"] in WORST
        and r["model"] == model
        and (r["judge"], r.get("judge_source")) == (win["judge"], win.get("judge_source"))
    ]
    if not worst:
        return ""
    lowest = min(worst, key=lambda r: float(r["value"]))
    interval = f"[{lowest['low']:.0%}, {lowest['high']:.0%}]"
    return f"; lowest in {lowest['subset']}: {lowest['value']:.0%} {interval}"


def gate_light(gate: Row) -> Light:
    """The result of the gate before PPO."""
    accuracy = gate.get("accuracy") or {"value": float("nan"), "low": 0.0, "high": 1.0}
    interval = f"[{accuracy['low']:.2f}, {accuracy['high']:.2f}]"
    tone = {"pass": GREEN, "warn": AMBER}.get(str(gate["verdict"]), RED)
    reasons = "; ".join(gate["reasons"]) or (
        f"accuracy {accuracy['value']:.2f} {interval} on held-out pairs"
    )
    if worst := gate.get("worst_accuracy"):
        interval = f"[{worst['low']:.2f}, {worst['high']:.2f}]"
        reasons += f"; lowest in {gate['worst_part']}: {worst['value']:.2f} {interval}"
    return Light(tone=tone, text=f"Gate of the reward model: {gate['verdict']} ({reasons}).")


def text_light(results: Sequence[Row], model: str, baseline: str | None = None) -> Light | None:
    """Diversity, length, repetition and empty responses, compared with the baseline's.

    baseline: its name, for an evaluation without judges, whose results do not name it.
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
    faults = _text_faults(now, then, str(base), diversity, length)
    kl = f" KL from the reference: {now['kl']:.1f} nats per response." if "kl" in now else ""
    if not faults:
        shares = f"diversity {diversity:.0%} and length {length:.0%} of {base}'s"
        return Light(tone=GREEN, text=f"The text is sound: {shares}.{kl}")
    tone = RED if diversity < 0.5 else AMBER
    return Light(tone=tone, text=f"Check the text: {'; '.join(faults)}.{kl}")


def _text_faults(
    now: Mapping[str, float], then: Mapping[str, float], base: str, diversity: float, length: float
) -> list[str]:
    faults = []
    if diversity < 0.75:
        faults.append(f"distinct-2 is {diversity:.0%} of {base}'s")
    if not 0.6 <= length <= 1.4:
        faults.append(f"responses are {length:.1f} times as long as {base}'s")
    for metric, name in (("repetition_rate", "repetition"), ("empty_rate", "empty responses")):
        before = then.get(metric, 0.0)
        if now.get(metric, 0.0) > before + 0.05:
            faults.append(f"{name} rose from {before:.0%} to {now[metric]:.0%}")
    return faults


def _training_light(stage: StageView) -> Light | None:
    """How the most telling metric of a training run changed."""
    for key, name in (("eval_accuracy", "held-out accuracy"), ("eval_loss", "held-out loss"),
                      ("score", "score"), ("loss", "loss")):  # fmt: skip
        values = [row[key] for row in stage.metrics if isinstance(row.get(key), int | float)]
        curve = [value for value in values if math.isfinite(value)]
        if curve:
            change = f"{stage.name}: {name} went from {curve[0]:.3g} to {curve[-1]:.3g}"
            higher_is_better = key in ("eval_accuracy", "score")
            good = curve[-1] > curve[0] if higher_is_better else curve[-1] < curve[0]
            tone = GREY if len(curve) == 1 else GREEN if good else AMBER
            return Light(tone=tone, text=f"{change}.")
    return None


def _overall(results: Sequence[Row], model: str) -> list[Row]:
    """The model's metrics over all prompts."""
    return [
        r
        for r in results
        if r["model"] == model and "subset" not in r and r.get("with_contaminated", True)
    ]


def _last_model(evaluation: Row) -> str:
    """The evaluated model: the last one in the file."""
    results = evaluation.get("results", [])
    names = list(evaluation.get("models", {})) or [r["model"] for r in results]
    return str(names[-1]) if names else ""


def _judge(result: Row) -> str:
    names = {
        "gold": "the gold scorer",
        "reward_model": "the reward model",
        "human": "human annotators",
        "llm": "an LLM judge",
        "human+llm": "human annotators and an LLM judge",
    }
    name = names.get(str(result["judge"]), str(result["judge"]))
    return f"{name} {result['judge_source']}" if result.get("judge_source") else name
