"""Exports of annotation tools: Argilla's records, Label Studio's tasks and annotations.

Each record becomes a row for every ranking in it, or a row without ranks if it has none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf.data.files.raw import Row
from rlhf.data.source_formats.parts import Converted
from rlhf.errors import reject_row

PROMPT_NAMES = (
    "prompt", "instruction", "question", "input", "query", "context", "chat", "conversation",
    "messages", "text",
)  # fmt: skip
_RESPONSE = re.compile(
    r"(response|reply|completion|answer|generation|output|candidate|option|text)[\W_]*(\d+|[a-h])"
)
_DIGITS = re.compile(r"\d+")
# Columns of a row with a meaning of their own: metadata of that name gets a prefix.
_RESERVED = frozenset(
    "prompt responses models ranks chosen rejected annotator strength margin order_shown seconds "
    "guideline_version form_version guideline_sha256 form_sha256 extra item_id labelled_at purpose "
    "probability repeats gold_ranks".split()
)


def argilla(row: Row) -> Converted:
    """Argilla's records (`dataset.records.to_json`): a ranking or a choice by each user."""
    return _with_ranks(argilla_rows(row))


def label_studio(row: Row) -> Converted:
    """Label Studio's JSON export: Ranker or Pairwise results of each annotation."""
    return _with_ranks(label_studio_rows(row))


def _with_ranks(rows: Sequence[Row]) -> Converted:
    ranked = [row for row in rows if "ranks" in row]
    return Converted(ranked, () if ranked else ("record without a ranking",))


def argilla_rows(row: Row) -> list[Row]:
    """The rows of a record of Argilla.

    The answers to other questions than the ranking are in the column `extra`.
    """
    fields = _mapping(row.get("fields"), "fields")
    answers = {
        question: _mappings(given, f"responses.{question}")
        for question, given in _mapping(row.get("responses") or {}, "responses").items()
    }
    question, names = _ranking_question(answers, fields)
    names = names or [name for name in fields if _RESPONSE.fullmatch(name.lower())]
    prompt, others = _prompt_of({k: v for k, v in fields.items() if k not in names})
    metadata = _mapping(row.get("metadata") or {}, "metadata")
    of_models = [f"model-{n + 1}" for n in range(len(names))]  # as `rlhf label export` writes them
    has_models = set(of_models) <= metadata.keys()
    columns = {**others, **metadata, "id": row.get("id")}
    common = {
        "prompt": prompt,
        "responses": [_text_of(fields[name], name) for name in names],
        **({"models": [str(metadata[name]) for name in of_models]} if has_models else {}),
        **_columns({k: v for k, v in columns.items() if not (has_models and k in of_models)}),
    }
    if len(names) < 2:
        reject_row(f"fewer than two fields with responses; its fields are {', '.join(fields)}")
    if question is None:
        return [common]
    rows: list[Row] = []
    for answer in answers[question]:
        user = answer.get("user_id")
        extra = {
            name: other.get("value")
            for name, given in answers.items()
            for other in given
            if name != question and other.get("user_id") == user
        }
        ranks = _ranks_of_names(answer.get("value"), names)
        named = {"annotator": str(user)} if user else {}
        rows.append({**common, "ranks": ranks, **named, **({"extra": extra} if extra else {})})
    return rows


def _ranking_question(
    answers: Mapping[str, Sequence[Mapping[str, Any]]], fields: Mapping[str, object]
) -> tuple[str | None, list[str]]:
    """The first question whose answers name fields, and the fields with responses, in order."""
    for question, given in answers.items():
        for answer in given:
            named = [name for name, _ in _ranked_names(answer.get("value"))]
            if named and set(named) <= fields.keys():
                kind = _DIGITS.sub("", named[0])
                alike = [n for n in fields if n in named or _DIGITS.sub("", n) == kind]
                usual = [n for n in fields if n in named or _RESPONSE.fullmatch(n.lower())]
                return question, alike if len(alike) > 1 else usual
    return None, []


def _ranked_names(value: object) -> Iterator[tuple[str, int]]:
    """(name, rank) of a ranking's value, or of a choice of one name."""
    if isinstance(value, str):
        yield value, 1
    for place, each in enumerate(value if isinstance(value, list) else [], 1):
        if isinstance(each, str):
            yield each, place
        elif isinstance(each, Mapping) and isinstance(each.get("value"), str):
            rank = each.get("rank", place)
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
                reject_row(f"the rank {rank!r} is not a whole number from 1 on")
            yield each["value"], rank


def _ranks_of_names(value: object, names: Sequence[str]) -> list[int]:
    ranks = dict(_ranked_names(value))
    if isinstance(value, str):  # the one that was chosen is better than all others
        return [1 if name == value else 2 for name in names]
    if ranks.keys() != set(names):
        reject_row(f"the ranking has {', '.join(ranks)}, but the responses are {', '.join(names)}")
    return [ranks[name] for name in names]


def label_studio_rows(row: Row) -> list[Row]:
    """The rows of a task of Label Studio. Cancelled annotations are left out.

    The texts and choices of an annotation are in the column `extra`.
    """
    data = _mapping(row.get("data"), "data")
    key, items = _list_of_items(data)
    names = [name for name in data if _RESPONSE.fullmatch(name.lower())]
    used = {key} if items else set(names)
    prompt, others = _prompt_of({k: v for k, v in data.items() if k not in used})
    responses = [_text_of_item(item) for item in items] or [_text_of(data[n], n) for n in names]
    if len(responses) < 2:
        reject_row(f"fewer than two responses; its data has {', '.join(data)}")
    ids = [str(item["id"]) for item in items]
    common = {"prompt": prompt, "responses": responses, **_columns(others)}
    given = row.get("annotations") or []
    if not isinstance(given, list):
        reject_row("annotations is not a list")
    annotations = [
        one for one in given if isinstance(one, Mapping) and not one.get("was_cancelled")
    ]
    rows = [_annotated(common, one, ids) for one in annotations]
    return [one for one in rows if one is not None] or [common]


def _annotated(common: Row, annotation: Mapping[str, Any], ids: Sequence[str]) -> Row | None:
    """The row of one annotation; None if it ranks nothing."""
    ranks: list[int] | None = None
    extra: Row = {}
    for result in _mappings(annotation.get("result") or [], "result"):
        value = _mapping(result.get("value"), "value")
        if result.get("type") == "ranker":
            ranks = _ranks_of_ids(value.get("ranker"), ids)
        elif result.get("type") == "pairwise":
            ranks = {"left": [1, 2], "right": [2, 1]}.get(str(value.get("selected")))
        elif result.get("type") in ("textarea", "choices", "rating"):
            kind = str(result["type"])
            given = value.get("text" if kind == "textarea" else kind)
            if isinstance(given, list) and len(given) == 1:
                given = given[0]
            extra[str(result.get("from_name"))] = given
    if ranks is None:
        return None
    person = annotation.get("completed_by")
    if isinstance(person, Mapping):
        person = person.get("email") or person.get("username") or person.get("id")
    seconds = annotation.get("lead_time")
    return {
        **common,
        "ranks": ranks,
        **({"annotator": str(person)} if person is not None else {}),
        **({"seconds": seconds} if seconds is not None else {}),
        **({"extra": extra} if extra else {}),
    }


def _ranks_of_ids(value: object, ids: Sequence[str]) -> list[int]:
    """Ranks of a Ranker's result, a list of ids or one below the name of the tag."""
    if isinstance(value, Mapping):
        lists = [each for name, each in value.items() if name != "_" or len(value) == 1]
        if len(lists) != 1:
            reject_row(f"a Ranker with the buckets {', '.join(value)}, whose order is not known")
        value = lists[0]
    order = [str(each) for each in value] if isinstance(value, list) else []
    if sorted(order) != sorted(ids):
        reject_row(
            f"the Ranker's result has {', '.join(order)}, but the items are {', '.join(ids)}"
        )
    return [order.index(each) + 1 for each in ids]


def _list_of_items(data: Mapping[str, object]) -> tuple[str, list[Mapping[str, Any]]]:
    """The first list of items with an id, as the List tag shows it."""
    for key, value in data.items():
        if isinstance(value, list) and value:
            items = [each for each in value if isinstance(each, Mapping) and "id" in each]
            if len(items) == len(value):
                return key, items
    return "", []


def _text_of_item(item: Mapping[str, Any]) -> str:
    texts = [item[name] for name in ("body", "text", "html", "title") if item.get(name)]
    if not texts or not isinstance(texts[0], str):
        reject_row(f"the item {item['id']} has no body, text, html or title")
    return texts[0]


def _prompt_of(fields: Mapping[str, object]) -> tuple[object, Row]:
    """The prompt among the fields, and the others."""
    by_name = {name.lower(): name for name in fields}
    known = [by_name[name] for name in PROMPT_NAMES if name in by_name]
    if not known and len(fields) != 1:
        reject_row(
            f"no field is a prompt ({', '.join(PROMPT_NAMES)}); the others are {', '.join(fields)}"
        )
    name = known[0] if known else next(iter(fields))
    prompt = fields[name]
    if not isinstance(prompt, str | list):
        reject_row(f"the prompt, {name}, is neither text nor messages")
    return prompt, {key: value for key, value in fields.items() if key != name}


def _columns(values: Mapping[str, object]) -> Row:
    """Other fields and metadata as columns; a name with a meaning of its own gets a prefix."""
    return {f"metadata_{k}" if k in _RESERVED else k: v for k, v in values.items() if v is not None}


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        reject_row(f"{name} is {type(value).__name__}, not an object")
    return value


def _mappings(value: object, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        reject_row(f"{name} is not a list of objects")
    return value


def _text_of(value: object, name: str) -> str:
    if not isinstance(value, str):
        reject_row(f"{name} is {type(value).__name__}, not text")
    return value
