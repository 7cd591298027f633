"""Files -> label store: sampled candidates, and rankings or pairs from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.data.rows.parse import parse_prompt
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.source_formats.annotation_tools import argilla_rows, label_studio_rows
from rlhf.data.source_formats.formats import FORMATS
from rlhf.data.source_formats.preferences import hh
from rlhf.errors import ConfigError, DataError
from rlhf.labels.answers import COLUMN, answers_of_columns
from rlhf.labels.people import set_requirements
from rlhf.labels.queries import identity
from rlhf.labels.records import LABEL, REPEAT, UNNAMED, Candidate, Label
from rlhf.labels.store import LabelStore
from rlhf.runtime.printing import counted

# Columns with a meaning of their own; all others are stored with the item.
ITEM_COLUMNS = (
    *("prompt", "responses", "models", "ranks", "chosen", "rejected", "annotator"),
    *("strength", "margin"),
)
LABEL_COLUMNS = (
    *("order_shown", "seconds", "guideline_version", "extra", "item_id", "labelled_at"),
    *("purpose", "probability", "repeats"),
)


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """Counts of an import."""

    rows: int  # rows of the file that are in the store now
    items: int  # new items; a known row makes none
    labels: int  # new labels
    blank: int  # empty responses left out
    left_out: int  # rows with fewer than two non-empty responses
    dropped: int  # bad rows


@dataclass(frozen=True, kw_only=True)
class _ImportedRanking:
    """A ranking that came with its candidate, before the item has its id."""

    ranks: Sequence[int]
    strength: float
    row: Row


@dataclass(frozen=True, kw_only=True)
class _ParsedFile:
    """The usable rows of a file, and counts of the others."""

    rows: list[tuple[Candidate, _ImportedRanking | None]]
    blank: int
    left_out: int
    dropped: int


def import_file(
    store: LabelStore,
    source: str,
    *,
    bad_rows: BadRows | None = None,
    as_gold: bool = False,
    as_candidates: bool = False,
    tag_columns: Sequence[str] = (),
) -> ImportResult:
    """Add the rows of `source` to the store; returns the counts.

    Rows are `{"prompt", "responses", "models"?}` as `rlhf sample` writes them (empty responses
    are left out and counted), rankings, TRL's pairs, Anthropic HH's transcripts, Argilla's records
    or Label Studio's tasks, which bring their labels along. Importing a file again adds only
    labels that are not there yet.

    Args:
        store: the store to add to.
        source: a file or a hub id.
        bad_rows: with `drop`, unusable rows are written to its file; otherwise one such row
            stops the import before anything is added.
        as_gold: the ranks are the known ones of gold items, which measure annotators.
        as_candidates: leave the rows' ranks out, so that annotators rank the responses again.
        tag_columns: columns whose texts, or lists of texts, are the tags that an annotator of the
            row needs, such as its language.

    Raises:
        DataError: rows that cannot be used, each with its place.
        ConfigError: both `as_gold` and `as_candidates`.
    """
    parsed = _parse_file(source, bad_rows)
    if as_gold and as_candidates:
        raise ConfigError(
            "as_gold and as_candidates exclude each other; give one of them.", code="key-conflict"
        )
    if as_gold:
        return _import_gold(store, parsed)
    num_before = len(store.items())
    ids = store.add_candidates([candidate for candidate, _ in parsed.rows])
    if tag_columns:
        tags = [_tags(candidate, tag_columns) for candidate, _ in parsed.rows]
        with store.write() as connection:
            set_requirements(connection, dict(zip(ids, tags, strict=True)))
    labels = [
        label
        for item_id, (_, ranking) in zip(ids, parsed.rows, strict=True)
        if ranking and not as_candidates
        for label in _labels(item_id, ranking)
    ]
    return ImportResult(
        rows=len(parsed.rows),
        items=len(store.items()) - num_before,
        labels=_submit_new(store, labels),
        blank=parsed.blank,
        left_out=parsed.left_out,
        dropped=parsed.dropped,
    )


def _parse_file(source: str, bad_rows: BadRows | None) -> _ParsedFile:
    rows: list[tuple[Candidate, _ImportedRanking | None]] = []
    problems: list[Problem] = []
    blank = left_out = 0
    for where, row in read_rows(source):
        try:
            if isinstance(row, Unreadable):
                raise DataError(row.reason, code="bad-row")
            if isinstance(row.get("item_id"), str):
                raise DataError(
                    "the table does not record which of its cells are JSON; export the rankings "
                    "again",
                    code="bad-row",
                )
            parsed = [_parse(one) for one in _rows_of(row)]
        except DataError as error:
            raw = row.raw if isinstance(row, Unreadable) else row
            problems.append(Problem(where, str(error), raw))
            continue
        for candidate, ranking in parsed:
            without_blank = _without_blank(candidate)
            blank += len(candidate.responses) - len(without_blank.responses)
            if len(without_blank.responses) < 2:
                left_out += 1
            else:
                rows.append((without_blank, ranking))
    with bad_rows or BadRows() as collector:
        collector.take(source, problems, usable=len(rows) + left_out)
    return _ParsedFile(rows=rows, blank=blank, left_out=left_out, dropped=len(problems))


def _rows_of(row: Row) -> list[Row]:
    """The rows of a record of an annotation tool; else the row itself."""
    if FORMATS["argilla"].fits(row):
        return argilla_rows(row)
    return label_studio_rows(row) if FORMATS["label_studio"].fits(row) else [row]


def _import_gold(store: LabelStore, parsed: _ParsedFile) -> ImportResult:
    known = [(candidate, ranking.ranks) for candidate, ranking in parsed.rows if ranking]
    if len(known) < len(parsed.rows) or parsed.blank:
        raise DataError(
            "gold rows need ranks (or chosen and rejected) and no empty response.", code="bad-row"
        )
    num_before = len(store.items())
    store.add_gold([candidate for candidate, _ in known], [ranks for _, ranks in known])
    return ImportResult(
        rows=len(known),
        items=len(store.items()) - num_before,
        labels=0,
        blank=0,
        left_out=parsed.left_out,
        dropped=parsed.dropped,
    )


def _parse(row: Row) -> tuple[Candidate, _ImportedRanking | None]:
    if _is_transcript(row):
        row = {**row, **hh(row).rows[0]}
    columns = {
        key: value
        for key, value in row.items()
        if key not in ITEM_COLUMNS + LABEL_COLUMNS and not key.startswith(COLUMN)
    }
    models = row.get("models") or ()
    if not isinstance(models, list | tuple):
        raise DataError("models is not a list of names", code="bad-row")
    if "ranks" in row or "chosen" in row or "rejected" in row:
        ranking = parse_ranking(row)
        candidate = Candidate(
            prompt=ranking.prompt, responses=ranking.responses, models=models, columns=columns
        )
        return candidate, _ImportedRanking(ranks=ranking.ranks, strength=ranking.strength, row=row)
    if "completion" in row:
        raise DataError(
            "a demonstration or a thumb is not a candidate; give a list of responses to rank",
            code="bad-row",
        )
    reserved = sorted(set(row) & {*LABEL_COLUMNS, "annotator", "strength", "margin"})
    reserved += [key for key in row if key.startswith(COLUMN)]
    if reserved:
        raise DataError(
            f"the row has no ranks, so it cannot have the label column {reserved[0]}; add `ranks` "
            "or remove the column",
            code="bad-row",
        )
    responses = row.get("responses")
    if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
        raise DataError("responses is not a list of texts", code="bad-row")
    if models and len(models) != len(responses):
        raise DataError(
            f"{counted(len(models), 'model')} for {counted(len(responses), 'response')}",
            code="bad-row",
        )
    prompt = parse_prompt({"prompt": row["prompt"]} if "prompt" in row else row).prompt
    return Candidate(prompt=prompt, responses=responses, models=models, columns=columns), None


def _is_transcript(row: Row) -> bool:
    start = row.get("prompt", row.get("chosen"))
    return "chosen" in row and isinstance(start, str) and start.startswith("\n\nHuman:")


def _without_blank(candidate: Candidate) -> Candidate:
    indices = [index for index, text in enumerate(candidate.responses) if text.strip()]
    return Candidate(
        prompt=candidate.prompt,
        responses=[candidate.responses[index] for index in indices],
        models=[candidate.models[index] for index in indices] if candidate.models else (),
        columns=candidate.columns,
    )


def _tags(candidate: Candidate, columns: Sequence[str]) -> list[str]:
    """The tags in these columns; a row without a column needs none of it."""
    tags: list[str] = []
    for column in columns:
        value = candidate.columns.get(column)
        values = value if isinstance(value, list) else [] if value in (None, "") else [value]
        texts = [tag for tag in values if isinstance(tag, str)]
        if len(texts) < len(values):
            raise DataError(
                f"column {column} is {value!r}; tags are a text, or a list of texts.",
                code="bad-row",
            )
        tags += texts
    return tags


def _labels(item_id: int, ranking: _ImportedRanking) -> list[Label]:
    """The row's label, and its annotator's labels of the repeated item."""
    row: dict[str, Any] = dict(ranking.row)
    extra = dict(row.get("extra") or {})
    if answers := answers_of_columns(row):
        extra["criteria"] = answers
    label = Label(
        item_id=item_id,
        annotator=str(row.get("annotator") or UNNAMED),
        ranks=ranking.ranks,
        order_shown=row.get("order_shown") or (),
        seconds=row.get("seconds"),
        guideline_version=row.get("guideline_version") or 0,
        strength=ranking.strength,
        purpose=row.get("purpose") or LABEL,
        probability=row.get("probability"),
        extra=extra,
    )
    repeats = [
        replace(
            label,
            ranks=repeat["ranks"],
            order_shown=repeat["order_shown"],
            seconds=repeat.get("seconds"),
            # Older exports have no such columns; the label's own values would be wrong here.
            strength=float(repeat.get("strength", 1.0)),
            guideline_version=repeat.get("guideline_version", label.guideline_version),
            extra=repeat.get("extra") or {},
            purpose=REPEAT,
        )
        for repeat in row.get("repeats") or []
    ]
    return [label, *repeats]


def _submit_new(store: LabelStore, labels: Sequence[Label]) -> int:
    """Submit the labels that the store does not have yet; returns their number."""
    known = {identity(label) for label in store.labels(with_excluded=True)}
    new = [label for label in labels if identity(label) not in known]
    store.submit_many(new)
    return len(new)
