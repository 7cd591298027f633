"""Several sources with weights: which rows are used, how often, and their uses in the manifest."""

import json
from collections import Counter
from pathlib import Path

import pytest

from rlhf.data.config import DataConfig, PromptDataConfig
from rlhf.data.held_out import TrainAndHeldOut, load_train_and_held_out
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations, load_prompts, load_rankings
from rlhf.data.rows.mix import load_sources
from rlhf.data.rows.sources import Source, parse_source, parse_sources
from rlhf.errors import ErrorCode
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.training.reward.validation import without_undecided
from rlhf.types import Demonstration
from tests.errors import raises


def write(path: Path, name: str, count: int) -> str:
    rows = [{"prompt": f"{name} {i}?", "completion": f"{name} {i}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def ten(tmp_path: Path) -> str:
    return write(tmp_path / "ten.jsonl", "a", 10)


@pytest.fixture
def four(tmp_path: Path) -> str:
    return write(tmp_path / "four.jsonl", "b", 4)


def mixed(*sources: str, seed: int = 0, **keys) -> TrainAndHeldOut[Demonstration]:
    data = DataConfig(train_data=list(sources), **keys)

    def load(source: str, role: str, **_):
        return load_demonstrations(source, role=role)

    with BadRows() as bad_rows:
        return load_train_and_held_out(load, data, None, bad_rows, seed=seed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jsonl", Source("a.jsonl", 1.0)),
        ("0.5*hub:split", Source("hub:split", 0.5)),
        ("2*b.parquet", Source("b.parquet", 2.0)),
        (".25*org/set:config:train[:10%]", Source("org/set:config:train[:10%]", 0.25)),
        ("x*y.jsonl", Source("x*y.jsonl", 1.0)),
    ],
)
def test_source_may_have_a_weight(text: str, expected: Source):
    assert parse_source(text) == expected


def test_existing_file_is_not_parsed_as_a_weight(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("2*a.jsonl").touch()
    assert parse_source("2*a.jsonl") == Source("2*a.jsonl", 1.0)


@pytest.mark.parametrize(
    ("weight", "times"),
    [
        (0.5, {1: 5}),  # 5 of 10 once
        (0.01, {1: 1}),  # never none
        (1.0, {1: 10}),
        (2.0, {2: 10}),
        (2.3, {2: 7, 3: 3}),  # each twice, 3 of 10 once more
    ],
)
def test_weights_take_a_share_or_repeat(weight: float, times: dict[int, int]):
    source, rows = Source("s", weight), list(range(10))
    used = Counter(source.repeated(source.share(rows, 0), 0))
    assert Counter(used.values()) == times


def test_share_is_drawn_by_the_seed_in_file_order():
    source, rows = Source("s", 0.5), list(range(10))
    drawn = source.share(rows, 3)
    assert drawn == sorted(drawn) == source.share(rows, 3)
    assert len({tuple(source.share(rows, seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize(
    ("sources", "code", "name"),
    [
        ([], "bad-value", "train_data"),
        (["0*a"], "bad-value", "weight of 0"),
        (["-1*a"], "bad-value", "weight of -1"),
        (["a", "0.5*a"], "repeated-key", "WEIGHT*a"),
    ],
)
def test_impossible_sources_are_rejected(sources: list[str], code: ErrorCode, name: str):
    with raises(code, "train_data", name):
        parse_sources(sources, "train_data")
    with raises(code, "train_data", name):
        DataConfig(train_data=sources)


def test_weight_above_1_of_held_out_rows_is_rejected(ten: str):
    with raises("bad-value", "eval_data", "weight of 2", ten):
        DataConfig(train_data=ten, eval_data=[f"2*{ten}"])


def test_each_source_has_a_use_with_its_counts(ten: str, four: str):
    """Half of 10 is 5; 4 thrice are 12."""
    rows = mixed(f"0.5*{ten}", f"3*{four}", eval_fraction=0)
    assert len(rows.train) == 17
    assert [(use.path, use.rows, use.weight, use.role) for use in rows.uses] == [
        (ten, 5, 0.5, "train"),
        (four, 12, 3.0, "train"),
    ]
    assert Counter(rows.origins) == {0: 5, 1: 12}


def test_held_out_prompts_of_all_sources_are_not_trained_on(tmp_path: Path, ten: str):
    """The second file has the ten prompts, too, with weight 2: no copy of a held-out one stays."""
    same = write(tmp_path / "same.jsonl", "a", 10)
    rows = mixed(ten, f"2*{same}", eval_fraction=0.3)
    held_out = {row.prompt for row in rows.held_out}
    assert len(held_out) == 3
    assert not held_out & {row.prompt for row in rows.train}
    assert [(use.role, use.rows, use.weight) for use in rows.uses] == [
        ("train", 7, 1.0),
        ("train", 14, 2.0),
        ("eval", 3, 1.0),
        ("eval", 3, 1.0),
    ]


def test_eval_data_may_be_several_sources(ten: str, four: str):
    rows = mixed(ten, eval_data=[four, f"0.5*{write(Path(four).with_name('c.jsonl'), 'c', 8)}"])
    assert (len(rows.train), len(rows.held_out)) == (10, 8)
    assert [(use.role, use.rows) for use in rows.uses] == [("train", 10), ("eval", 4), ("eval", 4)]
    assert [row.completion[0] for row in rows.held_out[:4]] == ["b", "c", "b", "c"]


def test_rows_of_several_sources_alternate(ten: str, four: str):
    """So the first few are not all from the first file."""
    rows, uses = load_sources(load_prompts, parse_sources([ten, four], "train_data"), 0)
    assert [row.prompt[0] for row in rows] == list("abababab") + ["a"] * 6
    assert [use.rows for use in uses] == [10, 4]


def test_rankings_without_an_order_are_counted_per_source(tmp_path: Path):
    for name, ranks in (("a", [[1, 2], [1, 1]]), ("b", [[1, 1], [1, 1], [2, 1]])):
        rows = [
            {"prompt": f"{name}{i}", "responses": ["x", "y"], "ranks": each}
            for i, each in enumerate(ranks)
        ]
        (tmp_path / name).with_suffix(".jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )

    def load(source: str, role: str, **_):
        return load_rankings(source, role=role, keep_tied=True)

    data = DataConfig(train_data=[f"{tmp_path}/a.jsonl", f"2*{tmp_path}/b.jsonl"], eval_fraction=0)
    with BadRows() as bad_rows:
        rows = without_undecided(
            load_train_and_held_out(load, data, None, bad_rows, seed=0)  # type: ignore[arg-type]
        )
    assert [(use.rows, use.dropped) for use in rows.uses] == [(1, 1), (2, 4)]


@pytest.mark.parametrize(
    "words", [["--train_data", "a.jsonl", "0.5*b:x"], ["--config", "c.yaml"]], ids=["line", "yaml"]
)
@pytest.mark.parametrize("config", [DataConfig, PromptDataConfig])
def test_source_list_is_read_from_command_line_and_yaml(tmp_path, monkeypatch, words, config):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("train_data: [a.jsonl, 0.5*b:x]\n")
    (parsed,) = parse_config(config, description=None, argv=words)
    assert parsed.train_data == ["a.jsonl", "0.5*b:x"]
    (tmp_path / "again.yaml").write_text(as_yaml(parsed))
    (again,) = parse_config(config, description=None, argv=["--config", "again.yaml"])
    assert again == parsed


@pytest.mark.parametrize("text", ["train_data: a.jsonl\n", "train_data:\n- a.jsonl\n"])
def test_single_source_becomes_a_list(tmp_path: Path, text: str):
    (tmp_path / "c.yaml").write_text(text)
    (parsed,) = parse_config(DataConfig, description=None, argv=["--config", f"{tmp_path}/c.yaml"])
    assert parsed.train_data == ["a.jsonl"]
    assert parsed.eval_data is None
    assert DataConfig(train_data="a.jsonl").train_data == ["a.jsonl"]  # type: ignore[arg-type]
