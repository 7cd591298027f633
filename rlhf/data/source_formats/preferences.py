"""Converters of published formats of preferences; each takes a row and returns rankings."""

import re
from collections.abc import Sequence

from rlhf.data.files.raw import Row
from rlhf.data.source_formats.parts import (
    ROLES,
    Converted,
    are_numbers,
    is_number,
    mean_of_text,
    number,
    preference,
    rank,
    texts,
    with_input,
)
from rlhf.errors import reject_row
from rlhf.types import Message

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HELPSTEER_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
ULTRAFEEDBACK_AXES = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def hh(row: Row) -> Converted:
    """Anthropic HH: "\\n\\nHuman: … \\n\\nAssistant:" texts; prompt as a column or inside both."""
    chosen, rejected = texts(row, "chosen", "rejected")
    if "prompt" in row:
        (before,) = texts(row, "prompt")
    else:
        before, chosen = _split_last_response(chosen)
        other, rejected = _split_last_response(rejected)
        if before.split() != other.split():
            reject_row("no common prompt: chosen and rejected differ before their last responses")
    if _HH_TURN.search(chosen) or _HH_TURN.search(rejected):
        reject_row("chosen or rejected has further turns after the response")
    pair = {"chosen": chosen.strip(), "rejected": rejected.strip()}
    return Converted([{"prompt": _hh_messages(before), **pair}])


def pandalm(row: Row) -> Converted:
    """PandaLM test set: two responses; 1, 2 or 0 (a tie) of each annotator gives a ranking."""
    (instruction,) = texts(row, "instruction")
    names = [key for key in row if re.fullmatch(r"annotator\d+", key)]
    prompt = with_input(instruction, row.get("input", ""))
    ranks = {"1": [1, 2], "2": [2, 1], "0": [1, 1]}
    if not names or any(str(row[name]) not in ranks for name in names):
        reject_row("annotator1, annotator2, … are missing or not 1, 2 or 0")
    shared = {"prompt": prompt, "responses": list(texts(row, "response1", "response2"))}
    return Converted(
        [{**shared, "ranks": ranks[str(row[name])], "annotator": name} for name in names]
    )


def oasst(row: Row) -> Converted:
    """Open-Assistant: a conversation (`messages`) and its `responses`, best first."""
    responses = row.get("responses")
    if row.get("order", "best_first") != "best_first" or not isinstance(responses, list):
        reject_row("responses is not a list in best_first order")
    ranks = list(range(1, len(responses) + 1))
    return Converted([{"prompt": row.get("messages"), "responses": responses, "ranks": ranks}])


def summeval(row: Row) -> Converted:
    """SummEval: expert scores on several axes; ranked by their mean, equal means tie."""
    scores = row.get("scores")
    axes = list(scores.values()) if isinstance(scores, dict) else []
    if not axes or not all(are_numbers(axis) and len(axis) == len(axes[0]) for axis in axes):
        reject_row("scores is not a mapping of axes to one number per response")
    means = [round(sum(column) / len(axes), 6) for column in zip(*axes, strict=True)]
    return Converted([_ranking(row.get("prompt"), row.get("responses"), means)])


def scored(row: Row) -> Converted:
    """`scores` as one list, a number per response: the higher the better, equal ones tie."""
    scores = row.get("scores")
    if not isinstance(scores, list) or not are_numbers(scores):
        reject_row("scores is not a list of one number per response")
    ranks = rank(mean_of_text(scores, row.get("responses")))
    return Converted([{**{k: v for k, v in row.items() if k != "scores"}, "ranks": ranks}])


def helpsteer2(row: Row) -> Converted:
    """HelpSteer2: successive responses to one prompt, by helpfulness; or preferences."""
    if "preference_strength" not in row:
        return helpsteer2_responses([row])
    first, second = texts(row, "response_1", "response_2")
    score = number(row, "preference_strength", -3, 3)
    ranking = preference(_helpsteer_prompt(row), first, second, score)
    return Converted([ranking | {key: row[key] for key in ("split",) if key in row}])


def helpsteer2_responses(rows: Sequence[Row]) -> Converted:
    """The ranking of HelpSteer2's responses to one prompt, which have a row each."""
    scores = [number(row, "helpfulness", 0, 4) for row in rows]
    responses = [texts(row, "response")[0] for row in rows]
    if len(rows) < 2:
        reject_row("no second response to its prompt in the rows next to it")
    return Converted([_ranking(_helpsteer_prompt(rows[0]), responses, scores)])


def helpsteer3(row: Row) -> Converted:
    """HelpSteer3: signed scores, below 0 for response1; a ranking of each annotator's position."""
    first, second = texts(row, "response1", "response2")
    columns = {key: row[key] for key in ("domain", "language") if key in row}
    votes = row.get("individual_preference") or []
    if not isinstance(votes, list):
        reject_row("individual_preference is not a list")
    rows, left_out = [], []
    for position, vote in enumerate(votes, start=1):
        score = vote.get("score") if isinstance(vote, dict) else None
        if is_number(score) and -3 <= score <= 3:
            ranking = preference(row.get("context"), first, second, score)
            rows.append(ranking | {"annotator": f"annotator{position}"} | columns)
        else:
            left_out.append("annotator without a score from -3 to 3")
    if not rows:
        overall = number(row, "overall_preference", -3, 3)
        rows = [preference(row.get("context"), first, second, overall) | columns]
    return Converted(rows, left_out)


def ultrafeedback(row: Row) -> Converted:
    """UltraFeedback as published: `completions` by the mean rating on the axes that all have."""
    (prompt,) = texts(row, "instruction")
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(each, dict) for each in completions):
        reject_row("completions is not a list of responses with annotations")
    all_rated = [(completion, _ratings(completion)) for completion in completions]
    rated = [(each, ratings) for each, ratings in all_rated if ratings and _has_text(each)]
    left_out = [
        "response without text" if not _has_text(each) else "response without a rating"
        for each, ratings in all_rated
        if not (ratings and _has_text(each))
    ]
    axes = [axis for axis in ULTRAFEEDBACK_AXES if all(axis in ratings for _, ratings in rated)]
    if len(rated) < 2 or not axes:
        why = "fewer than two are rated" if len(rated) < 2 else "they share no rated axis"
        reject_row(f"completions cannot be compared: {why}")
    if len(axes) < len(ULTRAFEEDBACK_AXES):
        left_out.append("axis on which not all responses of its row are rated")
    scores = [sum(ratings[axis] for axis in axes) / len(axes) for _, ratings in rated]
    ranking = _ranking(prompt, [each["response"] for each, _ in rated], scores)
    models = [str(each.get("model", "")) for each, _ in rated]
    return Converted([ranking | {"models": models}], left_out)


def rewardbench2(row: Row) -> Converted:
    """RewardBench 2: lists `chosen` and `rejected`; every chosen one ties, and every rejected."""
    (prompt,) = texts(row, "prompt")
    right, wrong = _response_list(row, "chosen"), _response_list(row, "rejected")
    if row.get("num_correct", len(right)) != len(right):
        reject_row(f"num_correct is {row['num_correct']}, but chosen has {len(right)} responses")
    scores = [1.0] * len(right) + [0.0] * len(wrong)
    columns = {key: row[key] for key in ("id", "subset") if key in row}
    return Converted([_ranking(prompt, [*right, *wrong], scores) | columns])


def webgpt(row: Row) -> Converted:
    """WebGPT comparisons: the response with the higher score is better, equal scores tie."""
    question = row.get("question")
    prompt = question.get("full_text") if isinstance(question, dict) else question
    if not isinstance(prompt, str):
        reject_row("question has no full_text")
    responses = list(texts(row, "answer_0", "answer_1"))
    scores = [number(row, key, -1, 1) for key in ("score_0", "score_1")]
    return Converted([_ranking(prompt, responses, scores)])


def shp(row: Row) -> Converted:
    """Stanford Human Preferences: `labels` 1 for human_ref_A, 0 for human_ref_B, by their ratio."""
    (history, *responses) = texts(row, "history", "human_ref_A", "human_ref_B")
    label = row.get("labels")
    if label not in (0, 1):
        reject_row("labels is neither 1 (A is better) nor 0 (B is better)")
    ranking = _ranking(history, responses, [1.0, 0.0] if label == 1 else [0.0, 1.0])
    ratio = row.get("score_ratio")
    strength = {"strength": float(ratio)} if is_number(ratio) and ratio >= 1 else {}
    return Converted([ranking | strength])


def _response_list(row: Row, name: str) -> list[object]:
    responses = row.get(name)
    if not isinstance(responses, list) or not responses:
        reject_row(f"{name} is missing or not a list of responses")
    return responses


def _ranking(prompt: object, responses: object, scores: Sequence[float]) -> Row:
    ranks = rank(mean_of_text(scores, responses))
    return {"prompt": prompt, "responses": responses, "ranks": ranks}


def _split_last_response(transcript: str) -> tuple[str, str]:
    """The transcript up to its last "Assistant:", and the text after it."""
    before, mark, response = transcript.rpartition("\n\nAssistant:")
    return before + mark, response


def _hh_messages(transcript: str) -> list[Message]:
    parts = _HH_TURN.split(transcript)
    speakers, contents = parts[1::2], parts[2::2]
    if parts[0].strip() or not speakers or speakers[-1] != "Assistant" or contents[-1].strip():
        reject_row("not a transcript of Human and Assistant that ends at the Assistant's turn")
    turns = zip(speakers[:-1], contents[:-1], strict=True)
    return [{"role": ROLES[speaker.lower()], "content": text.strip()} for speaker, text in turns]


def _helpsteer_prompt(row: Row) -> str | list[Message]:
    """The prompt's text, or its turns where <extra_id_1> marks them."""
    return helpsteer_turns(texts(row, "prompt")[0])


def helpsteer_turns(prompt: str) -> str | list[Message]:
    """The prompt, or its turns where HelpSteer's <extra_id_1> marks them."""
    first, *rest = _HELPSTEER_TURN.split(prompt)
    if not rest:
        return first
    turns = zip(rest[::2], rest[1::2], strict=True)
    messages: list[Message] = [{"role": "user", "content": first}]
    messages += [{"role": ROLES[role.lower()], "content": text} for role, text in turns]
    return messages


def _ratings(completion: Row) -> dict[str, float]:
    """The rating of each axis that has one; "N/A" does not count."""
    annotations = completion.get("annotations")
    ratings = {}
    for axis in ULTRAFEEDBACK_AXES:
        annotation = annotations.get(axis) if isinstance(annotations, dict) else None
        rating = annotation.get("Rating") if isinstance(annotation, dict) else None
        if isinstance(rating, str) and re.fullmatch(r"\d+(\.\d+)?", rating.strip()):
            rating = float(rating)
        if is_number(rating):
            ratings[axis] = float(rating)
    return ratings


def _has_text(completion: Row) -> bool:
    response = completion.get("response")
    return isinstance(response, str) and bool(response.strip())
