"""Rankings of several rounds in one file: rounds, weights, sides of the split, repetitions."""

import pytest

from rlhf.pipeline.join_labels import join_labels, read_joined, write_joined
from rlhf.pipeline.label_stage import HELD_OUT, TRAIN
from tests.errors import raises

SETTINGS = {"decay": 1.0, "fraction": 0.0, "seed": 0}


def row(prompt, *, ranks=(1, 2), annotator="Ann", **more):
    return {
        "prompt": prompt,
        "responses": [f"{prompt} a", f"{prompt} b"],
        "ranks": list(ranks),
        "annotator": annotator,
        **more,
    }


def prompts(rows):
    return [each["prompt"] for each in rows]


def test_rows_have_their_round_and_its_weight():
    """Decay 1/2 in round 3: 1/4, 1/2 and 1. Rows without a round are of round 1."""
    joined = join_labels(
        [row("p"), row("q", round=2, weight=1.0)], [], [row("r")], number=3,
        **{**SETTINGS, "decay": 0.5},
    )  # fmt: skip
    assert [(each["round"], each["weight"]) for each in joined.train] == [
        (1, 0.25),
        (2, 0.5),
        (3, 1.0),
    ]
    assert joined.new == 1


def test_held_out_rankings_below_half_a_weight_are_left_out():
    """Decay 0.6 in round 3: 0.36 of round 1 is below 1/2, 0.6 of round 2 is not."""
    joined = join_labels(
        [], [row("p"), row("q", round=2)], [row("r")], number=3, **{**SETTINGS, "decay": 0.6}
    )
    assert prompts(joined.held_out) == ["q"]
    assert prompts(joined.train) == ["r"]
    alone = join_labels([], [row("p")], [row("r")], number=3, **{**SETTINGS, "decay": 0.6})
    assert prompts(alone.held_out) == ["p"]  # there are no others


def test_prompt_stays_on_its_side_of_the_split():
    """A held-out prompt that is ranked again must not be trained on; its case does not count."""
    again = [{**row("HELD."), "responses": ["c", "d"]}, {**row("trained"), "responses": ["c", "d"]}]
    joined = join_labels([row("trained")], [row("held")], again, number=2, **SETTINGS)
    assert prompts(joined.train) == ["trained", "trained"]
    assert prompts(joined.held_out) == ["held", "HELD."]


def test_new_prompts_are_split_by_the_fraction():
    new = [row(f"new {number}") for number in range(20)]
    joined = join_labels([row("p")], [], new, number=2, **{**SETTINGS, "fraction": 0.25})
    assert (len(joined.train), len(joined.held_out)) == (16, 5)
    assert not {*prompts(joined.train)} & {*prompts(joined.held_out)}


def test_rankings_of_an_earlier_round_are_not_added_again():
    """A cumulative file has one ranking of round 1 again, and a second annotator who agrees."""
    unnamed = row("p", annotator="")
    joined = join_labels(
        [unnamed], [], [unnamed, unnamed, row("p", ranks=(2, 1))], number=2, **SETTINGS
    )
    assert (joined.new, joined.repeated) == (2, 1)
    assert [each["round"] for each in joined.train] == [1, 2, 2]


def test_joined_files_are_read_back(tmp_path):
    """U+2028 ends a line for Python and not in JSON."""
    new = [row("one\u2028two"), row("q")]
    joined = join_labels([row("p")], [], new, number=2, **{**SETTINGS, "fraction": 0.5})
    write_joined(tmp_path, joined)
    assert read_joined(tmp_path) == (joined.train, joined.held_out)
    for name in (TRAIN, HELD_OUT):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_round_without_new_rankings_raises(tmp_path):
    joined = join_labels([row("p")], [], [row("p")], number=2, **SETTINGS)
    with raises("no-rows", tmp_path):
        write_joined(tmp_path, joined)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_joining_does_not_change_its_inputs(decay):
    train = [row("p")]
    join_labels(train, [], [row("q")], number=2, **{**SETTINGS, "decay": decay})
    assert train == [row("p")]
