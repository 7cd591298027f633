"""The sample rows that ship are rows that load."""

from pathlib import Path

import pytest

from rlhf.data.convert import convert
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.errors import DataError


def test_samples_load_as_what_they_are_named(root: Path):
    folder = root / "data" / "samples"
    assert len(load_demonstrations(str(folder / "demonstrations.jsonl")).rows) == 3
    assert load_prompts(str(folder / "prompts.jsonl")).rows[1].columns["answer"] == "Mia"
    assert [len(r.ranks) for r in load_rankings(str(folder / "rankings.jsonl")).rows] == [4, 2]
    assert len(load_texts(str(folder / "texts.jsonl")).rows) == 1


def test_thumbs_are_no_demonstrations_until_they_are_converted(root: Path):
    source = str(root / "data" / "samples" / "thumbs.jsonl")
    with pytest.raises(DataError, match=r"a thumb .*\n(.*\n)*.*--from thumbs"):
        load_demonstrations(source)
    rows = convert(source, "thumbs").rows
    assert [row["completion"] for row in rows] == ["I am well, thank you. And you?"]
