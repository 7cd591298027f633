"""The suite two_turn, graded by judges behind an OpenAI-compatible address."""

import shutil
import threading

import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from rlhf.evaluation.suites.answers import read_answers
from tests.chat.chat_server import serving
from tests.chat.scripted_model import make_scripted
from tests.evaluation.judges.test_remote import judging, reply
from tests.recipes.test_suites import evaluate, figures
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "first")


@pytest.fixture
def suite(root, tmp_path):
    """The shipped suite with short responses."""
    folder = tmp_path / "two_turn"
    shutil.copytree(root / "recipes" / "suites" / "two_turn", folder)
    yaml = folder / "suite.yaml"
    yaml.write_text(
        yaml.read_text().replace("max_completion_length: 512", "max_completion_length: 6")
    )
    return folder


def test_own_server_grades_both_turns(tmp_path, root, monkeypatch, suite, model):
    """`rlhf serve` of a model that always replies [[7]]; a second run is compared."""
    judge = load_chat_model(str(make_scripted(tmp_path / "judge", script=["I say ", "[[7]]"])))
    limits = Limits(slots=4, waiting=64, max_new_tokens=512)
    with serving(tmp_path, {"judge": judge}, limits=limits) as site:
        words = [f"--judge={site.address}/v1", "--judge_model=judge", "--max_prompts=4"]
        first = tmp_path / "first"
        assert evaluate(root, monkeypatch, suite, model, first, *words) == 0
        again = [*words, f"--baseline={first}"]
        assert evaluate(root, monkeypatch, suite, model, tmp_path / "second", *again) == 0
    values, content = figures(first)
    assert values == {"two_turn turn_1": 7.0, "two_turn turn_2": 7.0}
    assert content["ungraded"] == {}
    assert [len(one.responses) for one in read_answers(first)] == [2] * 4
    _, content = figures(tmp_path / "second")
    assert [change["change"] for change in content["changes"]] == [0.0, 0.0]


def test_judge_reads_the_turns_before_the_one_it_grades(tmp_path, root, monkeypatch, suite, model):
    """9 if the conversation has a response, else 3. A second turn without a grade is left out."""

    def respond(body):
        (message,) = body["messages"]
        conversation = message["content"].partition("[Conversation]")[2].partition("[Response]")[0]
        turns = [line.partition(":")[0] for line in conversation.splitlines() if line]
        if turns.count("user") == 2:
            with lock:
                asked.append(conversation)
                is_first = len(asked) == 1
            return reply("No idea." if is_first else "Well: [[9]]")
        return reply("[[3]]")

    asked, lock = [], threading.Lock()
    with judging(respond) as (address, bodies):
        words = [f"--judge={address}", "--judge_model=big", "--max_prompts=5"]
        assert evaluate(root, monkeypatch, suite, model, tmp_path / "out", *words) == 0
    values, content = figures(tmp_path / "out")
    assert values == {"two_turn turn_1": 3.0, "two_turn turn_2": 9.0}
    assert content["ungraded"] == {"two_turn turn_2": 1}
    second = [one.responses[0] for one in read_answers(tmp_path / "out")]
    assert all(any(f"assistant: {text}" in one for one in asked) for text in second)
    assert {body["model"] for body in bodies} == {"big"}


def test_judge_that_is_not_there_stops_before_sampling(
    tmp_path, root, monkeypatch, capsys, suite, model
):
    words = ["--judge=http://127.0.0.1:9/v1", "--judge_model=big"]
    assert evaluate(root, monkeypatch, suite, model, tmp_path / "out", *words) == 2
    assert "suite two_turn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
