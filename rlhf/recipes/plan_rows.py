"""How many rows local files have, and how many responses per prompt, without a tokenizer."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.data.files.raw import Row
from rlhf.data.files.read import read_rows
from rlhf.data.rows.sources import parse_source


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Rankings of responses, counted."""

    prompts: int | None  # None where it is unknown
    responses: int  # of the prompt with the most


def count_rows(sources: Sequence[str]) -> int | None:
    """Rows of local files, times their weights; None if a source is not a local file."""
    total = 0.0
    for text in sources:
        source = parse_source(text)
        if not Path(source.name).is_file():
            return None
        total += source.weight * sum(1 for _ in _rows(source.name))
    return round(total)


def count_prompts(sources: Sequence[str]) -> RowCounts | None:
    """Prompts of local files of rankings, pairs or rated responses; None for other sources."""
    responses: dict[str, set[str]] = defaultdict(set)
    for text in sources:
        name = parse_source(text).name
        if not Path(name).is_file():
            return None
        for number, row in enumerate(_rows(name)):
            prompt = json.dumps(row.get("prompt", number))
            listed = row.get("responses") or [row.get("chosen"), row.get("rejected")]
            if single := row.get("response") or row.get("completion"):  # of verdicts and ratings
                listed = [single]
            assert isinstance(listed, Sequence)
            responses[prompt].update(json.dumps(response) for response in listed)
    if not responses:
        return None
    return RowCounts(prompts=len(responses), responses=max(map(len, responses.values())))


def _rows(name: str) -> Iterator[Row]:
    """The readable rows of a file."""
    for _, row in read_rows(name):
        if isinstance(row, dict):
            yield row
