"""Nothing is lost between a file, the store and the file that the reward model reads."""

import json
from pathlib import Path

import pytest

from rlhf.cli import run_command
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.errors import DataError
from rlhf.labels import cli as commands
from rlhf.labels.export import export_rankings
from rlhf.labels.importing import import_file
from rlhf.labels.records import Label
from rlhf.labels.stats import Share, label_stats
from rlhf.labels.store import LabelStore

TALK = [{"role": "user", "content": "Hallo?"}]
SAMPLED = [
    {"prompt": TALK, "responses": ["a", " ", "b"], "models": ["x", "y", "z"], "category": "q"},
    {"prompt": "only one", "responses": ["a", ""], "models": ["x", "y"]},
]


def write(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def store(tmp_path: Path):
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        yield store


def test_empty_answers_are_left_out_and_counted(tmp_path, store):
    done = import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    assert (done.rows, done.items, done.blank, done.left_out) == (1, 1, 2, 1)
    [item] = store.items()
    assert (item.responses, item.models) == (("a", "b"), ("x", "z"))
    assert (item.prompt, item.columns) == (TALK, {"category": "q"})
    assert import_file(store, str(tmp_path / "c.jsonl")).items == 0


def test_rankings_and_pairs_bring_their_labels(tmp_path, store):
    rows = [
        {"prompt": "p", "responses": ["a", "b", "c"], "ranks": [2, 1, 2], "annotator": "ann"},
        {"prompt": "p", "chosen": "good", "rejected": "bad", "source": "hh"},
    ]
    source = write(tmp_path / "r.jsonl", rows)
    assert import_file(store, source).labels == 2
    assert import_file(store, source).labels == 0
    one, two = store.labels()
    assert (tuple(one.ranks), one.annotator) == ((2, 1, 2), "ann")
    assert (tuple(two.ranks), two.annotator) == ((1, 2), "unnamed")
    assert store.items()[1].columns == {"source": "hh"}


HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Well?\n\nAssistant: Fine.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Well?\n\nAssistant: What?",
    "source": "helpful",
}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Well?"},
]


@pytest.mark.parametrize(
    "row",
    [
        HH,
        {
            "prompt": HH["chosen"].removesuffix(" Fine."),
            "chosen": " Fine.",
            "rejected": " What?",
            "source": "helpful",
        },
        {
            "chosen": [*TURNS, {"role": "assistant", "content": "Fine."}],
            "rejected": [*TURNS, {"role": "assistant", "content": "What?"}],
            "source": "helpful",
        },
    ],
    ids=["hh", "hh-prompt", "trl"],
)
def test_pairs_of_others_are_candidates_with_or_without_their_label(tmp_path, row):
    """The same pair as Anthropic HH writes it, whole or with its prompt apart, and as TRL does."""
    source = write(tmp_path / "pairs.jsonl", [row])
    for as_candidates in (False, True):
        with LabelStore(tmp_path / f"{as_candidates}.sqlite", create=True) as store:
            done = import_file(store, source, as_candidates=as_candidates)
            [item] = store.items()
            assert (item.prompt, item.responses) == (TURNS, ("Fine.", "What?"))
            assert item.columns == {"source": "helpful"}
            assert done.labels == len(store.labels()) == (not as_candidates)


def test_pairs_of_others_say_nothing_of_the_order_shown(tmp_path, store):
    """`chosen` stands first in the file; nobody is to be called biased for that."""
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(40)]
    import_file(store, write(tmp_path / "p.jsonl", rows))
    stats = label_stats(store)
    assert [(one.decided, one.first_shown) for one in stats.annotators] == [(40, Share(0.0, 0))]
    assert stats.concerns == []
    export_rankings(store, tmp_path / "r.jsonl")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        import_file(copy, str(tmp_path / "r.jsonl"))
        assert {tuple(label.order_shown) for label in copy.labels()} == {()}


def test_bad_rows_are_listed_with_their_place_or_dropped(tmp_path, store):
    rows = [{"prompt": "p", "responses": "a"}, {"responses": ["a", "b"]}, SAMPLED[0]]
    source = write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match=r"bad.jsonl:1 responses is not a list(.|\n)*bad.jsonl:2 "):
        import_file(store, source)
    assert store.items() == []
    rejects = tmp_path / "rejected.jsonl"
    bad_rows = BadRows(drop=True, reject_file=rejects)
    assert import_file(store, source, bad_rows=bad_rows).dropped == 2
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [1, 2]


def test_the_command_writes_dropped_rows_beside_the_store(tmp_path, capsys):
    source = write(tmp_path / "bad.jsonl", [{"prompt": "p", "responses": "a"}, SAMPLED[0]])
    words = ["import", str(source), "--store", str(tmp_path / "s.sqlite"), "--drop_bad_rows"]
    commands.main(words)
    assert "1 bad rows dropped into" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "bad.jsonl.rejected.jsonl").exists()


def test_export_and_import_give_the_same_store(tmp_path, store):
    import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    label = Label(
        item_id=1,
        annotator="ann",
        ranks=(2, 1),
        order_shown=(1, 0),
        seconds=7.25,
        guideline_version=3,
        strength=2.0,
        extra={"flags": ["untrue"]},
    )
    store.submit(label)
    assert export_rankings(store, tmp_path / "r.jsonl") == 1
    [row] = read(tmp_path / "r.jsonl")
    assert row["prompt"] == TALK
    assert (row["ranks"], row["responses"], row["category"]) == ([2, 1], ["a", "b"], "q")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        import_file(copy, str(tmp_path / "r.jsonl"))
        assert copy.items() == store.items()
        [again], [before] = copy.labels(), store.labels()
    for name in Label.__dataclass_fields__:
        assert getattr(again, name) == getattr(before, name), name


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_what_a_column_has_no_one_type_for_comes_back(tmp_path, store, suffix):
    """Prompts as text and as talk, objects with other keys, lists of them, no value at all."""
    rows = [
        {"prompt": TALK, "responses": ["a", "b"], "meta": {"x": 1}, "tags": [{"a": 1}, {"b": 2}]},
        {"prompt": '{"not": "JSON to us"}', "responses": ["- a", "=b", "c"], "meta": {"y": [None]}},
    ]
    import_file(store, write(tmp_path / "c.jsonl", rows))
    for name, number, extra in (("ann", 1, {"flags": [["untrue"], []]}), ("bob", 2, {})):
        order = tuple(reversed(range(number + 1)))
        ranks = tuple(range(1, number + 2))
        store.submit(
            Label(item_id=number, annotator=name, ranks=ranks, order_shown=order, extra=extra)
        )
    repeat = Label(
        item_id=1,
        annotator="ann",
        ranks=(2, 1),
        order_shown=(0, 1),
        strength=4.0,
        guideline_version=2,
        purpose="repeat",
        extra={"comment": "of the repeat"},
    )
    store.submit(repeat)
    export_rankings(store, tmp_path / f"r{suffix}")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        import_file(copy, str(tmp_path / f"r{suffix}"))
        assert copy.items() == store.items()
        said, before = copy.labels(), store.labels()
    for name in Label.__dataclass_fields__:
        by = {(one.annotator, one.purpose): getattr(one, name) for one in said}
        assert by == {(one.annotator, one.purpose): getattr(one, name) for one in before}, name


def test_a_table_of_rankings_without_the_column_of_cells_is_refused(tmp_path, store):
    """As versions before wrote it: nothing says which apostrophes belong to an answer."""
    (tmp_path / "r.csv").write_text(
        "prompt,responses,ranks,annotator,item_id,labelled_at\n"
        'p,"[""\'-1"", ""b""]","[1, 2]",ann,1,2026-01-01\n'
    )
    with pytest.raises(DataError, match="which of its cells are JSON; export the rankings again"):
        import_file(store, str(tmp_path / "r.csv"))


def test_demonstrations_and_thumbs_are_no_candidates(tmp_path, store):
    source = write(tmp_path / "d.jsonl", [{"prompt": "p", "completion": "a", "label": True}])
    with pytest.raises(DataError, match=r"d\.jsonl:1 a demonstration or a thumb is no candidate"):
        import_file(store, source)


def test_exported_rankings_are_what_the_reward_model_loads(tmp_path, store):
    import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    store.submit(Label(item_id=1, annotator="ann", ranks=(2, 1), order_shown=(0, 1)))
    export_rankings(store, tmp_path / "r.jsonl")
    [ranking] = load_rankings(str(tmp_path / "r.jsonl")).rows
    assert (ranking.prompt, list(ranking.ranks), ranking.annotator) == (TALK, [2, 1], "ann")


def test_an_empty_store_is_no_rankings_file(tmp_path, store):
    with pytest.raises(DataError, match="no label to export"):
        export_rankings(store, tmp_path / "r.jsonl")


def test_agreement_counts_pairs_that_both_decide(tmp_path, store):
    """x says ab, ac, bc; y says ab, ac, cb: 2 of 3. z ties ab and says ac, bc: with x 2 of 2."""
    rows = [{"prompt": "p", "responses": ["a", "b", "c"], "models": ["m", "m", "m"]}]
    import_file(store, write(tmp_path / "c.jsonl", rows))
    store.submit(Label(item_id=1, annotator="x", ranks=(1, 2, 3), order_shown=(0, 1, 2)))
    store.submit(Label(item_id=1, annotator="y", ranks=(1, 3, 2), order_shown=(2, 1, 0)))
    assert label_stats(store).agreement == Share(2 / 3, 3)
    store.submit(Label(item_id=1, annotator="z", ranks=(1, 1, 3), order_shown=(0, 1, 2)))
    x, y, z = label_stats(store, {1: [3.0, 2.0, 2.0]}).annotators
    assert x.agreement == Share(4 / 5, 5)
    assert z.ties == Share(1 / 3, 3)
    assert (x.first_shown, y.first_shown) == (Share(1.0, 3), Share(1 / 3, 3))
    assert x.gold_agreement == Share(1.0, 2)  # b and c are level in gold


def test_the_commands_run_from_candidates_to_rankings(tmp_path, capsys):
    source = write(tmp_path / "c.jsonl", SAMPLED)
    (tmp_path / "gold.py").write_text(
        "def score(prompts, completions, **columns):\n    return [len(c) for c in prompts]\n"
    )
    (tmp_path / "who.yaml").write_text("annotators: [{name: a, noise: 1}]")
    store, gold = str(tmp_path / "s.sqlite"), f"{tmp_path / 'gold.py'}:score"
    label = ["label"]
    assert run_command([*label, "import", source, "--store", store]) == 0
    who = ["--annotators", str(tmp_path / "who.yaml"), "--gold", gold]
    assert run_command([*label, "simulate", "--store", store, *who]) == 0
    assert run_command([*label, "stats", "--store", store, "--gold", gold]) == 0
    output = str(tmp_path / "r.jsonl")
    assert run_command([*label, "export", "--store", store, "--output", output]) == 0
    assert "1 rankings in" in capsys.readouterr().out
    assert len(read(tmp_path / "r.jsonl")) == 1


def test_a_margin_is_the_strength_of_the_label(tmp_path, store):
    row = {"prompt": "p", "chosen": "good", "rejected": "bad", "margin": 3}
    import_file(store, write(tmp_path / "m.jsonl", [row]))
    assert [label.strength for label in store.labels()] == [3.0]
    assert store.items()[0].columns == {}
    export_rankings(store, tmp_path / "r.jsonl")
    [ranking] = load_rankings(str(tmp_path / "r.jsonl")).rows
    assert (ranking.ranks, ranking.strength) == ([1, 2], 3.0)


def test_transcripts_that_part_early_are_bad_rows(tmp_path, store):
    """Judged below the chosen one's prompt, the rejected answer would be to a talk nobody had."""
    row = {
        "chosen": "\n\nHuman: Bread?\n\nAssistant: Yes.\n\nHuman: Long?\n\nAssistant: Freeze it.",
        "rejected": "\n\nHuman: Bread?\n\nAssistant: No.\n\nHuman: Long?\n\nAssistant: Buy it.",
    }
    with pytest.raises(DataError, match=r"hh\.jsonl:1 no prompt that both share"):
        import_file(store, write(tmp_path / "hh.jsonl", [row]))
    assert store.items() == []
