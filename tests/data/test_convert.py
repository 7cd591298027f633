"""Files of other formats become rows that recipes read; every loss is counted."""

import json
from pathlib import Path

import pytest

from rlhf.data.check import check
from rlhf.data.check import main as check_main
from rlhf.data.convert import convert, main
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.data.source_formats.formats import FORMATS
from rlhf.data.source_formats.parts import rank
from rlhf.data.source_formats.preferences import scored
from tests.errors import raises

USER = {"role": "user", "content": "Hi there"}


def test_equal_texts_share_the_mean_of_their_scores():
    """x has scores 3 and 1, whose mean 2 is between 2.5 and 1.5."""
    row = {"prompt": "p", "responses": ["x", "y", "x ", "z"], "scores": [3, 2.5, 1, 1.5]}
    assert scored(row).rows[0]["ranks"] == [2, 1, 2, 4]


def test_equal_scores_share_a_rank_and_skip_the_next():
    assert rank([0.5, 3.0, 1.0, 1.0]) == [4, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        (
            "hh",
            {"prompt": "\n\nHuman: Hi there\n\nAssistant:", "chosen": " Hello", "rejected": " No"},
            [{"prompt": [USER], "chosen": "Hello", "rejected": "No"}],
        ),
        (
            "hh",
            {
                "chosen": "\n\nHuman: Hi there\n\nAssistant: Hello",
                "rejected": "\n\nHuman: Hi there\n\nAssistant: No",
            },
            [{"prompt": [USER], "chosen": "Hello", "rejected": "No"}],
        ),
        (
            "pandalm",
            {"instruction": "Do", "input": "this", "response1": "a", "response2": "b",
             "annotator1": 2, "annotator2": 0},
            [
                {"prompt": "Do\n\nthis", "responses": ["a", "b"], "ranks": [2, 1],
                 "annotator": "annotator1"},
                {"prompt": "Do\n\nthis", "responses": ["a", "b"], "ranks": [1, 1],
                 "annotator": "annotator2"},
            ],
        ),
        (
            "oasst",
            {"messages": [USER], "responses": ["a", "b", "c"], "order": "best_first"},
            [{"prompt": [USER], "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}],
        ),
        (
            "summeval",
            {"prompt": "x", "responses": ["a", "b", "c"],
             "scores": {"coherence": [1, 5, 3], "fluency": [3, 5, 1]}},
            [{"prompt": "x", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]}],
        ),
        (
            "scored",
            {"prompt": "x", "responses": ["a", "b"], "scores": [0.1, 0.9]},
            [{"prompt": "x", "responses": ["a", "b"], "ranks": [2, 1]}],
        ),
        (
            "question_answer",
            {"question": "1 + 1?", "answer": "2"},
            [{"prompt": "1 + 1?", "completion": "2"}],
        ),
        (
            "instruction",
            {"instruction": "Add", "input": "", "output": "2"},
            [{"prompt": "Add", "completion": "2"}],
        ),
        (
            "instruction",
            {"instruction": "Add", "instances": [{"input": "1, 1", "output": "2"}]},
            [{"prompt": "Add\n\n1, 1", "completion": "2"}],
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "Hi there"},
                               {"from": "gpt", "value": "Hello"}]},
            [{"messages": [USER, {"role": "assistant", "content": "Hello"}]}],
        ),
        ("thumbs", {"prompt": "x", "completion": "y", "label": False}, []),
        (
            "thumbs",
            {"prompt": "x", "completion": "y", "label": True},
            [{"prompt": "x", "completion": "y"}],
        ),
        (
            "opening",
            {"text": " One day a cat sat down there.\nIt slept."},
            [{"prompt": "One day a cat sat down", "completion": " there.\nIt slept."}],
        ),
    ],
)  # fmt: skip
def test_row_of_each_format_is_converted(name, row, expected):
    assert FORMATS[name].convert(row).rows == expected


@pytest.mark.parametrize("name", sorted(name for name in FORMATS if not FORMATS[name].unsupported))
@pytest.mark.parametrize("row", [{}, {"prompt": None, "chosen": 3, "scores": 1, "messages": "x"}])
def test_row_of_another_format_is_a_bad_row(tmp_path: Path, name: str, row: dict):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with raises("bad-row", "a.jsonl:1 ", name):
        convert(str(path), name)


def test_converted_row_is_checked_and_named_by_its_source(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "x", "answer": "y"}\n{"question": "x", "answer": " "}\n')
    with raises("bad-row", "a.jsonl:2 completion"):
        convert(str(path), "question_answer")
    conversion = convert(str(path), "question_answer", dropping=True)
    assert (len(conversion.rows), len(conversion.problems)) == (1, 1)


def sentiment_file(tmp_path: Path) -> str:
    path = tmp_path / "sentiment.jsonl"
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(100)]
    rows += [{"text": "both", "label": 0}, {"text": "both", "label": 1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_sentiment_pairs_and_their_split_use_each_text_once(tmp_path: Path, capsys):
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    main([sentiment_file(tmp_path), "--from", "sentiment", "--output", str(train),
          "--eval_output", str(held_out), "--eval_fraction", "0.2"])  # fmt: skip
    assert "40 rows in" in capsys.readouterr().out
    sides = [load_rankings(str(path)).rows for path in (train, held_out)]
    texts = [text for side in sides for row in side for text in row.responses]
    assert sorted(texts) == sorted({f"text {i}" for i in range(100)})
    for row in sides[0]:
        positive, negative = (int(text.split()[1]) % 2 for text in row.responses)
        assert (positive, negative) == (1, 0)
    assert len(sides[1]) == 10


def test_converting_twice_gives_the_same_file(tmp_path: Path):
    source = sentiment_file(tmp_path)
    assert convert(source, "sentiment", seed=3) == convert(source, "sentiment", seed=3)
    assert convert(source, "sentiment", seed=3) != convert(source, "sentiment", seed=4)


def test_held_out_rows_share_no_prompt_with_training_rows(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    rows = [{"question": f"q{i % 20}", "answer": str(i)} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    main([str(path), "--from", "question_answer", "--output", str(train),
          "--eval_output", str(held_out), "--eval_fraction", "0.25"])  # fmt: skip
    prompts = [{row.prompt for row in load_demonstrations(str(p)).rows} for p in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert (len(prompts[0]), len(prompts[1])) == (15, 5)


def test_of_few_prompts_one_is_held_out(tmp_path: Path):
    """A tenth of 3 prompts rounds to 0, but a file to evaluate on was requested."""
    path, train, held_out = (tmp_path / f"{name}.jsonl" for name in ("a", "train", "held_out"))
    rows = [{"question": f"q{i}", "answer": str(i)} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main([str(path), "--from", "question_answer", "--output", str(train),
          "--eval_output", str(held_out)])  # fmt: skip
    assert [len(load_demonstrations(str(p)).rows) for p in (train, held_out)] == [2, 1]


def test_check_describes_a_file(tmp_path: Path):
    """Pairs: a>b (the longer is better), c>a, c>b, and a tie: the rule is right in 1 of 3."""
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "x", "responses": ["longer", "long"], "ranks": [1, 2]},
        {"prompt": "x!", "responses": ["longer", "longer!", "l"], "ranks": [2, 2, 1]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check(str(path), None) == [
        f"{path}: rankings (by the keys of its first row), 2 rows",
        "  1 different prompt",
        "  responses per prompt: 2 in 1 row, 3 in 1 row",
        "  3 pairs with an order, 1 tie; `the longer response is better` is right in 0.333 of them",
    ]


def test_check_names_the_bad_rows_of_every_file(tmp_path: Path, capsys):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"text": "x"}\n')
    bad.write_text('{"prompt": "x", "completion": ""}\n')
    with raises("bad-row", "bad.jsonl:1 completion", "--reject_file"):
        check_main([str(bad), str(good)])
    assert "good.jsonl: texts" in capsys.readouterr().out


def test_check_rejects_a_length_of_0(tmp_path: Path):
    with raises("bad-value", "--max_length 0"):
        check_main([str(tmp_path / "x.jsonl"), "--max_length", "0"])


@pytest.mark.parametrize(
    ("file", "name", "rows", "dropped"),
    [
        ("preferences/hh-helpful-base.jsonl.gz", "hh", 2339, 2),
        ("preferences/hh-harmless-base.jsonl.gz", "hh", 2303, 0),
        ("preferences/pandalm-3-annotators.json.gz", "pandalm", 2817, 60),
        ("rankings/oasst_rankings.jsonl", "oasst", 212, 0),
        ("rankings/summeval.jsonl.gz", "summeval", 100, 0),
        ("corpora/sst2-train.jsonl.gz", "sentiment", 3305, 0),
        ("corpora/tinystories.jsonl.gz", "opening", 2500, 0),
        ("instructions/gsm8k-test.jsonl.gz", "question_answer", 1319, 0),
        ("instructions/self-instruct-seed_tasks.jsonl", "instruction", 175, 0),
    ],
)
def test_real_files_are_converted(
    shared_dir: Path, tmp_path: Path, file: str, name: str, rows: int, dropped: int
):
    conversion = convert(str(shared_dir / "data" / file), name, dropping=True)
    assert (len(conversion.rows), len(conversion.problems)) == (rows, dropped)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in conversion.rows))
    check(str(path), None)


def test_check_has_score_columns_as_a_run_has(tmp_path: Path, capsys):
    """The columns of UltraFeedback binarized; a run has the same key."""
    path = tmp_path / "a.jsonl"
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 7, "score_rejected": 8}
    path.write_text(json.dumps(row) + "\n")
    with raises("bad-row", "score_chosen", "score_columns"):
        check_main([str(path)])
    with raises("bad-row", "score_chosen 7", "score_rejected 8"):
        check_main([str(path), "--score_columns", "strength"])
    check_main([str(path), "--score_columns", "ignore"])
    assert "rankings (by the keys of its first row), 1 row" in capsys.readouterr().out


def test_check_names_the_format_of_rows_to_convert(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n')
    with raises("unknown-format", "`question_answer`", "--from question_answer"):
        check_main([str(path)])
    path.write_text('{"conversation": [], "lang": "en"}\n')
    with raises("unknown-format", "a.jsonl", "conversation, lang"):
        check_main([str(path)])


def test_check_hints_at_a_format_behind_texts_and_prompts(tmp_path: Path):
    """Open-Assistant's messages have a text each, HelpSteer2's responses a prompt."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Hi", "message_id": "1", "role": "prompter"}\n')
    assert check(str(path), None)[-1] == (
        f"  they look like `oasst_messages`: rlhf data convert {path}"
    )
    path.write_text('{"prompt": "Hi", "response": "Hello.", "helpfulness": 4}\n')
    assert "they look like `helpsteer2`" in check(str(path), None)[-1]
    path.write_text('{"prompt": "Hi", "category": "greeting"}\n')
    assert check(str(path), None)[-1] == "  1 different prompt"


def write_csv(path: Path, *lines: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_columns_get_the_names_that_recipes_read(tmp_path: Path, capsys):
    """The label of a CSV file is a number in its new column, as it would be in its own."""
    source = write_csv(tmp_path / "a.csv", "Q;Good one;Bad one;Weight", "Hi?;Hello;No;2.5")
    output = tmp_path / "rows.jsonl"
    columns = ["prompt=Q", "chosen=Good one", "rejected=Bad one", "strength=Weight"]
    main([source, "--columns", *columns, "--output", str(output)])
    row = {"prompt": "Hi?", "chosen": "Hello", "rejected": "No", "strength": 2.5}
    assert [json.loads(line) for line in output.read_text().splitlines()] == [row]
    assert "1 row in" in capsys.readouterr().out
    assert load_rankings(str(output)).rows[0].strength == 2.5


def test_columns_are_found_by_the_case_of_the_file(tmp_path: Path):
    """`Question` becomes `question`, which is a column of other formats."""
    source, output = tmp_path / "a.csv", tmp_path / "a.jsonl"
    source.write_text("Question;Good;Bad\nq;a;b\n")
    main([str(source), "--columns", "prompt=Question", "chosen=Good", "rejected=Bad",
          "--output", str(output)])  # fmt: skip
    assert json.loads(output.read_text()) == {"prompt": "q", "chosen": "a", "rejected": "b"}


def test_renamed_columns_of_another_format(tmp_path: Path):
    source = write_csv(tmp_path / "a.csv", "Aufgabe,Antwort,Thema", "Add,2,maths")
    columns = {"instruction": "Aufgabe", "output": "Antwort"}
    conversion = convert(source, "instruction", columns=columns)
    assert conversion.rows == [{"prompt": "Add", "completion": "2"}]
    assert conversion.unused == ["Thema"]


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["prompt"], "bad-value", ["'prompt'", "NAME=COLUMN"]),
        (["prompt=Q", "prompt=A"], "repeated-key", ["prompt"]),
        (["prompt=Q", "completion=Q"], "repeated-key", ["Q"]),
        (["prompt=Question"], "bad-row", ["a.csv:2", "no column Question", "Q, A"]),
        (["A=Q"], "bad-row", ["a.csv:2", "a column A next to Q"]),
        (["responses=Q"], "bad-row", ["a.csv:2", "responses is not JSON"]),
    ],
)
def test_mistakes_in_columns_are_named(tmp_path: Path, words, code, names):
    source = write_csv(tmp_path / "a.csv", "Q,A", "Hi?,Hello")
    with raises(code, *names):
        main([source, "--columns", *words, "--output", str(tmp_path / "o.jsonl")])
    assert not (tmp_path / "o.jsonl").exists()


def test_files_and_folders_become_one_file(tmp_path: Path, capsys):
    """A row of the second file is named by its own file and line."""
    write_csv(tmp_path / "parts" / "b" / "2.csv", "question,answer", "1 + 1?,2")
    write_csv(tmp_path / "parts" / "1.csv", "question,answer", "1 + 2?,3")
    (tmp_path / "parts" / "README.md").write_text("Parts.\n")
    more = write_csv(tmp_path / "more.csv", "question,answer", "1 + 3?,4")
    output = tmp_path / "rows.jsonl"
    words = [str(tmp_path / "parts"), more, "--from", "question_answer", "--output", str(output)]
    main(words)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["3", "2", "4"]
    write_csv(tmp_path / "parts" / "b" / "2.csv", "question,answer", "1 + 1?,")
    with raises("bad-row", f"{tmp_path / 'parts' / 'b' / '2.csv'}:2"):
        main(words)
    write_csv(tmp_path / "parts" / "b" / "2.csv", "question,answer", "1 + 1?,2")
    capsys.readouterr()
    main([str(tmp_path / "parts")])  # prints the format of each file
    assert capsys.readouterr().out.count("`question_answer` fits") == 2


def test_check_reads_the_files_of_a_folder(tmp_path: Path, capsys):
    write_csv(tmp_path / "one.csv", "prompt,completion", "a,b")
    write_csv(tmp_path / "two.csv", "prompt,completion", "c,d")
    check_main([str(tmp_path)])
    assert capsys.readouterr().out.count("1 row") == 2
    (tmp_path / "none").mkdir()
    with raises("missing-file", tmp_path / "none", ".jsonl"):
        check_main([str(tmp_path / "none")])
