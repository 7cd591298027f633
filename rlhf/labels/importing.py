"""Files -> label store: sampled candidates, and rankings or pairs from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlhf.data.rows.bad_rows import BadRows
from rlhf.errors import ConfigError, DataError
from rlhf.labels.answers import answers_of_columns
from rlhf.labels.gold_items import gold_contents
from rlhf.labels.import_rows import ImportedRanking, ParsedFile, parse_file
from rlhf.labels.label_rows import GOLD_RANKS
from rlhf.labels.people import set_requirements
from rlhf.labels.queries import identity
from rlhf.labels.records import GOLD_CHECK, LABEL, REPEAT, UNNAMED, Candidate, Label
from rlhf.labels.row_versions import ELSEWHERE, Digests, digests_of, versions_here
from rlhf.labels.store import LabelStore
from rlhf.labels.validation import content_sha256, whole_ranks


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """Counts of an import."""

    rows: int  # rows of the file that are in the store now
    items: int  # new items; a known row makes none
    labels: int  # new labels
    blank: int  # empty responses left out
    left_out: int  # rows with fewer than two non-empty responses
    dropped: int  # bad rows


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
    labels that are not there yet. Versions of guideline and form are numbers of the store that
    exported the row: a label gets the number that the same content has here, or 0.

    A ranking of a gold item is a bad row: training would learn from it. The rows that this store
    exports as `gold` say that they measure their annotator, and come back as such labels.

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
    keeps_ranks = not as_gold and not as_candidates
    parsed = parse_file(source, bad_rows, _no_gold_item(store) if keeps_ranks else None)
    if as_gold and as_candidates:
        raise ConfigError(
            "as_gold and as_candidates exclude each other; give one of them.", code="key-conflict"
        )
    if as_gold:
        return _import_gold(store, parsed)
    num_before = len(store.items())
    if keeps_ranks:
        _add_gold(store, [row for row in parsed.rows if row[1] and _is_check(row[1])])
    ids = store.add_candidates([candidate for candidate, _ in parsed.rows])
    if tag_columns:
        tags = [_tags(candidate, tag_columns) for candidate, _ in parsed.rows]
        with store.write() as connection:
            set_requirements(connection, dict(zip(ids, tags, strict=True)))
    with store.read() as connection:
        digests = digests_of(connection)
    labels = [
        label
        for item_id, (_, ranking) in zip(ids, parsed.rows, strict=True)
        if ranking and keeps_ranks
        for label in _labels(item_id, ranking, digests)
    ]
    return ImportResult(
        rows=len(parsed.rows),
        items=len(store.items()) - num_before,
        labels=_submit_new(store, labels),
        blank=parsed.blank,
        left_out=parsed.left_out,
        dropped=parsed.dropped,
    )


def _import_gold(store: LabelStore, parsed: ParsedFile) -> ImportResult:
    known = [(candidate, _known_ranks(ranking)) for candidate, ranking in parsed.rows if ranking]
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


def _known_ranks(ranking: ImportedRanking) -> Sequence[int]:
    """The known ranks of the item, of which the row has an annotator's label; else its own."""
    return whole_ranks(ranking.row[GOLD_RANKS]) if GOLD_RANKS in ranking.row else ranking.ranks


def _is_check(ranking: ImportedRanking) -> bool:
    """Whether the label measured its annotator on a gold item."""
    return ranking.row.get("purpose") == GOLD_CHECK


def _no_gold_item(store: LabelStore) -> Callable[[Candidate, ImportedRanking], None]:
    """A check that raises DataError for an ordinary label of one of the store's gold items."""
    with store.read() as connection:
        contents = gold_contents(connection)

    def check(candidate: Candidate, ranking: ImportedRanking) -> None:
        if not _is_check(ranking) and content_sha256(candidate) in contents:
            raise DataError(
                "a ranking of a gold item of this store, which takes no ordinary label",
                code="bad-row",
            )

    return check


def _add_gold(store: LabelStore, rows: Sequence[tuple[Candidate, ImportedRanking | None]]) -> None:
    """Add the gold items that the store does not have; those that it has keep their known ranks."""
    with store.read() as connection:
        contents = gold_contents(connection)
    new: dict[str, tuple[Candidate, Sequence[int]]] = {}
    for candidate, ranking in rows:
        content = content_sha256(candidate)
        if ranking and GOLD_RANKS in ranking.row and content not in contents:
            new[content] = (candidate, _known_ranks(ranking))
    store.add_gold([item for item, _ in new.values()], [ranks for _, ranks in new.values()])


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


def _labels(item_id: int, ranking: ImportedRanking, digests: Digests) -> list[Label]:
    """The row's label, and its annotator's labels of the repeated item."""
    row: dict[str, Any] = dict(ranking.row)
    versions, extra = _with_versions(row, row.get("extra") or {}, digests)
    if answers := answers_of_columns(row):
        extra["criteria"] = answers
    label = Label(
        item_id=item_id,
        annotator=str(row.get("annotator") or UNNAMED),
        ranks=ranking.ranks,
        order_shown=row.get("order_shown") or (),
        seconds=row.get("seconds"),
        strength=ranking.strength,
        purpose=row.get("purpose") or LABEL,
        probability=row.get("probability"),
        guideline_version=versions["guideline_version"],
        form_version=versions["form_version"],
        extra=extra,
    )
    return [label, *(_repeat(label, repeat, digests) for repeat in row.get("repeats") or [])]


def _repeat(label: Label, repeat: dict[str, Any], digests: Digests) -> Label:
    """The annotator's later label of the item."""
    versions, extra = _with_versions(repeat, repeat.get("extra") or {}, digests)
    return replace(
        label,
        ranks=repeat["ranks"],
        order_shown=repeat["order_shown"],
        seconds=repeat.get("seconds"),
        # Older exports have no such column; the label's own strength would be wrong here.
        strength=float(repeat.get("strength", 1.0)),
        guideline_version=versions["guideline_version"],
        form_version=versions["form_version"],
        extra=extra,
        purpose=REPEAT,
    )


def _with_versions(
    row: Mapping[str, object], extra: Mapping[str, object], digests: Digests
) -> tuple[dict[str, int], dict[str, object]]:
    """This store's versions of guideline and form, and `extra` with those of another store."""
    here, elsewhere = versions_here(row, digests)
    return here, {**extra, ELSEWHERE: elsewhere} if elsewhere else dict(extra)


def _submit_new(store: LabelStore, labels: Sequence[Label]) -> int:
    """Submit the labels that the store does not have yet; returns their number."""
    known = {identity(label) for label in store.labels(with_excluded=True)}
    new = [label for label in labels if identity(label) not in known]
    store.submit_many(new)
    return len(new)
