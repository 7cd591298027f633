"""Sampled responses of a stage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.report.read import Row, StageView
from rlhf.report.words import DiffPart, word_diff

MAX_ROWS = 12  # per sample set
MAX_TEXT = 2000  # characters of a text
FIRST = ("best", "worst", "random")


@dataclass(frozen=True, kw_only=True)
class ModelResponse:
    """The response of one model."""

    model: str
    text: str
    thought: str  # "" if there is none
    notes: Sequence[str]  # scores, and whether it was cut off


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A prompt and the response of each model."""

    prompt: str
    responses: Sequence[ModelResponse]
    changes: Sequence[DiffPart] = ()  # from the first to the last response, word by word


def sample_sets(stage: StageView) -> dict[str, list[Exchange]]:
    """The sample sets: best, worst and random, then others. Rows of another form are left out.

    The word diff compares the last model with the baseline, or after with before; responses of a
    ranking are not versions of one text and get none.
    """
    results = stage.evaluation.get("results", [])
    models = list(stage.evaluation.get("models", {}))[-1:]
    baseline = next((r["baseline"] for r in results if r.get("baseline")), None)
    compared = [str(baseline), *models] if baseline else ["before", "after"]
    names = [name for name in FIRST if name in stage.samples]
    names += [name for name in stage.samples if name not in (*FIRST, "tokens")]
    sets = {
        name: [_exchange(row, compared) for row in stage.samples[name] if _is_exchange(row)]
        for name in names
    }
    return {name: rows[:MAX_ROWS] for name, rows in sets.items() if rows}


def plain(value: object) -> str:
    """A prompt, text or number as plain text; messages become `role: text` lines."""
    if isinstance(value, str):
        return value[:MAX_TEXT] + ("…" if len(value) > MAX_TEXT else "")
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return plain("\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in value))
    return plain(json.dumps(value, ensure_ascii=False))


def _is_exchange(row: Row) -> bool:
    responses = row.get("answers")
    return isinstance(responses, Mapping) and all(
        isinstance(response, Mapping) for response in responses.values()
    )


def _exchange(row: Row, compared: Sequence[str]) -> Exchange:
    responses = [_response(str(model), fields) for model, fields in row["answers"].items()]
    versions = [one for model in compared for one in responses if one.model == model]
    changes = word_diff(versions[0].text, versions[-1].text) if len(versions) > 1 else []
    return Exchange(prompt=plain(row.get("prompt", "")), responses=responses, changes=changes)


def _response(model: str, fields: Row) -> ModelResponse:
    notes = [f"{judge} {plain(score)}" for judge, score in (fields.get("scores") or {}).items()]
    if fields.get("ended_with_eos") is False:
        notes.append("cut off")
    return ModelResponse(
        model=model,
        text=plain(fields.get("text", "")) or "(empty)",
        thought=plain(fields.get("thought", "")),
        notes=notes,
    )
