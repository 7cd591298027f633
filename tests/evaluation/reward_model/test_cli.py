"""The report on a tiny model: its files, its probes, its errors."""

import json
import sys

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.reward_model import cli as reward_health
from rlhf.evaluation.reward_model.probes import DEMONSTRATIONS, EMPTY, OTHER, SHUFFLED, probe
from rlhf.evaluation.reward_model.scored_rankings import score_heads, score_rankings
from rlhf.models.load import new_reward_model
from rlhf.models.save import save_reward_model
from rlhf.rewards.model import RewardModel
from rlhf.types import Demonstration, Ranking
from tests.errors import raises
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
    """Scores a text by its number of words; counts the scored texts."""

    mean, std, num_scored = 0.0, 1.0, 0

    def score_heads(self, prompts, responses):
        import torch

        self.num_scored += len(responses)
        return torch.tensor([[float(len(text.split()))] for text in responses])


def test_probes_of_a_model_that_counts_words():
    """1, 2 and 3 words: the empty response is always below (1), and the response to the next
    prompt, cyclically 2, 3, 1 words, is above, above and below."""
    rows = [Demonstration(prompt=f"Say {n}", completion=" ".join(["word"] * n)) for n in (3, 1, 2)]
    probes = {one.name: one for one in probe(ByLength(), rows, count=9, seed=0)}
    assert probes[DEMONSTRATIONS].score.value == pytest.approx(2.0)
    assert probes[DEMONSTRATIONS].demonstrations_above is None
    assert probes[EMPTY].score.value == 0.0
    assert probes[EMPTY].demonstrations_above.value == 1.0
    assert probes[OTHER].score.value == pytest.approx(2.0)
    assert probes[OTHER].demonstrations_above.value in (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert SHUFFLED not in probes  # only one text has three words


def test_equal_texts_are_scored_once():
    model = ByLength()
    conversation = [{"role": "user", "content": "p"}]
    texts = [("p", "a b", ()), ("q", "a", ()), ("p", "a b", ()), (conversation, "a b", ())]
    assert score_heads(model, texts) == [[2.0], [1.0], [2.0], [2.0]]
    assert model.num_scored == 3


def test_off_topic_response_is_of_a_different_prompt():
    """One short response to one prompt, eight long ones to another: each long one is above the
    short one, the short one is below: 8 of 9. Without another prompt there is no such probe."""
    rows = [
        Demonstration(prompt=prompt, completion=" ".join(["word"] * (n + more)))
        for prompt, more in (("Short?", 0), ("short", 0), ("Long?", 10))
        for n in range(1, 9)
    ]
    probes = {one.name: one for one in probe(ByLength(), rows[15:], count=99, seed=0)}
    assert probes[OTHER].demonstrations_above.value == pytest.approx(8 / 9)
    same = probe(ByLength(), rows[:16], count=99, seed=0)
    assert OTHER not in {one.name for one in same}
    bare = [Demonstration(prompt="", completion=row.completion) for row in rows]
    assert OTHER not in {one.name for one in probe(ByLength(), bare, count=99, seed=0)}


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_score_that_is_not_finite_raises(odd):
    """One of three different texts: the error names its prompt."""

    class Overflows(ByLength):
        def score_heads(self, prompts, responses):
            values = super().score_heads(prompts, responses)
            values[[prompt == "q" for prompt in prompts]] = odd
            return values

    rows = [("p", "a b"), ("q", "a"), ("p", "a b"), ("r", "a")]
    with raises("non-finite", "1 of 3", "'q'"):
        score_heads(Overflows(), [(prompt, text, ()) for prompt, text in rows])


def test_rankings_have_the_scores_of_the_reward_model(folder):
    model = RewardModel(folder)
    row = Ranking(prompt="Where?", responses=["In the box.", "A cat."], ranks=[1, 2])
    (scored,) = score_rankings(model, [row])
    assert scored.scores == pytest.approx(model.score(["Where?"] * 2, row.responses), abs=1e-5)
    assert scored.lengths[0] > scored.lengths[1]


@pytest.fixture
def files(tmp_path):
    """Rankings of eight prompts by two annotators, demonstrations, and one bad row in each."""
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
    demonstrations = [
        {"prompt": "Where?", "completion": f"In the red {thing}."} for thing in things
    ]
    rankings.append({"chosen": "x", "rejected": "y"})
    demonstrations.append({"prompt": "x"})
    for name, rows in (("rankings", rankings), ("demonstrations", demonstrations)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def words(files, folder, *more):
    keys = [f"--{key}={files / key}.jsonl" for key in ("rankings", "demonstrations")]
    keys += [f"--reward_model={folder}", f"--output_dir={files / 'out'}", "--cpu_threads=1"]
    return ["reward_health", *keys, *more]


def test_bad_rows_raise_together(files, folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", words(files, folder))
    with raises("bad-row", "2 rows"):
        reward_health.main()


def test_dropped_rows_are_written(files, folder, monkeypatch):
    """The folder of the report has the two bad rows."""
    monkeypatch.setattr(sys, "argv", words(files, folder, "--drop_bad_rows"))
    reward_health.main()
    rejected = (files / "out" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejected] == [
        {"chosen": "x", "rejected": "y"},
        {"prompt": "x"},
    ]


def test_output_folder_that_cannot_be_created_raises(files, folder, monkeypatch):
    (files / "taken").write_text("a file")
    keys = words(files, folder, "--drop_bad_rows", f"--output_dir={files / 'taken' / 'out'}")
    monkeypatch.setattr(
        sys, "argv", [key for key in keys if key != f"--output_dir={files / 'out'}"]
    )
    with raises("bad-value", "taken/out"):
        reward_health.main()


def test_unfinished_reward_model_raises(files, tmp_path, monkeypatch):
    """It has no weights yet."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(sys, "argv", words(files, tmp_path / "run"))
    with raises("not-a-model", tmp_path / "run"):
        reward_health.main()


def test_report_is_printed_and_written(files, folder, monkeypatch, capsys):
    """Eight prompts, two annotators: parts by annotator, agreement 1 (Bob's tie does not count)."""
    monkeypatch.setattr(sys, "argv", words(files, folder, "--drop_bad_rows"))
    reward_health.main()
    content = json.loads((files / "out" / "evaluation.json").read_text())
    assert content["kind"] == "reward_model"
    results = {(r["metric"], r.get("axis"), r.get("subset")): r for r in content["results"]}
    assert results["human_agreement", None, None]["value"] == 1.0
    assert results["tie_rate", None, None]["value"] == pytest.approx(1 / 6)
    assert ("accuracy", None, "annotator Ann") in results
    assert ("demonstrations_above", SHUFFLED, None) in results
    assert [point["n"] for point in content["best_of_n"]] == [1, 2, 3]
    gate = json.loads((files / "out" / "gate.json").read_text())
    assert gate["accuracy"]["n"] == 8
    output = capsys.readouterr().out
    assert f"gate: {gate['verdict']}" in output
    assert "human agreement" in output
