"""Answers to the form in the statistics: counts, means and agreement, by value."""

import random

import pytest

from rlhf.labels.agreement import nominal, ordinal, value_alpha
from rlhf.labels.answer_stats import answer_stats
from rlhf.labels.cli import main
from rlhf.labels.criteria import parse_criteria
from rlhf.labels.export import export
from rlhf.labels.form_config import FormConfig
from rlhf.labels.form_versions import add_form
from rlhf.labels.records import Candidate, Label, StoredLabel
from rlhf.labels.stats import label_stats
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from tests.labels.forms import FORM, span
from tests.labels.web_server import serving

PAIR = Candidate(prompt="When?", responses=("On 4 May.", "Never."))
FORMS = {1: FORM}


def stored(number: int, annotator="ann", item=1, form=1, ranks=(1, 2), overall=None, **answers):
    extra = {"criteria": answers} | ({"overall": overall} if overall else {})
    return StoredLabel(
        item_id=item,
        annotator=annotator,
        ranks=ranks,
        form_version=form,
        extra=extra,
        event_id=number,
        at=0.0,
    )


def by_name(labels, forms=FORMS):
    return {one.name: one for one in answer_stats(labels, forms).criteria}


def test_each_kind_of_answer_is_counted_on_its_scale():
    """One label: ratings 4 and 0, mean 2; one of two statements; no second topic."""
    rubric = {"It names a date.": True, "It is short.": False}
    stats = by_name(
        [
            stored(
                1,
                helpful=[4, 0],
                tone=["kind", None],
                rubric=[rubric, None],
                wrong=[[span("On 4 May.", "4 May")], None],
                topics=["food"],
                why=[{"response": 0, "answer": "clear"}],
            )
        ]
    )
    assert stats["helpful"].counts == {"0": 1, "1": 0, "2": 0, "3": 0, "4": 1}
    assert (stats["helpful"].mean, stats["helpful"].answers) == (2.0, 2)
    assert stats["tone"].counts == {"kind": 1, "rude": 0}
    assert stats["rubric: It names a date."].counts == {"yes": 1, "no": 0}
    assert stats["rubric: It is short."].counts == {"yes": 0, "no": 1}
    assert stats["wrong: untrue"].counts == {"yes": 1, "no": 1}
    assert stats["wrong: unclear"].counts == {"yes": 0, "no": 2}
    assert stats["topics: food"].counts == {"yes": 1, "no": 0}
    assert stats["topics: law"].counts == {"yes": 0, "no": 1}
    assert (stats["why"].answers, stats["why"].counts, stats["why"].alpha.n) == (1, {}, 0)
    assert "overall" not in stats  # the form asks for it, and nobody answered


def test_alpha_of_a_choice_by_hand():
    """Two items, two annotators: kind, kind and kind, rude. Values: 3 kind, 1 rude. Observed
    disagreement 2 of 4; expected 2 * 3 * 1 / 3 = 2 of 4: alpha 1 - 2 / 2 = 0."""
    labels = [
        stored(n, name, item, tone=[tone, None])
        for n, (name, item, tone) in enumerate(
            [("ann", 1, "kind"), ("bob", 1, "kind"), ("ann", 2, "kind"), ("bob", 2, "rude")]
        )
    ]
    alpha = by_name(labels)["tone"].alpha
    assert (alpha.value, alpha.n) == (pytest.approx(0.0), 2)


def test_only_the_last_answer_of_an_annotator_counts_for_agreement():
    """Ann answers the item twice: that is no agreement of two annotators."""
    labels = [stored(1, helpful=[4, 0]), stored(2, helpful=[4, 0])]
    assert by_name(labels)["helpful"].alpha.n == 0


def test_reasons_are_compared_where_both_say_that_the_response_is_the_best():
    """On item 1 both say the first is the best, on item 2 they disagree about that."""
    form = FormConfig(
        criteria=parse_criteria(
            [{"name": "why", "kind": "choice", "about": "best", "options": ["short", "true"]}]
        )
    )

    def why(number, name, item, best, reason):
        ranks = (1, 2) if best == 0 else (2, 1)
        return stored(number, name, item, ranks=ranks, why=[{"response": best, "answer": reason}])

    labels = [
        why(1, "ann", 1, 0, "short"),
        why(2, "bob", 1, 0, "true"),
        why(3, "ann", 2, 0, "short"),
        why(4, "bob", 2, 1, "short"),
    ]
    stats = by_name(labels, {1: form})["why"]
    assert stats.counts == {"short": 3, "true": 1}
    assert stats.alpha.n == 1


@pytest.mark.parametrize(("level", "distance"), [("nominal", nominal), ("ordinal", ordinal)])
def test_alpha_of_values_equals_the_krippendorff_package(level, distance):
    krippendorff = pytest.importorskip("krippendorff")
    draw = random.Random(4)
    units = {item: [[draw.randrange(4) for _ in range(3)] for _ in range(2)] for item in range(30)}
    values = [unit for of_item in units.values() for unit in of_item]
    expected = krippendorff.alpha(
        reliability_data=list(map(list, zip(*values, strict=True))), level_of_measurement=level
    )
    assert value_alpha(units, distance, samples=10).value == pytest.approx(expected, abs=1e-12)


def test_units_of_one_annotator_do_not_count():
    assert value_alpha({1: [[0], [1]], 2: []}, nominal).n == 0
    assert value_alpha({1: [[0], [1, 1]], 2: [[0, 0]]}, nominal).value == 1.0


def test_versions_of_a_form_with_the_same_scale_are_counted_together():
    """Version 2 has other words, version 3 another scale; version 9 is unknown."""

    def form(high, **more):
        entry = {"name": "good", "kind": "rating", "high": high, **more}
        return FormConfig(criteria=parse_criteria([entry]))

    forms = {1: form(5), 2: form(5, question="How good?", words=["bad", "good"]), 3: form(7)}
    labels = [stored(n, form=version, good=[5, 1]) for n, version in enumerate((1, 2, 3, 9))]
    stats = answer_stats(labels, forms)
    assert [(one.forms, one.answers) for one in stats.criteria] == [([1, 2], 4), ([3], 2)]
    assert stats.unknown == 1


def test_answer_outside_the_scale_of_its_form_is_left_out():
    assert by_name([stored(1, helpful=[9, 2])])["helpful"].answers == 1


@pytest.fixture
def labelled(tmp_path):
    """Ann and Bob rate two items in the same way, one of them with an overall rating."""
    with LabelStore(tmp_path / "labels.sqlite", create=True) as store:
        store.add_candidates([PAIR, Candidate(prompt="Who?", responses=("a", "b"))])
        with store.write() as connection:
            version = add_form(connection, FORM)
        for name in ("ann", "bob"):
            for item, ratings in ((1, [4, 0]), (2, [1, 3])):
                extra = {"criteria": {"helpful": ratings}, "overall": [7, None]}
                store.submit(
                    Label(
                        item_id=item,
                        annotator=name,
                        ranks=(1, 2),
                        form_version=version,
                        extra=extra,
                    )
                )
        yield store


def test_store_statistics_have_the_answers(labelled):
    stats = {one.name: one for one in label_stats(labelled).answers.criteria}
    assert (stats["helpful"].alpha.value, stats["helpful"].alpha.n) == (1.0, 2)
    assert stats["overall"].counts["7"] == 4
    assert stats["overall"].alpha.n == 0  # all are equal: agreement is undefined


def test_command_and_card_print_the_answers(labelled, tmp_path, capsys):
    assert main(["stats", "--store", str(tmp_path / "labels.sqlite")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "helpful 8 0: 2, 1: 2, 2: 0, 3: 2, 4: 2; mean 2.00 1.00 (n=2)" in printed
    export(labelled, tmp_path / "r.jsonl", "rankings")
    assert "- `helpful`: alpha 1.00 [" in (tmp_path / "r.jsonl.md").read_text()


def test_overview_shows_the_answers(labelled, tmp_path):
    with serving(tmp_path, [], web=WebConfig(form=FORM)) as site:
        page = " ".join(site.client("admin").http.get("/admin").text.split())
    assert "Answers to the form" in page
    assert 'class="criterion">helpful</th>' in page
    assert "2.00" in page
