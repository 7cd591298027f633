"""The label store: candidates in, one event per click, labels out. SQLite by default."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from rlhf.labels import guidelines, queries, validation
from rlhf.labels.connections import Connections
from rlhf.labels.events import append_label, append_undo
from rlhf.labels.gold_items import gold_ranks, set_gold
from rlhf.labels.records import UNNAMED, Candidate, Item, Label, StoredLabel
from rlhf.labels.schema import MARKED, OPEN

if TYPE_CHECKING:
    from rlhf.labels.stats import Agreement
    from rlhf.types import Prompt


class LabelStore:
    """Preference labels in a file or a database; `with LabelStore(path) as store` closes it.

    Args:
        location: a file for SQLite, or any SQLAlchemy URL (`postgresql+psycopg://…`).
        create: make an empty store if there is none; False raises instead.

    Raises:
        DataError: no store there (with create=False), a file that is not a store, or a store that
            a newer version wrote.
    """

    def __init__(self, location: str | Path, *, create: bool = True) -> None:
        self._connections = Connections(location, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Every later call but `close` raises."""
        self._connections.close()

    def write(self) -> AbstractContextManager[sa.Connection]:
        """One transaction, applied whole or not at all; it takes the write lock at its start."""
        return self._connections.write()

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A connection for reading, after this process's writes."""
        return self._connections.read()

    def serving_lock(self) -> AbstractContextManager[None]:
        """Hold the store as its one serving process; raises `ConfigError` if another does."""
        return self._connections.serving_lock()

    def add(
        self,
        prompt: "Prompt",
        responses: Sequence[str],
        *,
        ranks: Sequence[int] | None = None,
        annotator: str = UNNAMED,
        strength: float = 1.0,
        models: Sequence[str] = (),
    ) -> int:
        """Add an item and, with `ranks`, an annotator's label of it; returns the item id.

        All in one transaction. An item or a label that the store has already is not added again.

        Args:
            prompt: a text, or a list of messages.
            responses: K texts, two or more.
            ranks: K ranks in the order of `responses`: 1 is best, equal ranks tie. Without them
                the item waits to be ranked.
            annotator: who ranked the responses.
            strength: how clear the preference was, above 0; 1.0 for an ordinary one.
            models: names of the K models that wrote the responses, or none.

        Raises:
            DataError: an argument that cannot be used, or does not fit the responses; or ranks of
                a gold item.
        """
        from rlhf.data.rows.parse import parse_prompt  # loads torch; the label page does without

        prompt = parse_prompt({"prompt": prompt}).prompt
        candidate = Candidate(prompt=prompt, responses=responses, models=models)
        validation.check_arguments(candidate)
        whole = None if ranks is None else validation.whole_ranks(ranks)
        strength = validation.check_annotation(annotator, strength)
        content = validation.content_sha256(candidate)
        with self.write() as connection:
            item_id = queries.ensure_item(connection, candidate, content, OPEN)
            if whole is not None:
                label = Label(item_id=item_id, annotator=annotator, ranks=whole, strength=strength)
                validation.check_label(label, {item_id: len(responses)})
                if not queries.has_label(connection, label):
                    append_label(connection, label, request_key=None)
        return item_id

    def rankings(self) -> list[dict[str, object]]:
        """One row per label: "prompt", "responses", "ranks", "annotator", "strength" and more.

        These are the rows that `rlhf label export --kind rankings` writes and reward-model
        training reads; `rlhf.labels.export.ranking_row` has all their columns.
        """
        from rlhf.labels.export import rows_of

        return list(rows_of(self, "rankings").rows)

    def ratings(self) -> list[dict[str, object]]:
        """One row per label and rated response: "prompt", "response", "ratings", "annotator".

        These are the rows that `rlhf label export --kind ratings` writes and `RatingTrainer` reads
        with `objective="axes"`.
        """
        from rlhf.labels.export import rows_of

        return list(rows_of(self, "ratings").rows)

    def agreement(self) -> "Agreement":
        """Krippendorff's alpha of all ranks, and the pairwise agreement of annotators."""
        from rlhf.labels.stats import agreement_of, label_stats

        return agreement_of(label_stats(self))

    def add_candidates(self, candidates: Sequence[Candidate]) -> list[int]:
        """The item id of each candidate; a known one keeps its id.

        Raises:
            DataError: fewer than two responses, or model names that do not fit them.
        """
        for number, candidate in enumerate(candidates, 1):
            validation.check_candidate(candidate, number)
        with self.write() as connection:
            return queries.ensure_items(connection, candidates, OPEN)

    def add_marked(self, candidate: Candidate) -> int:
        """The item id of responses that the queue never hands out.

        These are a single response with a thumb, and responses whose only vote does not count.

        Raises:
            DataError: no response or an empty one, or model names that do not fit them.
        """
        validation.check_marked(candidate)
        content = validation.content_sha256(candidate)
        with self.write() as connection:
            return queries.ensure_item(connection, candidate, content, MARKED)

    def add_gold(self, candidates: Sequence[Candidate], ranks: Sequence[Sequence[int]]) -> None:
        """Add items with known ranks, which measure annotators and are not exported as labels.

        One transaction: no annotator gets such an item as an ordinary one.

        Raises:
            DataError: as `add_candidates`, or ranks that do not fit the responses.
        """
        checked = validation.check_gold(candidates, ranks)
        with self.write() as connection:
            ids = queries.ensure_items(connection, candidates, OPEN)
            set_gold(connection, dict(zip(ids, checked, strict=True)))

    def gold_ranks(self) -> dict[int, list[int]]:
        """Item id -> known ranks."""
        with self.read() as connection:
            return gold_ranks(connection)

    def items(self) -> list[Item]:
        """Every item, oldest first."""
        with self.read() as connection:
            return queries.items_of(connection)

    def add_guideline(self, text: str) -> int:
        """The version of this text, 1 for the first; a known text keeps its version."""
        with self.write() as connection:
            return guidelines.add_guideline(connection, text)

    def guideline(self, version: int) -> str:
        """The text of one version; raises `DataError` for an unknown version."""
        with self.read() as connection:
            return guidelines.guideline_text(connection, version)

    def newest_guideline(self) -> tuple[int, str]:
        """(version, text) of the guideline that was added last; (0, "") if there is none."""
        with self.read() as connection:
            return guidelines.newest_guideline(connection)

    def setting(self, name: str, default: str = "") -> str:
        """A setting that is stored with the labels."""
        with self.read() as connection:
            return queries.setting(connection, name, default)

    def set_setting(self, name: str, value: str) -> None:
        """Store a setting with the labels."""
        with self.write() as connection:
            queries.set_setting(connection, name, value)

    def submit(self, label: Label, *, request_key: str | None = None) -> int:
        """The event id of the label, which is on disk when this returns.

        request_key: the client's own name of the click. A repeated key returns the first event's
        id and adds nothing, so that a client can retry after a lost reply.
        """
        return self.submit_many([label], request_keys=[request_key])[0]

    def submit_many(
        self, labels: Sequence[Label], *, request_keys: Sequence[str | None] | None = None
    ) -> list[int]:
        """`submit` for many labels in one transaction.

        Raises:
            DataError: an unknown item, no annotator, ranks or an order that do not fit, or an
                ordinary label of a gold item.
        """
        keys = request_keys if request_keys is not None else [None] * len(labels)
        with self.write() as connection:
            sizes = queries.item_sizes(connection, {label.item_id for label in labels})
            ids = []
            for label, key in zip(labels, keys, strict=True):
                validation.check_label(label, sizes)
                ids.append(append_label(connection, label, request_key=key))
        return ids

    def undo(self, event_id: int, *, request_key: str | None = None) -> int:
        """The id of the event that undoes the label `event_id`.

        Raises:
            DataError: no such label, or it was undone before.
        """
        with self.write() as connection:
            return append_undo(connection, event_id, request_key=request_key)

    def labels(self, *, with_excluded: bool = False) -> list[StoredLabel]:
        """Every label that was submitted, not undone, and counts; oldest first.

        Labels of excluded items do not count, nor do labels of gold items that measure nobody.

        with_excluded: list these labels too.
        """
        with self.read() as connection:
            return queries.standing_labels(connection, counting=not with_excluded)

    def count_events(self) -> dict[str, int]:
        """Number of events of each kind, without undone ones."""
        with self.read() as connection:
            return queries.standing_counts(connection)
