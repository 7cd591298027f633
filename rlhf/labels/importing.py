"""Files -> label store: sampled candidates, and rankings or pairs that were made elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows, Problem
from rlhf.data.rows.parse import parse_prompt
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.source_formats.preferences import hh
from rlhf.errors import ConfigError, DataError
from rlhf.labels.records import LABEL, REPEAT, Candidate, Label
from rlhf.labels.store import LabelStore

# Columns of a row that are more than decoration; all others are kept as they come.
OWN = (
    *("prompt", "responses", "models", "ranks", "chosen", "rejected", "annotator"),
    *("strength", "margin"),
)
OWN_OF_LABEL = (
    *("order_shown", "seconds", "guideline_version", "extra", "item_id", "labelled_at"),
    *("purpose", "probability", "repeats"),
)
UNNAMED = "unnamed"  # annotator of rankings that name none


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did."""

    rows: int  # rows of the file that are in the store now
    items: int  # items they made; a row met before makes none
    labels: int  # labels they brought along
    blank: int  # empty answers left out
    left_out: int  # rows with fewer than two answers that are not empty
    dropped: int  # bad rows


@dataclass(frozen=True, kw_only=True)
class _Said:
    """A ranking that came with its candidate, before the item has its id."""

    ranks: Sequence[int]
    strength: float
    row: Row


def import_file(
    store: LabelStore,
    source: str,
    *,
    bad_rows: BadRows | None = None,
    as_gold: bool = False,
    as_candidates: bool = False,
) -> Imported:
    """Put the rows of `source` into the store, none of them where one cannot be used.

    Unless `bad_rows` drops those, which writes them down.

    Rows are `{"prompt", "responses", "models"?}` (as `rlhf sample` writes them: empty answers
    are left out and counted), or rankings, TRL's pairs and Anthropic HH's transcripts, whose label
    comes along. Importing a file again adds nothing but labels that are not there yet. With
    `as_gold` the rankings are what is known of the items, which then measure annotators; with
    `as_candidates` they are left out, and people rank the answers anew.

    Raises:
        DataError: rows that cannot be used, each with its place.
        ConfigError: both `as_gold` and `as_candidates`.
    """
    found: list[tuple[Candidate, _Said | None]] = []
    problems: list[Problem] = []
    blank = left_out = 0
    for where, row in read_rows(source):
        try:
            if isinstance(row, Unreadable):
                raise DataError(row.reason)
            if isinstance(row.get("item_id"), str):
                raise DataError(
                    "a row of a table that does not say which of its cells are JSON; "
                    "export the rankings again"
                )
            candidate, said = _parse(row)
        except DataError as error:
            raw = row.raw if isinstance(row, Unreadable) else row
            problems.append(Problem(where, str(error), raw))
            continue
        whole = _without_blank(candidate)
        blank += len(candidate.responses) - len(whole.responses)
        if len(whole.responses) < 2:
            left_out += 1
        else:
            found.append((whole, said))
    with bad_rows or BadRows() as refused:
        refused.take(source, problems)
    if as_gold and as_candidates:
        raise ConfigError("as_gold and as_candidates exclude each other; give one of them.")
    if as_gold:
        return _import_gold(store, found, blank, left_out, len(problems))
    before = len(store.items())
    ids = store.add_candidates([candidate for candidate, _ in found])
    labels = [
        label
        for item, (_, said) in zip(ids, found, strict=True)
        if said and not as_candidates
        for label in _labels(item, said)
    ]
    return Imported(
        rows=len(found),
        items=len(store.items()) - before,
        labels=_submit_new(store, labels),
        blank=blank,
        left_out=left_out,
        dropped=len(problems),
    )


def _import_gold(
    store: LabelStore,
    found: Sequence[tuple[Candidate, _Said | None]],
    blank: int,
    left_out: int,
    dropped: int,
) -> Imported:
    known = [(candidate, said.ranks) for candidate, said in found if said is not None]
    if len(known) < len(found) or blank:
        raise DataError("gold rows need ranks (or chosen and rejected) and no empty answer.")
    before = len(store.items())
    store.add_gold([candidate for candidate, _ in known], [ranks for _, ranks in known])
    items = len(store.items()) - before
    return Imported(
        rows=len(known), items=items, labels=0, blank=0, left_out=left_out, dropped=dropped
    )


def _parse(row: Row) -> tuple[Candidate, _Said | None]:
    if _is_transcript(row):
        row = {**row, **hh(row).rows[0]}
    columns = {key: value for key, value in row.items() if key not in OWN + OWN_OF_LABEL}
    models = row.get("models") or ()
    if "ranks" in row or "chosen" in row or "rejected" in row:
        ranking = parse_ranking(row)
        candidate = Candidate(
            prompt=ranking.prompt, responses=ranking.responses, models=models, columns=columns
        )
        return candidate, _Said(ranks=ranking.ranks, strength=ranking.strength, row=row)
    if "completion" in row:
        raise DataError(
            "a demonstration or a thumb is no candidate: responses are what people rank"
        )
    reserved = sorted(set(row) & {*OWN_OF_LABEL, "annotator", "strength", "margin"})
    if reserved:
        raise DataError(f"column {reserved[0]} belongs to labels and the row has no ranks")
    responses = row.get("responses")
    if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
        raise DataError("responses is not a list of texts")
    if models and len(models) != len(responses):
        raise DataError(f"{len(models)} models for {len(responses)} responses")
    prompt = parse_prompt({"prompt": row["prompt"]} if "prompt" in row else row).prompt
    return Candidate(prompt=prompt, responses=responses, models=models, columns=columns), None


def _is_transcript(row: Row) -> bool:
    start = row.get("prompt", row.get("chosen"))
    return "chosen" in row and isinstance(start, str) and start.startswith("\n\nHuman:")


def _without_blank(candidate: Candidate) -> Candidate:
    kept = [index for index, text in enumerate(candidate.responses) if text.strip()]
    return Candidate(
        prompt=candidate.prompt,
        responses=[candidate.responses[index] for index in kept],
        models=[candidate.models[index] for index in kept] if candidate.models else (),
        columns=candidate.columns,
    )


def _labels(item_id: int, said: _Said) -> list[Label]:
    """The row's label, and what its annotator said when they were shown the item again."""
    row: dict[str, Any] = dict(said.row)
    label = Label(
        item_id=item_id,
        annotator=str(row.get("annotator") or UNNAMED),
        ranks=said.ranks,
        order_shown=row.get("order_shown") or (),
        seconds=row.get("seconds"),
        guideline_version=row.get("guideline_version") or 0,
        strength=said.strength,
        purpose=row.get("purpose") or LABEL,
        probability=row.get("probability"),
        extra=row.get("extra") or {},
    )
    repeats = [
        replace(
            label,
            ranks=again["ranks"],
            order_shown=again["order_shown"],
            seconds=again.get("seconds"),
            # What an export of before left out of a repeat is not the label's either.
            strength=float(again.get("strength", 1.0)),
            guideline_version=again.get("guideline_version", label.guideline_version),
            extra=again.get("extra") or {},
            purpose=REPEAT,
        )
        for again in row.get("repeats") or []
    ]
    return [label, *repeats]


def _submit_new(store: LabelStore, labels: Sequence[Label]) -> int:
    """Submit what the annotator has not said of the item already; how many those were."""
    known = {_what(label) for label in store.labels()}
    new = [label for label in labels if _what(label) not in known]
    store.submit_many(new)
    return len(new)


def _what(label: Label) -> tuple[int, str, tuple[int, ...], str]:
    return (label.item_id, label.annotator, tuple(label.ranks), label.purpose)
