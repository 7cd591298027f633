"""Votes and thumbs of chats since the last round, as rankings for the next one."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlhf.labels.label_rows import ranking_row
from rlhf.labels.records import LABEL, THUMB, Item, StoredLabel
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically
from rlhf.pipeline.label_stage import write_rows
from rlhf.pipeline.rounds import FIRST, align_folder
from rlhf.pipeline.rounds_config import RoundsConfig

SOURCES = ("chat", "arena")  # the `source` column of items with votes of chats and the arena
MIDDLE = 4  # overall ratings above it are thumbs up
STORE = "votes.sqlite"  # in output_dir
ROWS, COUNTS = "votes.jsonl", "votes.json"


@dataclass(frozen=True, kw_only=True)
class VoteCounts:
    """Where votes came from, and how many became rankings."""

    store: str
    last_event: int  # votes of later events belong to the next round
    votes: int  # rankings of two or more responses
    thumbs: int  # single responses
    thumb_rankings: int  # rankings of responses with a thumb up above those with one down
    unpaired_thumbs: int  # thumbs without one of the other kind on the same prompt: not used


@dataclass(frozen=True, kw_only=True)
class ChatVotes:
    """Rankings from votes and thumbs."""

    rows: Sequence[dict[str, object]]
    counts: VoteCounts


def votes_store(output_dir: str, rounds: RoundsConfig) -> str:
    """The label store of the pipeline's chats, which may not exist."""
    return rounds.votes or str(Path(output_dir) / STORE)


def store_exists(store: str) -> bool:
    """Whether there is a store; a database behind a URL is taken to exist."""
    return "://" in store or Path(store).is_file()


def last_event_before(output_dir: str, number: int) -> int:
    """The last event of a vote that a round before this one has taken; 0 for none."""
    last = 0
    for earlier in range(FIRST, number):
        path = align_folder(output_dir, earlier) / "labels" / COUNTS
        if path.is_file():
            last = max(last, json.loads(path.read_text(encoding="utf-8"))["last_event"])
    return last


def read_votes(store: str, after: int) -> ChatVotes:
    """The votes and thumbs of the store's chats after an event, as rankings.

    The last vote of an annotator on the same responses counts. If the store ends before `after`,
    it is another store than that of the last round, and all its votes are new.

    Raises:
        DataError: a file that is not a label store.
    """
    if not store_exists(store):
        return _as_rankings([], store, after)
    with LabelStore(store, create=False) as label_store:
        items = {i.id: i for i in label_store.items() if i.columns.get("source") in SOURCES}
        labels = [label for label in label_store.labels() if label.item_id in items]
    newest = max((label.event_id for label in labels), default=after)
    start = after if newest >= after else 0
    new = {(label.item_id, label.annotator): label for label in labels if label.event_id > start}
    pairs = [(items[label.item_id], label) for label in new.values()]
    return _as_rankings(pairs, store, newest)


def write_votes(folder: Path, votes: ChatVotes) -> None:
    """Write votes.jsonl, which has the voters' names, and votes.json."""
    write_rows(folder / ROWS, votes.rows)
    write_atomically(folder / COUNTS, json.dumps(asdict(votes.counts), indent=2) + "\n")


def _as_rankings(
    pairs: Sequence[tuple[Item, StoredLabel]], store: str, last_event: int
) -> ChatVotes:
    votes = [
        ranking_row(item, label)
        for item, label in pairs
        if label.purpose == LABEL and _differ(item.responses)
    ]
    thumbs = [(item, label) for item, label in pairs if label.purpose == THUMB]
    by_thumbs, paired = thumb_rankings(thumbs)
    counts = VoteCounts(
        store=store,
        last_event=last_event,
        votes=len(votes),
        thumbs=len(thumbs),
        thumb_rankings=len(by_thumbs),
        unpaired_thumbs=len(thumbs) - paired,
    )
    return ChatVotes(rows=[*votes, *by_thumbs], counts=counts)


def thumb_rankings(
    thumbs: Sequence[tuple[Item, StoredLabel]],
) -> tuple[list[dict[str, object]], int]:
    """Rankings of an annotator's thumbs on one prompt, and the number of thumbs in them.

    Responses with a thumb up have rank 1 and those with a thumb down rank 2. A reward model learns
    from differences, so thumbs of one kind alone make no ranking.
    """
    groups: dict[str, list[tuple[Item, StoredLabel]]] = {}
    for item, label in thumbs:
        key = json.dumps([item.prompt, label.annotator])
        groups.setdefault(key, []).append((item, label))
    rows: list[dict[str, object]] = []
    paired = 0
    for group in groups.values():
        by_text = {item.responses[0].strip(): label for item, label in group}
        ranks = [1 if _is_up(label) else 2 for label in by_text.values()]
        if set(ranks) == {1, 2}:
            paired += len(group)
            item, label = group[0]
            row = {"prompt": item.prompt, "responses": list(by_text), "ranks": ranks}
            endings = [_ending(label) for label in by_text.values()]
            rows.append({**row, "annotator": label.annotator, "endings": endings})
    return rows, paired


def _is_up(label: StoredLabel) -> bool:
    overall = label.extra.get("overall")
    return isinstance(overall, list) and overall[0] > MIDDLE


def _ending(label: StoredLabel) -> object:
    """How the response ended, which a thumb on a whole response does not say."""
    endings = label.extra.get("endings")
    return endings[0] if isinstance(endings, list) else "stop"


def _differ(responses: Sequence[str]) -> bool:
    return len({text.strip() for text in responses}) > 1
