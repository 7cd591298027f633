"""Sampled answers as the page shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.report.read import Row, StageView
from rlhf.report.words import Piece, word_diff

MAX_ROWS = 12  # of each kind
MAX_TEXT = 2000  # characters of a text
FIRST = ("best", "worst", "random")


@dataclass(frozen=True, kw_only=True)
class Said:
    """One model's answer."""

    model: str
    text: str
    thought: str  # before the text; "" where there is none
    notes: Sequence[str]  # scores, and whether it was cut off


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A prompt and what each model said."""

    prompt: str
    answers: Sequence[Said]
    changes: Sequence[Piece] = ()  # from the first to the last answer, word by word


def sample_sets(stage: StageView) -> dict[str, list[Exchange]]:
    """Best, worst and random before any others; rows of another shape are passed over.

    Word by word the last model is set against the baseline, or else after against before; the
    answers of a ranking are each other's rivals and no versions of one text.
    """
    results = stage.evaluation.get("results", [])
    models = list(stage.evaluation.get("models", {}))[-1:]
    baseline = next((r["baseline"] for r in results if r.get("baseline")), None)
    compared = [str(baseline), *models] if baseline else ["before", "after"]
    names = [name for name in FIRST if name in stage.samples]
    names += [name for name in stage.samples if name not in (*FIRST, "tokens")]
    sets = {
        name: [_exchange(row, compared) for row in stage.samples[name] if _fits(row)]
        for name in names
    }
    return {name: rows[:MAX_ROWS] for name, rows in sets.items() if rows}


def plain(value: Any) -> str:
    """A prompt, a text or a number for the eye: messages as `role: text` lines."""
    if isinstance(value, str):
        return value[:MAX_TEXT] + ("…" if len(value) > MAX_TEXT else "")
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return plain("\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in value))
    return plain(json.dumps(value, ensure_ascii=False))


def _fits(row: Row) -> bool:
    answers = row.get("answers")
    return isinstance(answers, Mapping) and all(isinstance(a, Mapping) for a in answers.values())


def _exchange(row: Row, compared: Sequence[str]) -> Exchange:
    answers = [_said(str(model), answer) for model, answer in row["answers"].items()]
    ends = [said for model in compared for said in answers if said.model == model]
    changes = word_diff(ends[0].text, ends[-1].text) if len(ends) > 1 else []
    return Exchange(prompt=plain(row.get("prompt", "")), answers=answers, changes=changes)


def _said(model: str, answer: Row) -> Said:
    notes = [f"{judge} {plain(score)}" for judge, score in (answer.get("scores") or {}).items()]
    if answer.get("ended_with_eos") is False:
        notes.append("cut off")
    return Said(
        model=model,
        text=plain(answer.get("text", "")) or "(empty)",
        thought=plain(answer.get("thought", "")),
        notes=notes,
    )
