"""Changes since a baseline: which count as regressions, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest

from rlhf.evaluation.suites.answers import Answer, read_answers, write_answers
from rlhf.evaluation.suites.baseline import Baseline, check_baseline, read_baseline
from rlhf.evaluation.suites.figures import figure_results, values_by_prompt
from rlhf.evaluation.suites.regression import changes
from rlhf.evaluation.suites.run import SuiteRun
from rlhf.evaluation.suites.suite import Figure, Suite
from tests.errors import raises


def suite(tmp_path, **figures):
    return Suite(
        name="mine",
        folder=tmp_path,
        prompts=tmp_path / "prompts.jsonl",
        figures=[Figure(name=name, score="check:answer", **keys) for name, keys in figures.items()],
    )


def answers(values, model="ppo", **columns):
    """One answer per prompt; `values` has the values of each figure by prompt."""
    count = len(next(iter(values.values())))
    return [
        Answer(
            suite="mine",
            model=model,
            key=f"{place:03d}",
            sample=0,
            prompt="p",
            later=[],
            responses=["r"],
            values={
                name: [] if own[place] is None else [own[place]] for name, own in values.items()
            },
            **columns,
        )
        for place in range(count)
    ]


def baseline(tmp_path, one, before):
    sampling = {"mine": one.sampling}
    return Baseline(folder=tmp_path, answers=before, sampling=sampling, gradings={})


def check(earlier, one, graded=None, *, models=("ppo",), prompts=None):
    """What only one of the runs has, of a run with the baseline's prompts."""
    prompts = prompts or {"mine": [each.key for each in earlier.answers]}
    return check_baseline(earlier, [one], graded or {}, models, prompts)


def test_fall_beyond_chance_is_a_regression(tmp_path):
    """12 of 60 prompts fall; the figure where lower is better falls too, which is no regression."""
    one = suite(tmp_path, good={}, bad={"better": "lower"})
    before = answers({"good": [1.0] * 60, "bad": [1.0] * 60})
    after = answers({"good": [0.0] * 12 + [1.0] * 48, "bad": [0.0] * 12 + [1.0] * 48})
    (good, bad), notes = changes(baseline(tmp_path, one, before), [one], after)
    assert (good.before, good.after, good.change) == pytest.approx((1.0, 0.8, -0.2))
    assert good.regressed
    assert not bad.regressed
    assert notes == []
    # With one prompt of +1 and one of -1 added, 12 of 62 changes are -1 and two more ±1: standard
    # error sqrt((14/62 - (12/62)²) / 62) = 0.05512. At 97.5% and 80% power it counts
    # 2.2980 + 0.8476 times (Student's t, 61 degrees of freedom).
    assert good.mde == pytest.approx(0.1734, abs=1e-4)
    rise = answers({"good": [1.0] * 60, "bad": [0.0] * 48 + [1.0] * 12})
    (good, bad), _ = changes(baseline(tmp_path, one, rise), [one], before)
    assert not good.regressed
    assert bad.regressed


def test_tolerance_allows_a_change_for_the_worse(tmp_path):
    before = answers({"good": [1.0] * 60})
    after = answers({"good": [0.0] * 12 + [1.0] * 48})
    for tolerance, regressed in ((0.0, True), (0.2, False)):
        one = suite(tmp_path, good={"tolerance": tolerance})
        ((change,), _) = changes(baseline(tmp_path, one, before), [one], after)
        assert change.regressed == regressed


def test_regressions_are_one_error_with_all_figures(tmp_path):
    one = suite(tmp_path, good={}, other={})
    before = answers({"good": [1.0] * 60, "other": [1.0] * 60})
    after = answers({"good": [0.0] * 60, "other": [0.0] * 60})
    found, _ = changes(baseline(tmp_path, one, before), [one], after)
    run = SuiteRun(answers=after, results=[], ungraded={}, changes=found)
    with raises("regression", "2 figures", "mine good", "mine other", "-1.000"):
        run.check_regressions()
    same, _ = changes(baseline(tmp_path, one, before), [one], before)
    assert [change.mde for change in same] == [None, None]
    SuiteRun(answers=before, results=[], ungraded={}, changes=same).check_regressions()


def test_equal_models_rarely_fail(tmp_path):
    """Five figures of two samples of one model: at most 5% of runs fail, by Bonferroni."""
    rng = np.random.default_rng(0)
    names = "abcde"
    one = suite(tmp_path, **{name: {} for name in names})
    failed = 0
    for _ in range(200):
        before, after = (
            answers({name: (rng.random(40) < 0.7).astype(float).tolist() for name in names})
            for _ in range(2)
        )
        found, _ = changes(baseline(tmp_path, one, before), [one], after)
        failed += any(change.regressed for change in found)
    assert failed / 200 <= 0.05


def test_prompts_of_one_run_only_are_left_out_and_counted(tmp_path):
    one = suite(tmp_path, good={})
    before = answers({"good": [1.0] * 10})
    found, notes = changes(baseline(tmp_path, one, before), [one], answers({"good": [1.0] * 12}))
    assert found[0].prompts == 10
    assert notes == ["mine good: 2 prompts are in one of the runs only and left out"]
    keys = {"mine": [f"x{each.key}" for each in before]}
    with raises("other-run", "no prompt"):
        check(baseline(tmp_path, one, before), one, prompts=keys)
    renamed = [replace(each, key=f"x{each.key}") for each in before]
    found, notes = changes(baseline(tmp_path, one, before), [one], renamed)
    assert (found, notes) == ([], ["mine good of ppo: no prompt is in both runs, not compared"])


def test_run_that_compares_nothing_does_not_pass(tmp_path):
    """The check applies to no response of the new run."""
    one = suite(tmp_path, good={})
    before = answers({"good": [1.0] * 4})
    found, notes = changes(baseline(tmp_path, one, before), [one], answers({"good": [None] * 4}))
    assert notes == ["mine good of ppo: no value in one of the runs, not compared"]
    with raises("other-run", "nothing was compared"):
        SuiteRun(answers=before, results=[], ungraded={}, changes=found).check_regressions()


def test_models_are_paired_by_name_and_a_single_one_by_itself(tmp_path):
    one = suite(tmp_path, good={})
    before = answers({"good": [1.0] * 4}, model="old")
    after = answers({"good": [1.0] * 4}, model="new")
    assert changes(baseline(tmp_path, one, before), [one], after)[0][0].model == "new"
    third = answers({"good": [0.0] * 4}, model="third")
    with raises("other-run", "old", "new, third"):
        check(baseline(tmp_path, one, before), one, models=["new", "third"])
    both = baseline(tmp_path, one, [*before, *answers({"good": [1.0] * 4}, model="new")])
    found, _ = changes(both, [one], [*after, *third])
    assert [change.model for change in found] == ["new"]
    assert check(both, one, models=["new", "third"]) == [
        "third is not in the baseline and not compared",
        "model old is in the baseline only and not compared",
    ]


def test_what_a_run_no_longer_has_is_named(tmp_path):
    """A figure that was deleted from suite.yaml, and a suite that --only leaves out."""
    wide = suite(tmp_path, good={}, rare={})
    earlier = baseline(tmp_path, wide, answers({"good": [1.0] * 4, "rare": [None] * 4}))
    earlier = replace(earlier, sampling={**earlier.sampling, "yours": "x"})
    assert check(earlier, suite(tmp_path, good={})) == [
        "suite yours is in the baseline only and not compared",
        "mine rare is in the baseline only and not compared",
    ]


def test_folder_without_a_run_of_suites_is_no_baseline(tmp_path):
    with raises("unreadable-file", "FileNotFoundError"):
        read_baseline(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"results": []}')
    with raises("unreadable-file", "no run of suites", "'suites'"):
        read_baseline(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"suites": {}, "gradings": {}}')
    with raises("unreadable-file", "suite_answers.jsonl"):
        read_baseline(tmp_path)


def test_other_sampling_or_judge_cannot_be_compared(tmp_path):
    one = suite(tmp_path, good={})
    earlier = baseline(tmp_path, one, answers({"good": [1.0] * 4}))
    assert check(earlier, one) == []
    with raises("other-run", "mine", "temperature"):
        check(earlier, replace(one, temperature=1.0))
    graded = replace(earlier, gradings={"mine grade": "a"})
    with raises("other-run", "mine grade", "judge"):
        check(graded, one, {"mine grade": "b"})
    wider = replace(one, figures=[*one.figures, Figure(name="grade", rubric="Is it kind?")])
    note = "mine grade is not in the baseline and not compared"
    assert check(earlier, wider, {"mine grade": "b"}) == [note]
    assert check(graded, wider, {"mine grade": "a"}) == []
    with raises("other-run", "yours good"):
        check(earlier, replace(one, name="yours"))


def test_figures_have_intervals_by_category(tmp_path):
    """Rates have Wilson's interval where all values are equal, and a prompt alone no category."""
    one = suite(tmp_path, good={}, rare={})
    own = answers({"good": [1.0] * 6, "rare": [None] * 6})
    own = [replace(each, category="first" if place else "second") for place, each in enumerate(own)]
    results = {(r.axis, r.subset): r for r in figure_results(one, own, seed=0)}
    assert set(results) == {("mine good", None), ("mine good", "first")}
    assert results["mine good", None].value == 1.0
    assert results["mine good", None].low < 1.0
    assert values_by_prompt(own, "rare") == {f"{place:03d}": [] for place in range(6)}


def test_answers_are_read_as_they_were_written(tmp_path):
    """U+2028 ends a line, but not in JSON."""
    own = answers({"good": [1.0, None]}, category="a")
    own[0] = replace(own[0], responses=["one\u2028two"])
    write_answers(tmp_path, reversed(own))
    assert read_answers(tmp_path) == own
    with raises("unreadable-file", "nowhere"):
        read_answers(tmp_path / "nowhere")
