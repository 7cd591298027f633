"""The report on a tiny model: its files, its probes, what it refuses."""

import json
import sys

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import CheckpointError, ConfigError, DataError, TrainingError
from rlhf.evaluation.reward_model import cli as reward_health
from rlhf.evaluation.reward_model.probes import DEMONSTRATIONS, EMPTY, OTHER, SHUFFLED, probe
from rlhf.evaluation.reward_model.scored_rankings import score_heads, score_rankings
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.types import Demonstration, Ranking
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A GPT-2 shaped reward model with mean 0.5 and std 2."""
    root = tmp_path_factory.mktemp("reward")
    base = make_model(root / "base", "gpt2")
    save_reward_model(
        root / "model", new_reward_model(base, seed=0), load_tokenizer(str(base)), 0.5, 2.0
    )
    return root / "model"


class ByLength:
    """Scores a text by its words; counts what it was asked."""

    mean, std, asked = 0.0, 1.0, 0

    def score_heads(self, prompts, responses):
        import torch

        self.asked += len(responses)
        return torch.tensor([[float(len(text.split()))] for text in responses])


def test_probes_of_a_model_that_counts_words():
    """1, 2 and 3 words: shuffling changes nothing (½), nothing is always below (1), and another's
    answer is above, above and below: the next one in a circle has 2, 3, 1 words."""
    rows = [Demonstration(prompt=f"Say {n}", completion=" ".join(["word"] * n)) for n in (3, 1, 2)]
    found = {one.name: one for one in probe(ByLength(), rows, count=9, seed=0)}
    assert found[DEMONSTRATIONS].score.value == pytest.approx(2.0)
    assert found[DEMONSTRATIONS].demonstrations_above is None
    assert found[EMPTY].score.value == 0.0
    assert found[EMPTY].demonstrations_above.value == 1.0
    assert found[OTHER].score.value == pytest.approx(2.0)
    assert found[OTHER].demonstrations_above.value in (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert SHUFFLED not in found  # one text of three words is no figure


def test_a_text_that_comes_twice_is_scored_once():
    model = ByLength()
    texts = [("p", "a b"), ("q", "a"), ("p", "a b"), ([{"role": "user", "content": "p"}], "a b")]
    assert score_heads(model, texts) == [[2.0], [1.0], [2.0], [2.0]]
    assert model.asked == 3


def test_another_prompts_answer_is_not_one_to_the_same_prompt():
    """One short answer to one prompt, eight long ones to another: each long one meets the short
    one and is above, the short one is below: 8 of 9. Without another prompt there is no figure."""
    rows = [
        Demonstration(prompt=prompt, completion=" ".join(["word"] * (n + more)))
        for prompt, more in (("Short?", 0), ("short", 0), ("Long?", 10))
        for n in range(1, 9)
    ]
    found = {one.name: one for one in probe(ByLength(), rows[15:], count=99, seed=0)}
    assert found[OTHER].demonstrations_above.value == pytest.approx(8 / 9)
    same = probe(ByLength(), rows[:16], count=99, seed=0)
    assert OTHER not in {one.name for one in same}
    bare = [Demonstration(prompt="", completion=row.completion) for row in rows]
    assert OTHER not in {one.name for one in probe(ByLength(), bare, count=99, seed=0)}


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_no_low_score(odd):
    """One of three different texts: the report stops and names its prompt."""

    class Overflows(ByLength):
        def score_heads(self, prompts, responses):
            values = super().score_heads(prompts, responses)
            values[[prompt == "q" for prompt in prompts]] = odd
            return values

    with pytest.raises(TrainingError, match=r"no finite number for 1 of 3 answers.*prompts: 'q'"):
        score_heads(Overflows(), [("p", "a b"), ("q", "a"), ("p", "a b"), ("r", "a")])


def test_rankings_are_scored_as_the_reward_scores(folder):
    model = RewardModel(folder)
    row = Ranking(prompt="Where?", responses=["In the box.", "A cat."], ranks=[1, 2])
    (found,) = score_rankings(model, [row])
    assert found.scores == pytest.approx(model.score(["Where?"] * 2, row.responses), abs=1e-5)
    assert found.lengths[0] > found.lengths[1]


@pytest.fixture
def files(tmp_path):
    """Rankings of eight prompts by two people, demonstrations, and one bad row in each."""
    things = ("ball", "cat", "dog", "bird", "box", "sea", "story", "animal")
    rankings = [
        {
            "prompt": f"Where is the {thing}?",
            "responses": ["In the box.", f"The {thing} is by the sea.", "No"],
            "ranks": ranks,
            "annotator": name,
        }
        for thing in things
        for name, ranks in (("Ann", [2, 1, 3]), ("Bob", [1, 1, 3]))
    ]
    said = [{"prompt": "Where?", "completion": f"In the red {thing}."} for thing in things]
    rankings.append({"chosen": "x", "rejected": "y"})
    said.append({"prompt": "x"})
    for name, rows in (("rankings", rankings), ("demonstrations", said)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def words(files, folder, *more):
    keys = [f"--{key}={files / key}.jsonl" for key in ("rankings", "demonstrations")]
    keys += [f"--reward_model={folder}", f"--output_dir={files / 'out'}", "--cpu_threads=1"]
    return ["reward_health", *keys, *more]


def test_bad_rows_are_refused_together(files, folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", words(files, folder))
    with pytest.raises(DataError, match="2 rows cannot be used"):
        reward_health.main()


def test_dropped_rows_are_written_down(files, folder, monkeypatch):
    """A report in a folder of its own, the two bad rows beside it."""
    monkeypatch.setattr(sys, "argv", words(files, folder, "--drop_bad_rows"))
    reward_health.main()
    rejected = (files / "out" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejected] == [
        {"chosen": "x", "rejected": "y"},
        {"prompt": "x"},
    ]


def test_a_folder_that_cannot_be_made_is_refused_at_once(files, folder, monkeypatch):
    (files / "taken").write_text("a file")
    keys = words(files, folder, "--drop_bad_rows", f"--output_dir={files / 'taken' / 'out'}")
    monkeypatch.setattr(
        sys, "argv", [key for key in keys if key != f"--output_dir={files / 'out'}"]
    )
    with pytest.raises(ConfigError, match="taken/out cannot be made"):
        reward_health.main()


def test_an_unfinished_reward_model_is_refused(files, tmp_path, monkeypatch):
    """Before a weight is loaded: there is none."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(sys, "argv", words(files, tmp_path / "run"))
    with pytest.raises(CheckpointError, match="did not finish"):
        reward_health.main()


def test_the_report_is_printed_and_saved(files, folder, monkeypatch, capsys):
    """Eight prompts, two people: parts by annotator, agreement 1 (Bob's tie decides nothing)."""
    monkeypatch.setattr(sys, "argv", words(files, folder, "--drop_bad_rows"))
    reward_health.main()
    content = json.loads((files / "out" / "evaluation.json").read_text())
    assert content["kind"] == "reward_model"
    found = {(r["metric"], r.get("axis"), r.get("subset")): r for r in content["results"]}
    assert found["human_agreement", None, None]["value"] == 1.0
    assert found["tie_rate", None, None]["value"] == pytest.approx(1 / 6)
    assert ("accuracy", None, "annotator Ann") in found
    assert ("demonstrations_above", SHUFFLED, None) in found
    assert [point["n"] for point in content["best_of_n"]] == [1, 2, 3]
    gate = json.loads((files / "out" / "gate.json").read_text())
    assert gate["accuracy"]["n"] == 8
    said = capsys.readouterr().out
    assert f"gate: {gate['verdict']}" in said
    assert "human agreement" in said
