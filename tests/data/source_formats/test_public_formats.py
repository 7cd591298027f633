"""Rows of public sets, in their published columns, become these rows and no others."""

import json
from collections import Counter
from pathlib import Path

import pytest

from rlhf.data.convert import Conversion, convert, main
from rlhf.data.source_formats.formats import SHAPES
from rlhf.errors import ConfigError, DataError


def converted(tmp_path: Path, name: str, *rows: dict, dropping: bool = False) -> Conversion:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return convert(str(path), name, dropping=dropping)


def steered(prompt: str, response: str, helpfulness: int) -> dict:
    other = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 2}
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **other}


def test_helpsteer2_ranks_answers_that_follow_each_other(tmp_path: Path):
    """3 beats 1, and 2 ties 2; a prompt met again later is another ranking."""
    made = converted(
        tmp_path,
        "helpsteer2",
        steered("Name a bird.", "A robin.", 3),
        steered("Name a bird.", "A chair.", 1),
        steered("Name a tree.", "An oak.", 2),
        steered("Name a tree.", "An elm.", 2),
        steered("Name a bird.", "A wren.", 0),
        steered("Name a bird.", "A crow.", 4),
    )
    assert made.rows == [
        {"prompt": "Name a bird.", "responses": ["A robin.", "A chair."], "ranks": [1, 2]},
        {"prompt": "Name a tree.", "responses": ["An oak.", "An elm."], "ranks": [1, 1]},
        {"prompt": "Name a bird.", "responses": ["A wren.", "A crow."], "ranks": [2, 1]},
    ]
    assert made.lines("helpsteer2") == [
        "1 rankings tie all their answers, and are kept",
        "columns not used: correctness, coherence, complexity, verbosity",
    ]


def test_helpsteer2_prompts_of_several_turns_become_messages(tmp_path: Path):
    prompt = "Hi.\n\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nName a bird."
    made = converted(tmp_path, "helpsteer2", steered(prompt, "a", 0), steered(prompt, "b", 4))
    assert made.rows[0]["prompt"] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a bird."},
    ]


def test_helpsteer2_answers_without_company_or_mark_are_named(tmp_path: Path):
    rows = [steered("p", "a", 1), steered("q", "a", 1), steered("q", "b", 5)]
    with pytest.raises(DataError) as error:
        converted(tmp_path, "helpsteer2", *rows)
    assert "in.jsonl:1 no second answer to its prompt in the rows around it" in str(error.value)
    assert "in.jsonl:2 no helpfulness from 0 to 4: '5'" in str(error.value)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (-3, {"ranks": [1, 2], "strength": 3}),
        (0, {"ranks": [1, 1]}),
        (1, {"ranks": [2, 1], "strength": 1}),
    ],
)
def test_helpsteer2_preferences(tmp_path: Path, strength: int, expected: dict):
    row = {
        "split": "train",
        "prompt": "p",
        "response_1": "a",
        "response_2": "b",
        "preference_strength": strength,
        "preference_statement": "",
        "preference_elaboration": "",
        "three_most_similar_preferences": [{"statement": "", "elaboration": "", "strength": -3}],
        "all_preferences_unprocessed": [{"statement": "", "elaboration": "", "strength": -100}],
    }
    made = converted(tmp_path, "helpsteer2", row, row)
    shared = {"prompt": "p", "responses": ["a", "b"], "split": "train"}
    assert made.rows == [shared | expected] * 2
    assert "1 rows repeat another, and are kept" in made.lines("helpsteer2")


def votes(*scores: object) -> dict:
    people = [
        {"score": score, "reasoning": "r", "feedback1": "f", "feedback2": "g"} for score in scores
    ]
    return {
        "domain": "general",
        "language": "english",
        "context": [{"role": "user", "content": "Name a bird."}],
        "response1": "A robin.",
        "response2": "A chair.",
        "overall_preference": -2,
        "individual_preference": people,
    }


def test_helpsteer3_gives_a_ranking_for_each_annotator(tmp_path: Path):
    """Below 0 the first is better; the strength is the distance from 0."""
    made = converted(tmp_path, "helpsteer3", votes(-3, 0, 2, None))
    shared = {
        "prompt": [{"role": "user", "content": "Name a bird."}],
        "responses": ["A robin.", "A chair."],
        "domain": "general",
        "language": "english",
    }
    assert made.rows == [
        shared | {"ranks": [1, 2], "strength": 3, "annotator": "annotator1"},
        shared | {"ranks": [1, 1], "annotator": "annotator2"},
        shared | {"ranks": [2, 1], "strength": 2, "annotator": "annotator3"},
    ]
    assert made.left_out == Counter({"annotator without a score from -3 to 3": 1})


def test_helpsteer3_needs_no_overall_preference_where_people_voted(tmp_path: Path):
    made = converted(tmp_path, "helpsteer3", votes(-1) | {"overall_preference": None})
    assert [row["ranks"] for row in made.rows] == [[1, 2]]


@pytest.mark.parametrize("people", [None, [], [{"score": None}], [None]])
def test_helpsteer3_without_a_single_vote_takes_the_overall_one(tmp_path: Path, people):
    made = converted(tmp_path, "helpsteer3", votes() | {"individual_preference": people})
    [row] = made.rows
    assert (row["ranks"], row["strength"], "annotator" in row) == ([1, 2], 2, False)


def completion(response: object, *ratings: object) -> dict:
    axes = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    return {
        "model": "m",
        "principle": "helpfulness",
        "custom_system_prompt": "Be helpful.",
        "response": response,
        "overall_score": 10.0,
        "annotations": {
            axis: {"Rating": rating, "Rationale": ""}
            for axis, rating in zip(axes, ratings, strict=True)
        },
    }


def feedback(*completions: object) -> dict:
    return {
        "source": "sharegpt",
        "instruction": "Name a bird.",
        "models": ["m"] * len(completions),
        "completions": list(completions),
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }


def test_ultrafeedback_ranks_by_the_mean_rating(tmp_path: Path):
    """Means 4.5, 2.75, 4.5 and 1.25; what `overall_score` says does not count."""
    row = feedback(
        completion("a", "5", "4", "4", "5"),
        completion("b", "2", "3", "3", "3"),
        completion("c", "4", "5", "5", "4"),
        completion("d", "1", "1", "1", "2"),
    )
    made = converted(tmp_path, "ultrafeedback", row)
    assert made.rows == [
        {
            "prompt": "Name a bird.",
            "responses": ["a", "b", "c", "d"],
            "ranks": [1, 3, 1, 4],
            "models": ["m"] * 4,
        }
    ]
    assert made.lines("ultrafeedback") == [
        "columns not used: source, models, correct_answers, incorrect_answers",
        "overall_score and the system prompt, of each answer its own, are not used",
    ]


def test_ultrafeedback_compares_on_axes_that_all_are_rated_on(tmp_path: Path):
    """Without honesty a has 5, 1, 1 and b 1, 5, 5: b is better. With it a would have 5, 5, 1, 1."""
    row = feedback(
        completion("a", "5", "5", "1", "1"),
        completion("b", "1", "N/A", "5", "5"),
        completion("c", "N/A", "N/A", "N/A", "N/A"),
        completion("", "5", "5", "5", "5"),
        completion(None, "5", "5", "5", "5"),
    )
    made = converted(tmp_path, "ultrafeedback", row)
    assert (made.rows[0]["responses"], made.rows[0]["ranks"]) == (["a", "b"], [2, 1])
    assert made.left_out == Counter(
        {
            "answer without text": 2,
            "answer without a rating": 1,
            "axis that not all answers of its row are rated on": 1,
        }
    )


@pytest.mark.parametrize(
    ("completions", "reason"),
    [
        ([], "no answers to compare: fewer than two are rated"),
        ([completion("a", "1", "1", "1", "1")], "fewer than two are rated"),
        (
            [completion("a", "1", None, None, None), completion("b", None, "1", None, None)],
            "they share no rated axis",
        ),
        ([None], "no completions, each with response and annotations"),
    ],
)
def test_ultrafeedback_rows_without_a_comparison_are_refused(tmp_path, completions, reason):
    with pytest.raises(DataError, match=reason):
        converted(tmp_path, "ultrafeedback", feedback(*completions))


def bench(subset: str, chosen: list, rejected: list, correct: int) -> dict:
    return {
        "id": "17",
        "prompt": "Name a colour.",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": correct,
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["m"] * (len(chosen) + len(rejected)),
        "subset": subset,
        "additional_metadata": {"category": None},
    }


def test_rewardbench2_has_one_right_answer_or_several_that_tie(tmp_path: Path):
    made = converted(
        tmp_path,
        "rewardbench2",
        bench("Focus", ["Red."], ["A cup.", "A dog.", "Ten."], 1),
        bench("Ties", ["Red.", "Blue."], ["A cup.", "Ten."], 2),
    )
    assert made.rows == [
        {
            "prompt": "Name a colour.",
            "responses": ["Red.", "A cup.", "A dog.", "Ten."],
            "ranks": [1, 2, 2, 2],
            "id": "17",
            "subset": "Focus",
        },
        {
            "prompt": "Name a colour.",
            "responses": ["Red.", "Blue.", "A cup.", "Ten."],
            "ranks": [1, 1, 3, 3],
            "id": "17",
            "subset": "Ties",
        },
    ]
    assert made.lines("rewardbench2") == ["columns not used: models, additional_metadata"]
    with pytest.raises(DataError, match=r"no 2 right answers .num_correct.: 1 chosen"):
        converted(tmp_path, "rewardbench2", bench("Ties", ["Red."], ["Ten."], 2))


@pytest.mark.parametrize(
    ("scores", "ranks"), [((0.75, -0.75), [1, 2]), ((0.0, 0.0), [1, 1]), ((-1.0, 1.0), [2, 1])]
)
def test_webgpt_orders_by_the_sign_of_the_scores(tmp_path: Path, scores, ranks):
    row = {
        "question": {"dataset": "eli5", "id": "x1", "full_text": "Why is the sky blue?"},
        "quotes_0": {"title": ["t"], "extract": ["e"]},
        "answer_0": "It scatters light [1].",
        "tokens_0": {"prefix": [1], "completion": [2]},
        "score_0": scores[0],
        "quotes_1": {"title": [], "extract": []},
        "answer_1": "It is paint.",
        "tokens_1": {"prefix": [1], "completion": [3]},
        "score_1": scores[1],
    }
    made = converted(tmp_path, "webgpt", row)
    answers = ["It scatters light [1].", "It is paint."]
    assert made.rows == [{"prompt": "Why is the sky blue?", "responses": answers, "ranks": ranks}]
    assert "columns not used: quotes_0, tokens_0, quotes_1, tokens_1" in made.lines("webgpt")


@pytest.mark.parametrize(("label", "ranks"), [(1, [1, 2]), (0, [2, 1])])
def test_shp_prefers_a_by_label_1(tmp_path: Path, label: int, ranks: list[int]):
    row = {
        "post_id": "abc",
        "domain": "askbaking_train",
        "upvote_ratio": 0.98,
        "history": "How long does bread keep?",
        "c_root_id_A": "a1",
        "c_root_id_B": "b1",
        "created_at_utc_A": 1,
        "created_at_utc_B": 2,
        "score_A": 34,
        "score_B": 17,
        "human_ref_A": "Three days.",
        "human_ref_B": "It depends.",
        "labels": label,
        "seconds_difference": 1.0,
        "score_ratio": 2.0,
    }
    made = converted(tmp_path, "shp", row)
    assert made.rows == [
        {
            "prompt": "How long does bread keep?",
            "responses": ["Three days.", "It depends."],
            "ranks": ranks,
            "strength": 2.0,
        }
    ]
    assert made.unused[:3] == ["post_id", "domain", "upvote_ratio"]


def test_sharegpt_keeps_system_prompts_tools_and_calls():
    """LLaMA-Factory's columns; a call and what it gives are turns of assistant and tool."""
    weather = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    row = {
        "conversations": [
            {"from": "human", "value": "Rain?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"at": "Bonn"}}'},
            {"from": "observation", "value": '{"rain": true}'},
            {"from": "gpt", "value": "Yes."},
        ],
        "system": "Be brief.",
        "tools": json.dumps([weather]),
    }
    call = {"type": "function", "function": {"name": "weather", "arguments": {"at": "Bonn"}}}
    assert SHAPES["sharegpt"].convert(row).rows == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Rain?"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": '{"rain": true}'},
                {"role": "assistant", "content": "Yes."},
            ],
            "tools": [{"type": "function", "function": weather}],
        }
    ]


def test_sharegpt_pairs_and_thumbs(tmp_path: Path):
    asked = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}]
    pair = {
        "conversations": asked,
        "chosen": {"from": "gpt", "value": "Hello."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    [row] = converted(tmp_path, "sharegpt", pair).rows
    assert row == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    whole = [*asked, {"from": "gpt", "value": "Hello."}]
    made = converted(
        tmp_path,
        "sharegpt",
        {"conversations": whole, "kto_tag": True},
        {"conversations": whole, "kto_tag": False},
    )
    assert (len(made.rows), sum(made.left_out.values())) == (1, 1)


def test_two_system_prompts_that_differ_are_refused(tmp_path: Path):
    turns = [{"from": "system", "value": "Be kind."}, {"from": "gpt", "value": "Hello."}]
    with pytest.raises(DataError, match="the column and the first turn differ"):
        converted(tmp_path, "sharegpt", {"conversations": turns, "system": "Be brief."})


def test_alpaca_rows_keep_system_history_and_input(tmp_path: Path):
    row = {
        "instruction": "And her sister?",
        "input": "One word.",
        "output": "Kim.",
        "system": "Be brief.",
        "history": [["Who is Ada's friend?", "Jo."]],
    }
    made = converted(tmp_path, "instruction", row, row | {"history": None, "input": None})
    assert made.rows[0] == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who is Ada's friend?"},
            {"role": "assistant", "content": "Jo."},
            {"role": "user", "content": "And her sister?\n\nOne word."},
            {"role": "assistant", "content": "Kim."},
        ]
    }
    assert made.rows[1] == {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "And her sister?"},
        ],
        "completion": "Kim.",
    }
    pair = {"instruction": "Hi", "input": "", "chosen": "Hello.", "rejected": "No."}
    assert converted(tmp_path, "instruction", pair).rows == [
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}
    ]


def test_dolly_and_openorca_rows(tmp_path: Path):
    dolly = {"instruction": "Where?", "context": "In the hall.", "response": "Hall."}
    assert converted(tmp_path, "instruction", dolly).rows == [
        {"prompt": "Where?\n\nIn the hall.", "completion": "Hall."}
    ]
    orca = {"id": "x", "system_prompt": "Be brief.", "question": "Hi?", "response": "Hello."}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    assert converted(tmp_path, "question_answer", orca, orca | {"system_prompt": ""}).rows == [
        {"prompt": turns, "completion": "Hello."},
        {"prompt": "Hi?", "completion": "Hello."},
    ]


@pytest.mark.parametrize("context", ["In the hall.", ["In the", "hall."]])
def test_a_question_stands_below_its_passage(tmp_path: Path, context):
    made = converted(
        tmp_path, "question_answer", {"question": "Where?", "context": context, "answer": "Hall."}
    )
    passage = "In the hall." if isinstance(context, str) else "In the\n\nhall."
    assert made.rows == [{"prompt": f"{passage}\n\nWhere?", "completion": "Hall."}]


@pytest.mark.parametrize(
    ("name", "row", "column"),
    [
        ("thumbs", {"prompt": "p", "completion": "c", "label": True, "system": "s"}, "system"),
        ("question_answer", {"question": "q", "answer": "B", "choices": ["a", "b"]}, "choices"),
        ("sharegpt", {"conversations": [], "images": ["a.png"]}, "images"),
        ("scored", {"prompt": "p", "responses": ["a"], "scores": [1], "history": "h"}, "history"),
    ],
)
def test_what_an_answer_depends_on_does_not_vanish(tmp_path: Path, name, row, column):
    with pytest.raises(DataError, match=f"no way to convert {column}: the answer may depend on"):
        converted(tmp_path, name, row)


EARLY = {
    "chosen": "\n\nHuman: Bread?\n\nAssistant: Wrap it.\n\nHuman: A week?\n\nAssistant: Freeze it.",
    "rejected": "\n\nHuman: Bread?\n\nAssistant: No.\n\nHuman: A week?\n\nAssistant: Buy more.",
}
SHORTER = {
    "chosen": "\n\nHuman: A bird?\n\nAssistant: A robin.\n\nHuman: Thanks.\n\nAssistant: Welcome.",
    "rejected": "\n\nHuman: A bird?\n\nAssistant: I know none.",
}
LAST = {
    "chosen": "\n\nHuman: A bird?\n\nAssistant: A robin.",
    "rejected": "\n\nHuman: A bird? \n\nAssistant: A chair.",
}


def test_hh_transcripts_that_part_early_are_dropped_and_counted(tmp_path: Path):
    """Space around a turn is no difference."""
    made = converted(tmp_path, "hh", EARLY, SHORTER, LAST, dropping=True)
    assert [(row["chosen"], row["rejected"]) for row in made.rows] == [("A robin.", "A chair.")]
    assert made.lines("hh") == [
        "dropped: 2 x no prompt that both share: chosen and rejected part before their last answers"
    ]
    with pytest.raises(DataError, match=r"in\.jsonl:1 no prompt that both share(.|\n)*jsonl:2 no"):
        converted(tmp_path, "hh", EARLY, SHORTER, LAST)


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": LAST["chosen"] + "\n\nHuman: Thanks.", "rejected": LAST["chosen"]},
        {
            "prompt": "\n\nHuman: A bird?\n\nAssistant:",
            "chosen": " A.\n\nHuman: B",
            "rejected": "C",
        },
    ],
)
def test_an_hh_answer_with_a_turn_behind_it_is_refused(tmp_path: Path, row: dict):
    with pytest.raises(DataError, match="no one answer: chosen or rejected goes on"):
        converted(tmp_path, "hh", row)


def test_step_labels_are_refused_with_the_reason(tmp_path: Path):
    with pytest.raises(ConfigError, match="labels the steps of one solution, and rlhf trains"):
        converted(tmp_path, "prm800k", {"labeler": "x", "question": {}, "label": {"steps": []}})


def test_what_was_dropped_and_left_out_is_printed(tmp_path: Path, capsys):
    path = tmp_path / "in.jsonl"
    rows = [votes(-3, None), votes() | {"response1": None}, votes() | {"overall_preference": 9}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main([str(path), "--from", "helpsteer3", "--output", str(tmp_path / "o"), "--drop_bad_rows"])
    assert capsys.readouterr().out.splitlines() == [
        f"{path} (helpsteer3): 1 rows in {tmp_path / 'o'}, 2 dropped",
        "  dropped: 1 x no response1 that is text",
        "  dropped: 1 x no overall_preference from -3 to 3: '9'",
        "  left out: 1 x annotator without a score from -3 to 3",
        "  annotator1, annotator2, … are positions in a row, not the same people throughout",
    ]


FOUND = {
    "helpsteer2": steered("p", "a", 1),
    "helpsteer3": votes(-3),
    "ultrafeedback": feedback(completion("a", *"1111"), completion("b", *"1111")),
    "rewardbench2": bench("Ties", ["a"], ["b"], 1),
    "webgpt": {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 0.0, "score_1": 0.0},
    "shp": {"history": "h", "human_ref_A": "a", "human_ref_B": "b", "labels": 1},
    "sharegpt": {"conversations": [{"from": "human", "value": "x"}]},
    "hh": LAST,
    "summeval": {"prompt": "p", "responses": ["a"], "scores": {"x": [1]}},
    "scored": {"prompt": "p", "responses": ["a"], "scores": [1]},
    "instruction": {"instruction": "i", "output": "o", "input": ""},
    "question_answer": {"question": "q", "answer": "a"},
    "thumbs": {"prompt": "p", "completion": "c", "label": False},
}


@pytest.mark.parametrize("name", FOUND)
def test_a_shape_is_found_by_the_first_rows(tmp_path: Path, capsys, name: str):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(FOUND[name]) + "\n")
    main([str(path)])
    sentence, command = capsys.readouterr().out.splitlines()
    assert sentence.startswith(f"{path}: its first 1 rows fit `{name}`: ")
    assert command == f"  rlhf data convert {path} --from {name} --output ROWS.jsonl"


def test_several_shapes_none_and_rows_that_need_no_conversion(tmp_path: Path, capsys):
    def told(*rows: dict) -> str:
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        main([str(path)])
        return capsys.readouterr().out.replace(str(path), "FILE")

    both = told({"text": "One two three four five six seven.", "label": 1})
    assert "several shapes fit its first 1 rows" in both
    assert "--from opening " in both
    assert "--from sentiment " in both
    assert told({"a": 1}, {"b": 2}).startswith(
        "FILE: no known shape fits its first 2 rows, of the columns a, b."
    )
    assert "Kept for reward functions, and nothing else: response_0." in told(
        {"prompt": "p", "response_0": "a"}
    )
    bad = {"chosen": LAST["chosen"], "rejected": None}
    assert "its first 2 rows fit `hh`" in told(bad, LAST)
    assert told({"prompt": "p", "completion": "c"}) == (
        "FILE: its rows are demonstrations, which the recipes take as they are.\n"
    )
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert "its rows are rankings, which the recipes take" in told(pair)
    assert "cannot take the first one as it is: messages: roles user; the last" in told(
        {"messages": [{"role": "user", "content": "q"}], "ground_truth": "a"}
    )
    scored = told({**pair, "score_chosen": 8.5, "score_rejected": 3.0})
    assert "its rows are rankings, which the recipes take" in scored
    assert "score_columns: strength, or ignore" in scored
    assert "They are not `scored`, which has these columns: no scores" in told(
        {"prompt": "p", "responses": ["a", "b"], "scores": ["high", "low"]}
    )
    assert "prm800k, which cannot be converted: it labels the steps" in told(
        {"labeler": "x", "question": {"problem": "p"}, "label": {"steps": []}}
    )
    assert "each row is one message of a tree" in told(
        {"message_id": "1", "parent_id": None, "text": "t", "role": "prompter"}
    )


def test_a_conversion_needs_a_file_to_write(tmp_path: Path):
    with pytest.raises(ConfigError, match="--from hh needs --output"):
        main([str(tmp_path / "in.jsonl"), "--from", "hh"])
