"""The sample rows of the repository load as their names promise."""

from pathlib import Path

from rlhf.data.convert import convert
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.rows.load_sft import load_sft_rows
from tests.errors import raises


def test_samples_load_as_their_names_promise(root: Path):
    folder = root / "data" / "samples"
    assert len(load_demonstrations(str(folder / "demonstrations.jsonl")).rows) == 3
    assert load_prompts(str(folder / "prompts.jsonl")).rows[1].columns["answer"] == "Mia"
    assert [len(r.ranks) for r in load_rankings(str(folder / "rankings.jsonl")).rows] == [4, 2]
    texts = load_texts(str(folder / "texts.jsonl")).rows
    assert len(texts) == 1
    assert load_sft_rows(str(folder / "texts.jsonl")).rows == texts


def test_thumbs_become_demonstrations_by_conversion(root: Path):
    source = str(root / "data" / "samples" / "thumbs.jsonl")
    with raises("bad-row", "label", "--from thumbs"):
        load_demonstrations(source)
    rows = convert(source, "thumbs").rows
    assert [row["completion"] for row in rows] == ["I am well, thank you. And you?"]
