"""Rows of a file -> candidates, with their rankings if they have any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.data.rows.parse import parse_prompt
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.source_formats.annotation_tools import argilla_rows, label_studio_rows
from rlhf.data.source_formats.formats import FORMATS
from rlhf.data.source_formats.preferences import hh
from rlhf.errors import DataError
from rlhf.labels.answers import COLUMN
from rlhf.labels.label_rows import GOLD_RANKS
from rlhf.labels.records import Candidate
from rlhf.labels.row_versions import DIGEST_COLUMNS, VERSION_COLUMNS
from rlhf.runtime.printing import counted

# Columns with a meaning of their own; all others are stored with the item.
ITEM_COLUMNS = (
    *("prompt", "responses", "models", "ranks", "chosen", "rejected", "annotator"),
    *("strength", "margin"),
)
LABEL_COLUMNS = (
    *("order_shown", "seconds", "extra", "item_id", "labelled_at", "purpose", "probability"),
    *("repeats", GOLD_RANKS, *VERSION_COLUMNS, *DIGEST_COLUMNS),
)


@dataclass(frozen=True, kw_only=True)
class ImportedRanking:
    """A ranking that came with its candidate, before the item has its id."""

    ranks: Sequence[int]
    strength: float
    row: Row


@dataclass(frozen=True, kw_only=True)
class ParsedFile:
    """The usable rows of a file, and counts of the others."""

    rows: list[tuple[Candidate, ImportedRanking | None]]
    blank: int
    left_out: int
    dropped: int


def parse_file(
    source: str,
    bad_rows: BadRows | None,
    check: Callable[[Candidate, ImportedRanking], None] | None = None,
) -> ParsedFile:
    """The file's candidates with two or more responses that are not empty.

    Args:
        source: a file or a hub id.
        bad_rows: what to do with rows that cannot be used.
        check: raises DataError for a ranking that cannot be used.

    Raises:
        DataError: rows that cannot be used, unless `bad_rows` drops them.
    """
    rows: list[tuple[Candidate, ImportedRanking | None]] = []
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
            for candidate, ranking in parsed:
                if check is not None and ranking is not None:
                    check(candidate, ranking)
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
    return ParsedFile(rows=rows, blank=blank, left_out=left_out, dropped=len(problems))


def is_own_column(name: str) -> bool:
    """Whether rows of labels have a column of this name, so that no item can have one."""
    return name in ITEM_COLUMNS + LABEL_COLUMNS or name.startswith(COLUMN)


def _rows_of(row: Row) -> list[Row]:
    """The rows of a record of an annotation tool; else the row itself."""
    if FORMATS["argilla"].fits(row):
        return argilla_rows(row)
    return label_studio_rows(row) if FORMATS["label_studio"].fits(row) else [row]


def _parse(row: Row) -> tuple[Candidate, ImportedRanking | None]:
    if _is_transcript(row):
        row = {**row, **hh(row).rows[0]}
    columns = {key: value for key, value in row.items() if not is_own_column(key)}
    models = row.get("models") or ()
    if not isinstance(models, list | tuple):
        raise DataError("models is not a list of names", code="bad-row")
    if "ranks" in row or "chosen" in row or "rejected" in row:
        ranking = parse_ranking(row)
        candidate = Candidate(
            prompt=ranking.prompt, responses=ranking.responses, models=models, columns=columns
        )
        return candidate, ImportedRanking(ranks=ranking.ranks, strength=ranking.strength, row=row)
    if "completion" in row:
        raise DataError(
            "a demonstration or a thumb is not a candidate; give a list of responses to rank",
            code="bad-row",
        )
    reserved = sorted(filter(is_own_column, row.keys() - {"prompt", "responses", "models"}))
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
