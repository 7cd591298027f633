"""Import and export lose nothing between a file, the store and the exported file."""

import json

import pytest

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.export import export, rows_of
from rlhf.labels.form_config import FormConfig
from rlhf.labels.form_versions import add_form
from rlhf.labels.importing import import_file
from rlhf.labels.records import Label
from rlhf.labels.review.decisions import exclude
from rlhf.labels.shares import Share
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from tests.errors import raises
from tests.labels.sampled_rows import SAMPLED, TALK, read, write


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


def test_empty_responses_are_left_out_and_counted(tmp_path, store):
    result = import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    assert (result.rows, result.items, result.blank, result.left_out) == (1, 1, 2, 1)
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
def test_published_pairs_import_with_or_without_their_label(tmp_path, row):
    """The same pair in Anthropic HH's format, with and without a prompt column, and in TRL's."""
    source = write(tmp_path / "pairs.jsonl", [row])
    for as_candidates in (False, True):
        with LabelStore(tmp_path / f"{as_candidates}.sqlite", create=True) as store:
            result = import_file(store, source, as_candidates=as_candidates)
            [item] = store.items()
            assert (item.prompt, item.responses) == (TURNS, ("Fine.", "What?"))
            assert item.columns == {"source": "helpful"}
            assert result.labels == len(store.labels()) == (not as_candidates)


def test_imported_pairs_have_no_order_shown(tmp_path, store):
    """`chosen` comes first in the file, which must not count as a position bias."""
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(40)]
    import_file(store, write(tmp_path / "p.jsonl", rows))
    stats = label_stats(store)
    assert [(one.decided, one.first_shown.n) for one in stats.annotators] == [(40, 0)]
    assert stats.concerns == []
    export(store, tmp_path / "r.jsonl", "rankings")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        import_file(copy, str(tmp_path / "r.jsonl"))
        assert {tuple(label.order_shown) for label in copy.labels()} == {()}


def test_endings_of_an_imported_pair_follow_its_responses(tmp_path, store):
    """Bob prefers the response that was cut off; it is `chosen` then."""
    pair = {"prompt": "p", "chosen": "whole", "rejected": "cu", "endings": ["stop", "length"]}
    import_file(store, write(tmp_path / "p.jsonl", [{**pair, "annotator": "ann"}]))
    store.submit(Label(item_id=1, annotator="bob", ranks=[2, 1]))
    rows = export(store, tmp_path / "pairs.jsonl", "pairs").rows
    assert [(row["chosen"], row["endings"]) for row in rows] == [
        ("whole", ["stop", "length"]),
        ("cu", ["length", "stop"]),
    ]
    store.submit(Label(item_id=1, annotator="cat", ranks=[2, 1]))
    [agreed] = rows_of(store, "pairs", ConsensusOptions(method="majority")).rows
    assert (agreed["chosen"], agreed["endings"]) == ("cu", ["length", "stop"])


def test_bad_rows_raise_with_their_place_or_are_dropped(tmp_path, store):
    rows = [{"prompt": "p", "responses": "a"}, {"responses": ["a", "b"]}, SAMPLED[0]]
    source = write(tmp_path / "bad.jsonl", rows)
    with raises("bad-row", "bad.jsonl:1", "bad.jsonl:2"):
        import_file(store, source)
    assert store.items() == []
    rejects = tmp_path / "rejected.jsonl"
    bad_rows = BadRows(drop=True, reject_file=rejects)
    assert import_file(store, source, bad_rows=bad_rows).dropped == 2
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [1, 2]


def test_import_of_an_export_restores_the_store(tmp_path, store):
    import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    store.add_guideline("Be fair.")
    label = Label(
        item_id=1,
        annotator="ann",
        ranks=(2, 1),
        order_shown=(1, 0),
        seconds=7.25,
        guideline_version=1,
        strength=2.0,
        extra={"flags": ["untrue"]},
    )
    store.submit(label)
    assert len(export(store, tmp_path / "r.jsonl", "rankings").rows) == 1
    [row] = read(tmp_path / "r.jsonl")
    assert row["prompt"] == TALK
    assert (row["ranks"], row["responses"], row["category"]) == ([2, 1], ["a", "b"], "q")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        copy.add_guideline("Be fair.")
        import_file(copy, str(tmp_path / "r.jsonl"))
        assert copy.items() == store.items()
        [restored], [original] = copy.labels(), store.labels()
    for name in Label.__dataclass_fields__:
        assert getattr(restored, name) == getattr(original, name), name


def add_texts(store):
    """Two guidelines and a form, in the same order."""
    for text in ("Be fair.", "Be kind."):
        store.add_guideline(text)
    with store.write() as connection:
        add_form(connection, FormConfig())


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_columns_of_mixed_types_are_restored(tmp_path, store, suffix):
    """Text and message prompts, objects with different keys, lists of objects, missing values."""
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
        form_version=1,
        purpose="repeat",
        extra={"comment": "of the repeat"},
    )
    store.submit(repeat)
    add_texts(store)
    export(store, tmp_path / f"r{suffix}", "rankings")
    with LabelStore(tmp_path / "copy.sqlite", create=True) as copy:
        add_texts(copy)
        import_file(copy, str(tmp_path / f"r{suffix}"))
        assert copy.items() == store.items()
        restored, original = copy.labels(), store.labels()
    for name in Label.__dataclass_fields__:
        values = {(one.annotator, one.purpose): getattr(one, name) for one in restored}
        assert values == {(one.annotator, one.purpose): getattr(one, name) for one in original}


def test_csv_without_the_cells_column_raises(tmp_path, store):
    """Older versions did not record which apostrophes belong to a response."""
    (tmp_path / "r.csv").write_text(
        "prompt,responses,ranks,annotator,item_id,labelled_at\n"
        'p,"[""\'-1"", ""b""]","[1, 2]",ann,1,2026-01-01\n'
    )
    with raises("bad-row", "r.csv:2"):
        import_file(store, str(tmp_path / "r.csv"))


def test_import_of_demonstrations_or_thumbs_raises(tmp_path, store):
    source = write(tmp_path / "d.jsonl", [{"prompt": "p", "completion": "a", "label": True}])
    with raises("bad-row", "d.jsonl:1"):
        import_file(store, source)


def test_exported_rankings_load_for_reward_training(tmp_path, store):
    import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    store.submit(Label(item_id=1, annotator="ann", ranks=(2, 1), order_shown=(0, 1)))
    export(store, tmp_path / "r.jsonl", "rankings")
    [ranking] = load_rankings(str(tmp_path / "r.jsonl")).rows
    assert (ranking.prompt, list(ranking.ranks), ranking.annotator) == (TALK, [2, 1], "ann")


def test_export_of_an_empty_store_raises(tmp_path, store):
    with raises("no-rows", "r.jsonl", "rankings", "rlhf label serve"):
        export(store, tmp_path / "r.jsonl", "rankings")


def test_export_of_a_kind_without_rows_names_what_was_left_out(tmp_path, store):
    import_file(store, write(tmp_path / "c.jsonl", SAMPLED))
    store.submit(Label(item_id=1, annotator="ann", ranks=(1, 1), order_shown=(0, 1)))
    with raises("no-rows", "p.jsonl", "1 label ", "pairs", "tied pairs: 1", "--kind"):
        export(store, tmp_path / "p.jsonl", "pairs")


def test_export_of_excluded_items_says_to_bring_them_back(tmp_path, store):
    """No other kind has rows, unless other items are labelled."""
    import_file(store, write(tmp_path / "c.jsonl", [*SAMPLED, {**SAMPLED[0], "prompt": "other"}]))
    store.submit(Label(item_id=1, annotator="ann", ranks=(1, 2), order_shown=(0, 1)))
    exclude(store, 1, "broken")
    with raises("no-rows", "labels of excluded items: 1", "Bring back") as caught:
        export(store, tmp_path / "p.jsonl", "pairs")
    assert "--kind" not in str(caught.value)
    store.submit(Label(item_id=2, annotator="ann", ranks=(1, 1), order_shown=(0, 1)))
    with raises("no-rows", "tied pairs: 1", "choose another --kind or bring items back"):
        export(store, tmp_path / "p.jsonl", "pairs")


def test_agreement_counts_pairs_that_both_decide(tmp_path, store):
    """x: ab, ac, bc; y: ab, ac, cb: 2 of 3 agree. z: ab tied, ac, bc: 2 of 2 agree with x."""
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
    assert x.gold_agreement == Share(1.0, 2)  # b and c have the same gold score


def test_margin_becomes_the_strength_of_the_label(tmp_path, store):
    row = {"prompt": "p", "chosen": "good", "rejected": "bad", "margin": 3}
    import_file(store, write(tmp_path / "m.jsonl", [row]))
    assert [label.strength for label in store.labels()] == [3.0]
    assert store.items()[0].columns == {}
    export(store, tmp_path / "r.jsonl", "rankings")
    [ranking] = load_rankings(str(tmp_path / "r.jsonl")).rows
    assert (ranking.ranks, ranking.strength) == ([1, 2], 3.0)


def test_transcripts_without_a_common_prompt_raise(tmp_path, store):
    """The rejected response belongs to a conversation that differs before the last turn."""
    row = {
        "chosen": "\n\nHuman: Bread?\n\nAssistant: Yes.\n\nHuman: Long?\n\nAssistant: Freeze it.",
        "rejected": "\n\nHuman: Bread?\n\nAssistant: No.\n\nHuman: Long?\n\nAssistant: Buy it.",
    }
    with raises("bad-row", "hh.jsonl:1"):
        import_file(store, write(tmp_path / "hh.jsonl", [row]))
    assert store.items() == []
