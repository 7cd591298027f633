"""Rows of other people's preferences: each function takes one and returns our rankings."""

import re
from collections.abc import Sequence
from typing import Any

from rlhf.data.files.raw import Row
from rlhf.data.source_formats.parts import (
    ROLES,
    Converted,
    is_number,
    mean_of_text,
    number,
    numbers,
    preference,
    rank,
    texts,
    with_input,
)
from rlhf.errors import DataError
from rlhf.types import Message

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HELPSTEER_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
ULTRAFEEDBACK_AXES = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def hh(row: Row) -> Converted:
    """Anthropic HH: "\\n\\nHuman: … \\n\\nAssistant:" text, prompt apart or inside both answers."""
    chosen, rejected = texts(row, "chosen", "rejected")
    if "prompt" in row:
        (before,) = texts(row, "prompt")
    else:
        before, chosen = _before_last_answer(chosen)
        other, rejected = _before_last_answer(rejected)
        if before.split() != other.split():
            raise DataError(
                "no prompt that both share: chosen and rejected part before their last answers"
            )
    if _HH_TURN.search(chosen) or _HH_TURN.search(rejected):
        raise DataError("no one answer: chosen or rejected goes on after it with a turn")
    pair = {"chosen": chosen.strip(), "rejected": rejected.strip()}
    return Converted([{"prompt": _hh_messages(before), **pair}])


def pandalm(row: Row) -> Converted:
    """PandaLM test set: two answers and 1, 2 or 0 (a tie) of each annotator: a ranking of each."""
    (instruction,) = texts(row, "instruction")
    names = [key for key in row if re.fullmatch(r"annotator\d+", key)]
    prompt = with_input(instruction, row.get("input", ""))
    ranks = {"1": [1, 2], "2": [2, 1], "0": [1, 1]}
    if not names or any(str(row[name]) not in ranks for name in names):
        raise DataError("no annotator1, annotator2, … with 1, 2 or 0")
    shared = {"prompt": prompt, "responses": list(texts(row, "response1", "response2"))}
    rows = [{**shared, "ranks": ranks[str(row[name])], "annotator": name} for name in names]
    return Converted(rows)


def oasst(row: Row) -> Converted:
    """Open-Assistant: a conversation (`messages`) and its `responses`, best first."""
    responses = row.get("responses")
    if row.get("order", "best_first") != "best_first" or not isinstance(responses, list):
        raise DataError("no responses in best_first order")
    ranks = list(range(1, len(responses) + 1))
    return Converted([{"prompt": row.get("messages"), "responses": responses, "ranks": ranks}])


def summeval(row: Row) -> Converted:
    """SummEval: expert scores on several axes; ranked by their mean, equal means tie."""
    scores = row.get("scores")
    axes = list(scores.values()) if isinstance(scores, dict) else []
    if not axes or not all(numbers(axis) and len(axis) == len(axes[0]) for axis in axes):
        raise DataError("no scores: axis -> one number a response")
    means = [round(sum(of_one) / len(axes), 6) for of_one in zip(*axes, strict=True)]
    return Converted([_ranking(row.get("prompt"), row.get("responses"), means)])


def scored(row: Row) -> Converted:
    """`scores` as one list, a number a response: the higher the better, equal ones tie."""
    scores = row.get("scores")
    if not isinstance(scores, list) or not numbers(scores):
        raise DataError("no scores, one number a response")
    ranks = rank(mean_of_text(scores, row.get("responses")))
    return Converted([{**{k: v for k, v in row.items() if k != "scores"}, "ranks": ranks}])


def helpsteer2(row: Row) -> Converted:
    """HelpSteer2: answers that follow each other to one prompt, by helpfulness; or preferences."""
    if "preference_strength" not in row:
        return helpsteer2_answers([row])
    first, second = texts(row, "response_1", "response_2")
    score = number(row, "preference_strength", -3, 3)
    made = preference(_helpsteer_prompt(row), first, second, score)
    return Converted([made | {key: row[key] for key in ("split",) if key in row}])


def helpsteer2_answers(rows: Sequence[Row]) -> Converted:
    """The ranking of HelpSteer2's answers to one prompt, a row each."""
    scores = [number(row, "helpfulness", 0, 4) for row in rows]
    answers = [texts(row, "response")[0] for row in rows]
    if len(rows) < 2:
        raise DataError("no second answer to its prompt in the rows around it")
    return Converted([_ranking(_helpsteer_prompt(rows[0]), answers, scores)])


def helpsteer3(row: Row) -> Converted:
    """HelpSteer3: signed scores, below 0 for response1; a ranking of each annotator's position."""
    first, second = texts(row, "response1", "response2")
    kept = {key: row[key] for key in ("domain", "language") if key in row}
    people = row.get("individual_preference") or []
    if not isinstance(people, list):
        raise DataError("no individual_preference that is a list")
    rows, left_out = [], []
    for position, person in enumerate(people, start=1):
        score = person.get("score") if isinstance(person, dict) else None
        if is_number(score) and -3 <= score <= 3:
            made = preference(row.get("context"), first, second, score)
            rows.append(made | {"annotator": f"annotator{position}"} | kept)
        else:
            left_out.append("annotator without a score from -3 to 3")
    if not rows:
        overall = number(row, "overall_preference", -3, 3)
        rows = [preference(row.get("context"), first, second, overall) | kept]
    return Converted(rows, left_out)


def ultrafeedback(row: Row) -> Converted:
    """UltraFeedback as published: `completions` by the mean rating of axes that all have."""
    (prompt,) = texts(row, "instruction")
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(one, dict) for one in completions):
        raise DataError("no completions, each with response and annotations")
    rated = [(one, _ratings(one)) for one in completions]
    kept = [(one, ratings) for one, ratings in rated if ratings and _has_text(one)]
    left_out = [
        "answer without text" if not _has_text(one) else "answer without a rating"
        for one, ratings in rated
        if not (ratings and _has_text(one))
    ]
    axes = [axis for axis in ULTRAFEEDBACK_AXES if all(axis in ratings for _, ratings in kept)]
    if len(kept) < 2 or not axes:
        why = "fewer than two are rated" if len(kept) < 2 else "they share no rated axis"
        raise DataError(f"no answers to compare: {why}")
    if len(axes) < len(ULTRAFEEDBACK_AXES):
        left_out.append("axis that not all answers of its row are rated on")
    scores = [sum(ratings[axis] for axis in axes) / len(axes) for _, ratings in kept]
    made = _ranking(prompt, [one["response"] for one, _ in kept], scores)
    return Converted([made | {"models": [str(one.get("model", "")) for one, _ in kept]}], left_out)


def rewardbench2(row: Row) -> Converted:
    """RewardBench 2: lists `chosen` and `rejected`; every chosen one ties, and every rejected."""
    (prompt,) = texts(row, "prompt")
    chosen, rejected = row.get("chosen"), row.get("rejected")
    for name, answers in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(answers, list) or not answers:
            raise DataError(f"no {name} that is a list of answers")
    right, wrong = list(chosen or []), list(rejected or [])
    if row.get("num_correct", len(right)) != len(right):
        raise DataError(f"no {row['num_correct']} right answers (num_correct): {len(right)} chosen")
    scores = [1.0] * len(right) + [0.0] * len(wrong)
    kept = {key: row[key] for key in ("id", "subset") if key in row}
    return Converted([_ranking(prompt, [*right, *wrong], scores) | kept])


def webgpt(row: Row) -> Converted:
    """WebGPT comparisons: the answer with the higher score is better, equal scores tie."""
    question = row.get("question")
    asked = question.get("full_text") if isinstance(question, dict) else question
    if not isinstance(asked, str):
        raise DataError("no question with a full_text")
    answers = list(texts(row, "answer_0", "answer_1"))
    scores = [number(row, key, -1, 1) for key in ("score_0", "score_1")]
    return Converted([_ranking(asked, answers, scores)])


def shp(row: Row) -> Converted:
    """Stanford Human Preferences: `labels` 1 for human_ref_A, 0 for human_ref_B, by their ratio."""
    (history, *answers) = texts(row, "history", "human_ref_A", "human_ref_B")
    label = row.get("labels")
    if label not in (0, 1):
        raise DataError("no labels that is 1 (A is better) or 0 (B is)")
    made = _ranking(history, answers, [float(label), 1.0 - label])
    ratio = row.get("score_ratio")
    told = {"strength": float(ratio)} if is_number(ratio) and ratio >= 1 else {}
    return Converted([made | told])


def _ranking(prompt: Any, responses: Any, scores: Sequence[float]) -> Row:
    ranks = rank(mean_of_text(scores, responses))
    return {"prompt": prompt, "responses": responses, "ranks": ranks}


def _before_last_answer(transcript: str) -> tuple[str, str]:
    """The transcript up to its last "Assistant:", and what comes after."""
    before, mark, answer = transcript.rpartition("\n\nAssistant:")
    return before + mark, answer


def _hh_messages(transcript: str) -> list[Message]:
    parts = _HH_TURN.split(transcript)
    speakers, said = parts[1::2], parts[2::2]
    if parts[0].strip() or not speakers or speakers[-1] != "Assistant" or said[-1].strip():
        raise DataError("no transcript of Human and Assistant that ends at the Assistant's turn")
    turns = zip(speakers[:-1], said[:-1], strict=True)
    return [{"role": ROLES[speaker.lower()], "content": text.strip()} for speaker, text in turns]


def _helpsteer_prompt(row: Row) -> str | list[Message]:
    """A text, or the turns of one that marks them with <extra_id_1>."""
    first, *rest = _HELPSTEER_TURN.split(texts(row, "prompt")[0])
    if not rest:
        return first
    turns = zip(rest[::2], rest[1::2], strict=True)
    told = [{"role": ROLES[who.lower()], "content": text} for who, text in turns]
    return [{"role": "user", "content": first}, *told]


def _ratings(completion: Row) -> dict[str, float]:
    """Axis -> rating, of the axes that have one; "N/A" is none."""
    annotations = completion.get("annotations")
    found = {}
    for axis in ULTRAFEEDBACK_AXES:
        about = annotations.get(axis) if isinstance(annotations, dict) else None
        rating = about.get("Rating") if isinstance(about, dict) else None
        if isinstance(rating, str) and re.fullmatch(r"\d+(\.\d+)?", rating.strip()):
            rating = float(rating)
        if is_number(rating):
            found[axis] = float(rating)
    return found


def _has_text(completion: Row) -> bool:
    response = completion.get("response")
    return isinstance(response, str) and bool(response.strip())
