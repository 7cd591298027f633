"""Instructions whose constraints a program checks: recipes/instructions."""

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.instructions.closeness import NEAR, closeness
from recipes.instructions.constraints import KINDS, conflict, draw_constraints, is_met, wording
from recipes.instructions.prompts import HELD_OUT, REQUESTS, SUBJECTS, rows
from recipes.instructions.reward import all_met, constraints_close, constraints_met
from recipes.instructions.score import main as score_main

IFEVAL = Path(__file__).parents[3] / "shared/data/instructions/ifeval.jsonl"

# kind, values, a text that meets it, and the nearest text that does not
CASES = [
    ("words_at_least", [3], "one two three", "one two"),
    ("words_below", [3], "one two", "one two three"),
    ("sentences_at_least", [2], "One. Two!", "One, two."),
    ("sentences_below", [2], "One, two.", "One. Two."),
    ("paragraphs", [2], "first\n***\nsecond", "first\n\nsecond"),
    ("paragraphs", [2], "first\n\n***\n\nsecond", "first\n***\nsecond\n***\n"),
    ("paragraph_start", [2, 2, "today"], "One.\n\nToday, two.", "Today.\n\nTwo."),
    ("includes", ["river", "tea"], "Tea by the River.", "Teapots by the river."),
    ("excludes", ["is", "the"], "This other one", "It is another one"),
    ("word_at_least", ["tea", 2], "Tea, more tea.", "Tea, more teapots."),
    ("letter_at_least", ["b", 2], "Bob", "bed"),
    ("letter_below", ["e", 2], "bed", "Eve"),
    ("no_commas", [], "one and two", "one, two"),
    ("lowercase", [], "all small, 3 words", "all Small"),
    ("uppercase", [], "ALL BIG, 3 WORDS", "ALL bIG"),
    ("capital_words_at_least", [2], "VERY LOUD here", "VERY Loud here"),
    ("capital_words_below", [2], "VERY Loud here", "VERY LOUD here"),
    ("bullets", [2], "* one\n- two", "* one\n*two*"),
    ("highlights", [2], "*one* and **two words**", "*one* and * two *"),
    ("placeholders", [2], "[name] of [place]", "[name] of []"),
    ("title", [], "<<Tea>>\nIt is hot.", "<Tea>\nIt is hot."),
    ("sections", ["Part", 2], "Part 1\na\n**Part 2**\nb", "Part 1 and Part 2"),
    ("json_only", [], '```json\n{"a": [1]}\n```', 'Here it is: {"a": [1]}'),
    ("json_only", [], '[1, "a"]', '"a"'),
    ("quoted", [], ' "Words." ', '"Words." he said'),
    (
        "ends_with",
        ["The rest is up to you."],
        "Go. the rest is up to you.",
        "The rest is up to you",
    ),
    ("postscript", ["P.S."], "Bye.\nP.S. Call me.", "Bye. P.S. Call me."),
    ("postscript", ["P.P.S"], "Bye.\n\nP.P.S. Call me.", "Bye.\nP.S. Call me."),
    ("one_of", ["I agree.", "I disagree."], "Well, i agree. Mostly.", "I can agree."),
    ("two_responses", [], "One.\n******\nTwo.", "One.\n******\nOne."),
    ("repeats", ["Why tea?"], "Why tea? Because.", "Because. Why tea?"),
]


# kind, values, a text, and how close it is to meeting the constraint
NEAR_CASES = [
    ("words_at_least", [4], "one two three", 3 / 4),
    ("words_below", [3], "one two three four five", 3 / 6),
    ("sentences_at_least", [4], "One. Two!", 2 / 4),
    ("sentences_below", [2], "One. Two. Three.", 2 / 4),
    ("paragraphs", [4], "first\n***\nsecond", 1 / 3),
    ("paragraph_start", [2, 2, "today"], "Today.\n\nTwo.", 1 / 2),
    ("paragraph_start", [3, 2, "today"], "One.\n\nToday.", 1 / 4 + 1 / 2),
    ("includes", ["river", "tea"], "By the river.", 1 / 2),
    ("excludes", ["is", "the"], "The tea is hot.", 1 / 3),
    ("word_at_least", ["tea", 4], "Tea.", 1 / 4),
    ("letter_at_least", ["b", 4], "Bob", 2 / 4),
    ("letter_below", ["e", 2], "Eve sleeps", 2 / 5),
    ("no_commas", [], "one, two, three", 1 / 3),
    ("lowercase", [], "One two Three four", 2 / 4),
    ("uppercase", [], "ONE two", 1 / 2),
    ("capital_words_at_least", [4], "VERY loud", 1 / 4),
    ("capital_words_below", [2], "VERY VERY LOUD", 2 / 4),
    ("bullets", [3], "* one", 1 / 3),
    ("bullets", [3], "one", 0),
    ("highlights", [2], "*one*", 1 / 2),
    ("placeholders", [4], "[one]", 1 / 4),
    ("title", [], "<<Tea", 1 / 2),
    ("sections", ["Part", 2], "Part 1 and more", 1 / 2),
    ("json_only", [], "```json\n{'a': 1}\n```", 0.99),
    ("json_only", [], "```json\n \n```", 0),
    ("quoted", [], '"Words', 1 / 2),
    ("ends_with", ["The rest is up to you."], "That is up to him.", 3 / 6),
    ("postscript", ["P.S."], "Bye.", 0),
    ("one_of", ["I agree.", "I disagree."], "I can agree.", 0),
    ("two_responses", [], "One.\n***\nTwo.", 1 / 2),
    ("repeats", ["Why is tea hot?"], "Why is it hot?", 2 / 4),
]


@pytest.mark.parametrize(("kind", "values", "text", "expected"), NEAR_CASES)
def test_closeness_is_the_part_of_the_constraint_that_is_met(kind, values, text, expected):
    assert closeness(text, {"kind": kind, "values": values}) == pytest.approx(expected)


def test_every_kind_but_one_has_a_closeness():
    assert KINDS.keys() - NEAR.keys() == {"one_of"}
    assert {kind for kind, *_ in NEAR_CASES} == KINDS.keys()


@given(st.text(), st.integers(0, 1000))
def test_closeness_is_one_exactly_where_the_constraint_is_met(text, seed):
    """Any text, for every kind, is closer than 0 and at most 1, and 1 only if it meets it."""
    rng = random.Random(seed)
    for kind, drawn in KINDS.items():
        constraint = {"kind": kind, "values": drawn.draw(rng, "Why tea?")}
        close = closeness(text, constraint)
        assert 0 <= close <= 1
        assert (close == 1) is is_met(text, constraint)


def test_reward_is_the_mean_closeness():
    """No comma: 1/2 with one comma. Lowercase: 3 words of 4."""
    asked = [{"kind": "no_commas", "values": []}, {"kind": "lowercase", "values": []}]
    assert constraints_close(["p"], ["One, two three four"], [asked]) == [(1 / 2 + 3 / 4) / 2]


@pytest.mark.parametrize(("kind", "values", "good", "bad"), CASES)
def test_constraint_is_met_by_one_text_and_not_by_the_next(kind, values, good, bad):
    constraint = {"kind": kind, "values": values}

    assert is_met(good, constraint)
    assert not is_met(bad, constraint)


def test_every_kind_has_a_case():
    assert {kind for kind, *_ in CASES} == set(KINDS)


@pytest.mark.parametrize("text", ["", " \n", "...", "***"])
def test_text_without_words_meets_nothing(text):
    assert not any(is_met(text, {"kind": kind, "values": values}) for kind, values, *_ in CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_wordings_name_every_value(kind):
    rng = random.Random(0)
    for _ in range(30):
        values = KINDS[kind].draw(rng, "Why tea?")
        sentence = wording(rng, {"kind": kind, "values": values})
        assert all(str(value) in sentence for value in values)
        assert "{" not in sentence


def test_drawn_constraints_do_not_conflict():
    rng = random.Random(0)
    for _ in range(500):
        kinds = [each["kind"] for each in draw_constraints(rng, "Why tea?", 3)]
        assert len({*kinds}) == 3
        assert not any(conflict(a, b) for a in kinds for b in kinds if a != b)


def test_conflicts_name_kinds():
    assert {name for kind in KINDS.values() for name in kind.conflicts} <= set(KINDS)
    assert conflict("lowercase", "uppercase")
    assert conflict("words_below", "repeats")
    assert conflict("repeats", "words_below")
    assert not conflict("no_commas", "lowercase")


def test_reward_is_the_share_of_constraints_met():
    asked = [{"kind": "no_commas", "values": []}, {"kind": "lowercase", "values": []}]
    texts = ["small words", "Big words", "Big, wide words"]

    assert constraints_met(["p"] * 3, texts, [asked] * 3) == [1.0, 0.5, 0.0]
    assert all_met(["p"] * 3, texts, [asked] * 3) == [1.0, 0.0, 0.0]


def test_rows_depend_on_the_seed_and_have_their_request():
    first = rows(SUBJECTS, 50, seed=3)

    assert first == rows(SUBJECTS, 50, seed=3)
    assert first != rows(SUBJECTS, 50, seed=4)
    requests = {request.format(subject) for request in REQUESTS for subject in SUBJECTS}
    assert all(any(request in row["prompt"] for request in requests) for row in first)
    assert {len(row["constraints"]) for row in first} == {1, 2, 3}


def test_held_out_subjects_are_not_in_training():
    assert not {*SUBJECTS} & {*HELD_OUT}


def test_no_prompt_is_one_of_the_benchmark():
    if not IFEVAL.is_file():
        pytest.skip("needs ../shared")
    theirs = {json.loads(line)["prompt"] for line in IFEVAL.read_text().splitlines()}
    ours = {row["prompt"] for row in rows(SUBJECTS, 8000, 0) + rows(HELD_OUT, 300, 1)}

    assert not ours & theirs


def test_score_prints_shares_the_paired_gain_and_words(tmp_path, capsys):
    constraints = [{"kind": "no_commas", "values": []}, {"kind": "lowercase", "values": []}]
    for name, texts in {"before": ["A, b", "a"], "after": ["a", "a"]}.items():
        lines = [
            json.dumps({"prompt": str(number), "constraints": constraints, "responses": [text]})
            for number, text in enumerate(texts)
        ]
        (tmp_path / name).write_text("\n".join(lines))

    score_main([f"before={tmp_path / 'before'}", f"after={tmp_path / 'after'}"])

    printed = capsys.readouterr().out.splitlines()
    before, after = printed[2:4]
    assert printed[-2:] == ["| lowercase | 2 | 1 | 2 |", "| no_commas | 2 | 1 | 2 |"]
    # before: 1 of 2 prompts, 2 of 4 constraints; after: all; the gains by prompt are 1 and 0
    assert before.startswith("| before | own | 50.0 [0.0, 100.0] | 50.0 [0.0, 100.0] |")
    assert after.startswith("| after | own | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | +50.0")
    assert before.endswith("| 1.5 |")  # the median of 2 words and 1
    assert after.endswith("| 1 |")


def test_score_takes_the_answers_of_a_suite_with_the_rows_of_its_prompts(tmp_path, capsys):
    row = {"prompt": "p", "constraints": [{"kind": "no_commas", "values": []}]}
    (tmp_path / "rows").write_text(json.dumps(row))
    answers = [{"model": name, "prompt": "p", "responses": [name]} for name in ("a, b", "a")]
    (tmp_path / "answers").write_text("\n".join(map(json.dumps, answers)))

    files = [f"{name}={tmp_path / 'answers'}" for name in ("a, b", "a")]
    score_main([*files, "--rows", str(tmp_path / "rows")])

    assert capsys.readouterr().out.splitlines()[-1] == "| no_commas | 1 | 0 | 1 |"


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("c", [], "has a, b, not c; write MODEL=FILE"),
        ("a", [], "prompts without constraints; add --rows"),
        ("a", ["--rows", "no.jsonl"], "--rows no.jsonl is not a file"),
    ],
)
def test_score_names_what_the_answers_of_a_suite_lack(tmp_path, capsys, name, more, message):
    answers = [{"model": model, "prompt": "p", "responses": ["x"]} for model in "ab"]
    (tmp_path / "answers").write_text("\n".join(map(json.dumps, answers)))
    with pytest.raises(SystemExit, match="2"):
        score_main([f"{name}={tmp_path / 'answers'}", *more])
    assert message in capsys.readouterr().err


def test_score_rejects_files_of_other_prompts(tmp_path):
    row = {"constraints": [{"kind": "no_commas", "values": []}], "responses": ["a"]}
    for name in ("first", "second"):
        (tmp_path / name).write_text(json.dumps(row | {"prompt": name}))

    with pytest.raises(SystemExit):
        score_main([str(tmp_path / "first"), str(tmp_path / "second")])


def test_score_names_a_missing_file(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        score_main([f"before={tmp_path / 'nothing.jsonl'}"])
    assert "nothing.jsonl is not a file" in capsys.readouterr().err


def test_score_names_the_package_that_ifeval_needs(tmp_path, capsys, monkeypatch):
    row = {"prompt": "p", "instruction_id_list": [], "kwargs": [], "responses": ["a"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    monkeypatch.setattr("rlhf.rewards.verifiers.ifeval.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks.ifeval.utils", None)  # an import fails
    with pytest.raises(SystemExit, match="2"):
        score_main([str(tmp_path / "rows.jsonl")])
    assert "rlhf[ifeval]" in capsys.readouterr().err


def test_score_names_the_data_that_ifeval_needs(tmp_path, capsys, monkeypatch):
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    row = {"prompt": "p", "instruction_id_list": [], "kwargs": [], "responses": ["a"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(SystemExit, match="2"):
        score_main([f"before={tmp_path / 'rows.jsonl'}"])
    printed = capsys.readouterr().err
    assert "before: " in printed
    assert "NLTK_DATA" in printed


def test_score_uses_the_benchmark_own_checks(tmp_path, capsys, monkeypatch):
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "find", lambda name: name)  # a check of commas needs no data
    pytest.importorskip("lm_eval.tasks.ifeval.utils")
    row = {
        "key": 1,
        "prompt": "Write no comma.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    }
    for name, text in {"before": "a, b", "after": "a b"}.items():
        (tmp_path / name).write_text(json.dumps(row | {"responses": [text]}))

    score_main([f"before={tmp_path / 'before'}", f"after={tmp_path / 'after'}"])

    strict = [line for line in capsys.readouterr().out.splitlines() if "| strict |" in line]
    assert strict[0].startswith("| before | strict | 0.0")
    assert strict[1].startswith("| after | strict | 100.0")
