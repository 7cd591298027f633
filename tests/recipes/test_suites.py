"""`rlhf evaluate --suite`: the shipped suites on a tiny model, and a test of regressions."""

import json
import re
import runpy
import sys
from dataclasses import replace

import pytest

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.sampling import load_policy_model
from rlhf.evaluation.suites import respond
from rlhf.evaluation.suites.answers import answer_suite, read_answers, write_answers
from rlhf.evaluation.suites.prompts import read_prompts
from rlhf.evaluation.suites.respond import loaded_model
from rlhf.evaluation.suites.suite import find_suites
from rlhf.models.generation.generate import sample_responses
from tests.rollouts.fake_chat_server import FakeChatServer
from tests.tiny_models import make_model

YAML = """
prompts: prompts.jsonl
max_completion_length: 6
temperature: 1
num_generations: 2
figures:
  short: {score: "score.py:short"}
  second: {score: "score.py:second", turn: 2, where: {kind: two}}
"""
SCORE = """
def short(prompts, completions, **columns):
    return [float(len(one if isinstance(one, str) else one[0]["content"]) < LIMIT)
            for one in completions]

def second(prompts, completions, earlier, **columns):
    assert all(len(one) == 1 for one in earlier)
    return [None if prompt[0]["content"].endswith("0?") else 1.0 for prompt in prompts]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "first")


@pytest.fixture
def folder(tmp_path):
    """A suite of six prompts, three of them with two turns, scored by a function."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "suite.yaml").write_text(YAML)
    (folder / "score.py").write_text(SCORE.replace("LIMIT", "1000"))
    rows = [{"prompt": f"Say {n}.", "kind": "one"} for n in range(3)]
    rows += [{"turns": [f"Where is {n}?", "Why?"], "kind": "two"} for n in range(3)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def evaluate(root, monkeypatch, suite, model, output, *words):
    keys = [f"--suite={suite}", f"--models={model}", f"--output_dir={output}", "--cpu_threads=1"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *keys, *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "recipes" / "evaluate.py"), run_name="__main__")
    return ended.value.code


def figures(output):
    content = json.loads((output / "evaluation.json").read_text())
    return {r["axis"]: r["value"] for r in content["results"] if "subset" not in r}, content


def test_second_turn_continues_the_sampled_conversation(folder, model, monkeypatch, capsys):
    """Greedy: the second response is that to the conversation with the first one.

    Six prompts in batches of four, then the three that have a second turn.
    """
    monkeypatch.setattr("rlhf.runtime.progress.SECONDS", 0.0)
    text = YAML.replace("temperature: 1", "temperature: 0").replace("num_generations: 2", "")
    (folder / "suite.yaml").write_text(text)
    (suite,) = find_suites(str(folder), [], {})
    with BadRows() as bad_rows:
        prompts = read_prompts(suite, bad_rows)
    chat = load_tokenizer(str(model))
    evaluated = load_policy_model("m", str(model), chat, device="cpu", bf16=False)
    responder = loaded_model(evaluated, batch_size=4)
    own = answer_suite("m", responder, suite, prompts, range(6), seed=0)
    assert [len(one.responses) for one in own] == [1, 1, 1, 2, 2, 2]
    assert re.findall(f"m, {suite.name}: (.*?)(?:,|$)", capsys.readouterr().out, re.M) == [
        "4 of 6", "6 of 6", "3 of 3",
    ]  # fmt: skip
    turns = [
        {"role": "user", "content": "Where is 0?"},
        {"role": "assistant", "content": own[3].responses[0]},
        {"role": "user", "content": "Why?"},
    ]
    [[expected]] = sample_responses(
        evaluated.model, chat, [turns],
        num_responses=1, max_new_tokens=6, temperature=0, seed=0, batch_size=None,
    )  # fmt: skip
    assert own[3].responses[1] == expected.text
    responder = loaded_model(evaluated, batch_size=1)
    part = answer_suite("m", responder, suite, prompts, [4, 1], seed=0)
    assert [one.responses for one in part] == [own[4].responses, own[1].responses]


def test_regression_ends_with_status_1(root, tmp_path, monkeypatch, capsys, folder, model):
    """The same model passes. A baseline with shorter responses fails it, by a function that has
    changed since: both runs are scored by the present one. Another sampling is not compared."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert evaluate(root, monkeypatch, folder, model, first) == 0
    values, content = figures(first)
    assert values == {"mine short": 1.0, "mine second": 1.0}
    answers = read_answers(first)
    assert len(answers) == 12
    assert {one.sample for one in answers} == {0, 1}
    zero = [one for one in answers if one.prompt == "Where is 0?"]
    assert [one.values["second"] for one in zero] == [[], []]
    assert [one.values["short"] for one in zero] == [[1.0], [1.0]]
    assert content["changes"] == []

    baseline = f"--baseline={first}"
    assert evaluate(root, monkeypatch, folder, model, second, baseline) == 0
    _, content = figures(second)
    assert [change["change"] for change in content["changes"]] == [0.0, 0.0]
    assert read_answers(second) == answers  # the same seed

    empty = [replace(one, responses=[""] * len(one.responses)) for one in answers]
    write_answers(first, empty)
    (folder / "score.py").write_text(SCORE.replace("LIMIT", "1"))
    capsys.readouterr()
    third = tmp_path / "third"
    assert evaluate(root, monkeypatch, folder, model, third, baseline) == 1
    printed = capsys.readouterr()
    assert "[regression]" in printed.err
    assert "mine short" in printed.err
    assert "worse" in printed.out
    page = (third / "report.html").read_text()
    assert "Worse than the baseline: mine short of first (2 figures compared)." in page
    assert "Since the baseline" not in (first / "report.html").read_text()
    short, second_turn = figures(third)[1]["changes"]
    assert (short["before"], short["regressed"]) == (1.0, True)
    assert (second_turn["change"], second_turn["regressed"]) == (0.0, False)

    (folder / "suite.yaml").write_text(YAML.replace("temperature: 1", "temperature: 0"))
    assert evaluate(root, monkeypatch, folder, model, tmp_path / "fourth", baseline) == 2
    assert "[other-run]" in capsys.readouterr().err

    # Other prompts are found before anything is sampled.
    (folder / "suite.yaml").write_text(YAML)
    rows = (folder / "prompts.jsonl").read_text()
    (folder / "prompts.jsonl").write_text(rows.replace("Say", "Shout").replace("Where", "Who"))
    assert evaluate(root, monkeypatch, folder, model, tmp_path / "fifth", baseline) == 2
    printed = capsys.readouterr()
    assert "no prompt in common" in printed.err
    assert "6 prompts" not in printed.out
    assert not (tmp_path / "fifth").exists()


def test_interrupted_run_equals_the_uninterrupted_one(
    root, tmp_path, monkeypatch, capsys, folder, model
):
    """12 responses to first turns and 6 to second ones, in batches of 4: 3 and 2. The fourth is
    interrupted, so two are left; then a figure fails, and nothing is sampled again."""
    whole, output, words = tmp_path / "whole", tmp_path / "run", ["--per_device_eval_batch_size=4"]
    assert evaluate(root, monkeypatch, folder, model, whole, *words) == 0
    generate, batches = respond.generate, []

    def interrupted(*arguments, **keys):
        batches.append(keys["seed"])
        if len(batches) == 4:
            raise KeyboardInterrupt
        return generate(*arguments, **keys)

    monkeypatch.setattr(respond, "generate", interrupted)
    assert evaluate(root, monkeypatch, folder, model, output, *words) == 130
    assert len((output / "suite_answers.jsonl.0.partial").read_text().splitlines()) == 1 + 12
    with monkeypatch.context() as patch:
        patch.setattr("rlhf.evaluation.suites.run.score_answers", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate(root, monkeypatch, folder, model, output, *words)
    assert len(batches) == 6
    load = "rlhf.evaluation.suites.sample.load_policy_model"
    monkeypatch.setattr(load, lambda *_, **__: pytest.fail("loaded"))
    assert evaluate(root, monkeypatch, folder, model, output, *words) == 0
    assert "continues after 18 responses" in capsys.readouterr().out
    for name in ("evaluation.json", "suite_answers.jsonl"):
        assert (output / name).read_text() == (whole / name).read_text()
    assert not (output / "suite_answers.jsonl.0.partial").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--baseline=OUT"], "baseline"),
        (["--resume_from_checkpoint=latest"], "resume_from_checkpoint"),
        (["--judge_model=x"], "judge"),
        (["--baseline=nowhere"], "nowhere"),
        (["--baseline="], "baseline is empty"),
    ],
)
def test_key_without_effect_is_rejected(
    root, tmp_path, monkeypatch, capsys, folder, model, words, named
):
    output = tmp_path / "out"
    words = [word.replace("OUT", str(output)) for word in words]
    assert evaluate(root, monkeypatch, folder, model, output, *words) == 2
    assert named in capsys.readouterr().err
    assert not output.exists()


def test_shipped_suites_run(root, tmp_path, monkeypatch, capsys, model):
    """Six prompts of those without a judge; the others name what they miss, or what they plan."""
    words = ["--max_prompts=6", "--only", "over_refusal", "sycophancy"]
    suites = root / "recipes" / "suites"
    assert evaluate(root, monkeypatch, suites, model, tmp_path / "out", *words) == 0
    values, content = figures(tmp_path / "out")
    assert "over_refusal refused_harmless" in values
    assert content["suites"]["sycophancy"]["sha256"]
    dry = ["--dry_run=true", "--only", "two_turn", f"--judge={model}"]
    assert evaluate(root, monkeypatch, suites, model, tmp_path / "dry", *dry) == 0
    assert "two_turn: 24 prompts, 48 responses, 2 figures" in capsys.readouterr().out
    without = ["--only", "two_turn"]
    assert evaluate(root, monkeypatch, suites, model, tmp_path / "no", *without) == 2
    assert "--judge" in capsys.readouterr().err
    missing = ["--only", "ifeval"]
    assert evaluate(root, monkeypatch, suites, model, tmp_path / "no", *missing) == 2
    assert "--prompts ifeval=FILE" in capsys.readouterr().err


def test_model_behind_an_address_answers_turn_by_turn(root, tmp_path, monkeypatch, capsys, folder):
    """Each of 9 questions twice; the second turn is asked with the first response."""
    server = FakeChatServer()
    output = tmp_path / "run"
    assert evaluate(root, monkeypatch, folder, f"far={server.address}#x", output) == 0
    answers = read_answers(output)
    assert {one.model for one in answers} == {"far"}
    assert [one.responses for one in answers if one.prompt == "Where is 1?"] == [
        ["x: Where is 1?", "x: Why?"]
    ] * 2
    second = [content for _, content in server.asked if len(content["messages"]) == 3]
    assert {content["messages"][1]["content"][:8] for content in second} == {"x: Where"}
    assert (len(second), len(server.asked)) == (6, 18)
    assert len({content["seed"] for _, content in server.asked}) == 18
    assert evaluate(root, monkeypatch, folder, f"far={server.address}#other", tmp_path / "no") == 2
    assert "[unknown-name]" in capsys.readouterr().err
    server.close()
