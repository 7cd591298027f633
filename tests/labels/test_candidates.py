"""`rlhf sample`: K responses from the models in turn, with the prompt's other columns."""

import json
from pathlib import Path

import pytest

from rlhf.labels.candidates import sample_candidates
from rlhf.labels.importing import import_file
from rlhf.labels.sample_cli import main
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def prompts(tmp_path) -> str:
    rows = [{"prompt": f"Where is ball {n}?", "category": f"c{n}"} for n in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "prompts.jsonl")


def test_command_writes_rows_that_the_store_imports(folder, prompts, tmp_path, capsys):
    output = tmp_path / "c.jsonl"
    keys = {"--num_responses": "3", "--max_new_tokens": "8", "--seed": "4"}
    words = [word for pair in keys.items() for word in pair]
    assert (
        main(["--model", str(folder), "--prompts", prompts, "--output", str(output), *words]) == 0
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["category"] for row in rows] == ["c0", "c1", "c2"]
    assert all(row["models"] == [str(folder)] * 3 for row in rows)
    assert len({text for row in rows for text in row["responses"]}) > 6
    with LabelStore(tmp_path / "s.sqlite", create=True) as store:
        assert import_file(store, str(output)).rows == 3
        assert store.items()[0].columns == {"category": "c0"}


def test_responses_do_not_depend_on_the_batch_size(folder, prompts):
    def sample(models, batch_size):
        candidates = sample_candidates(
            models, prompts, num_responses=4, max_new_tokens=8, batch_size=batch_size
        )
        return [list(candidate.responses) for candidate in candidates]

    one = sample([str(folder)], 2)
    assert one == sample([str(folder)], 64)
    twice = sample([str(folder)] * 2, 64)
    assert len(twice[0]) == 4
    assert twice[0][:2] != twice[0][2:]  # a model given twice samples different responses


def test_mistakes_raise_before_weights_load(folder, prompts, tmp_path):
    model = [str(folder)]
    with raises("key-conflict", "num_responses=1", 2):
        sample_candidates(model * 2, prompts, num_responses=1, max_new_tokens=8)
    with raises("too-long", "max_new_tokens=256"):
        sample_candidates(model, prompts, num_responses=1, max_new_tokens=256)
    with raises("bad-row", "prompts.jsonl:1", 250):
        sample_candidates(model, prompts, num_responses=1, max_new_tokens=250)
    with pytest.raises(OSError, match=str(tmp_path)):
        sample_candidates([str(tmp_path)], prompts, num_responses=1, max_new_tokens=8)
