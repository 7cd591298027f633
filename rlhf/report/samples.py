"""Sampled answers as the page shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.report.read import Row, StageView

MAX_ROWS = 12  # of each kind
MAX_TEXT = 2000  # characters of a text
FIRST = ("best", "worst", "random")


@dataclass(frozen=True, kw_only=True)
class Said:
    """One model's answer."""

    model: str
    text: str
    notes: Sequence[str]  # scores, and whether it was cut off


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A prompt and what each model said."""

    prompt: str
    answers: Sequence[Said]


def sample_sets(stage: StageView) -> dict[str, list[Exchange]]:
    """Best, worst and random before any others; rows of another shape are passed over."""
    names = [name for name in FIRST if name in stage.samples]
    names += [name for name in stage.samples if name not in FIRST]
    sets = {name: [_exchange(row) for row in stage.samples[name] if _fits(row)] for name in names}
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


def _exchange(row: Row) -> Exchange:
    return Exchange(
        prompt=plain(row.get("prompt", "")),
        answers=[_said(str(model), answer) for model, answer in row["answers"].items()],
    )


def _said(model: str, answer: Row) -> Said:
    notes = [f"{judge} {plain(score)}" for judge, score in (answer.get("scores") or {}).items()]
    if answer.get("ended_with_eos") is False:
        notes.append("cut off")
    return Said(model=model, text=plain(answer.get("text", "")) or "(empty)", notes=notes)
