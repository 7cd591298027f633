"""evaluate.py with pairwise judges, best of N, a frontier and int8."""

import importlib.util
import json
import os
import runpy
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.records import read_records
from rlhf.evaluation.core.results import find, read_results
from rlhf.labels.queue import Queue
from rlhf.labels.records import Judgment
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.models.load import load_policy, new_reward_model
from rlhf.models.save import save_reward_model
from tests.tiny_models import make_model

GOLD = """
def score(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, a reward model, a gold score, prompts with training rows, a PPO run's folder."""
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in enumerate(("first", "second")):
        make_model(folder / name, seed=seed)
    chat = load_tokenizer(str(folder / "first"))
    save_reward_model(folder / "reward", new_reward_model(folder / "first", seed=0), chat, 0.0, 1.0)
    (folder / "gold.py").write_text(GOLD)
    _lines(folder / "prompts.jsonl", [{"prompt": f"Say {i}."} for i in range(6)])
    rows = [{"prompt": f"Say {i}.", "completion": f"It is {i}."} for i in (3, 30, 31)]
    _lines(folder / "train.jsonl", rows)
    _lines(folder / "texts.jsonl", [{"text": f"The sea is red, {i} times."} for i in range(4)])
    run = folder / "ppo"
    for step in (1, 2):
        make_model(run / f"checkpoint-{step}", seed=step)
    return folder


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _evaluate(root, monkeypatch, folder, output, *words, models=("first", "second")):
    keys = [
        f"--output_dir={output}",
        f"--eval_data={folder}/prompts.jsonl",
        f"--gold={folder}/gold.py:score",
        f"--reward_model={folder}/reward",
        "--num_generations=2",
        "--max_completion_length=6",
        "--bootstrap_samples=50",
        *("--train_data", str(folder / "train.jsonl")),
        *("--models", *(str(folder / model) for model in models)),
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, *keys])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "recipes" / "evaluate.py"), run_name="__main__")
    return ended.value.code


def test_evaluation_has_studies_and_null_baselines(root, tmp_path, monkeypatch, folder):
    words = ["--best_of", "1", "4", f"--frontier={folder}/ppo", f"--tax_data={folder}/texts.jsonl"]
    output = tmp_path / "run"
    assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    results = read_results(output)
    content = json.loads((output / "evaluation.json").read_text())
    assert {r.model for r in results if r.metric == "bradley_terry"} == {
        *("first", "second", "empty", "constant", "copy", "longest", "lookup")
    }
    assert find(results, "score", "empty", judge="gold").value == 0.0
    of = {"judge": "gold"}
    assert find(results, "win_rate", "second", baseline="lookup", **of) is not None
    lookup = [r for r in read_records(output / "answers.jsonl") if r.model == "lookup"]
    assert {r.prompt_index: r.text for r in lookup}[3] == "It is 3."
    assert content["contaminated_prompts"] == 1
    assert content["contamination"][0]["exact"] == [3]

    one, four = (find(results, "score", f"first best of {n}", judge="reward_model") for n in (1, 4))
    assert four.value > one.value
    points = content["frontier"]["points"]
    assert [point["name"] for point in points] == ["first", "step 1", "step 2"]
    assert points[0]["kl"]["value"] == 0.0
    assert points[1]["kl"]["value"] > 0
    for precision in ("fp32", "int8"):
        assert find(results, "text_loss", "second", precision=precision).n == 4
    of = {"baseline": "first", "precision": "fp32"}
    assert find(results, "text_loss_increase", "second", **of).n == 4
    assert 0 < content["tax"]["int8_share"]["second"] < 1
    clean = {"judge": "gold", "with_contaminated": False}
    assert find(results, "score", "first best of 4", **clean).n == 5


def test_dry_run_prints_the_plan_and_writes_nothing(root, tmp_path, monkeypatch, capsys, folder):
    words = ["--dry_run=true", "--best_of", "4", f"--frontier={folder}/ppo", "--judge", "human"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 0
    output = capsys.readouterr().out
    for line in (
        "6 held-out prompts, 1 of them in the training data",
        "0.0 M parameters; 12 responses",
        "best_of: 24 more responses",
        "frontier: 3 checkpoints with the reference, 36 more responses",
        "annotators: about 6 pairs",
        "GiB per device before activations",
    ):
        assert line in output
    assert not (tmp_path / "run").exists()


def _label_everything(store):
    """Label as an annotator who prefers the second model and errs on every gold item."""
    queue = Queue(store, QueueConfig(gold_rate=0.3, repeat_rate=0.5, repeat_gap=1))
    for number in range(200):
        claim = queue.next("Ann")
        if claim is None:
            return
        preferred = [name.endswith("second") for name in claim.item.models] or [False, True]
        ranks = [1 if wins else 2 for wins in preferred]
        queue.submit("Ann", claim.id, Judgment(ranks=ranks, seconds=1.0), request_key=str(number))


def test_annotators_judge_through_the_store(root, tmp_path, monkeypatch, capsys, folder):
    """The first run writes the pairs; the second one reads their labels for the same responses."""
    output = tmp_path / "run"
    known = {"prompt": "Which is red?", "responses": ["the ball", "no"], "ranks": [1, 2]}
    _lines(tmp_path / "gold.jsonl", [known])
    words = ["--judge", "human", f"--human_gold={tmp_path}/gold.jsonl"]
    assert _evaluate(root, monkeypatch, folder, output, *words) == 0
    printed = capsys.readouterr().out
    assert "annotators: 0 of 6 pairs are labelled" in printed
    assert "--gold_rate 0.1 --repeat_rate 0.1" in printed
    assert find(read_results(output), "win_rate", "second", judge="human") is None
    with LabelStore(output / "human.sqlite") as store:
        _label_everything(store)
    again = [f"--answers={output}/answers.jsonl", "--resume_from_checkpoint=latest"]
    before = read_records(output / "answers.jsonl")
    assert _evaluate(root, monkeypatch, folder, output, *words, *again) == 0
    results = read_results(output)
    assert find(results, "win_rate", "second", judge="human", baseline="first").value == 1.0
    assert find(results, "bradley_terry", "second", judge="human").value > 0
    assert find(results, "judge_repeat", "people") is not None
    assert find(results, "judge_gold", "people").value == 0.0
    after = read_records(output / "answers.jsonl")
    assert [r.text for r in before] == [r.text for r in after]
    assert "annotators: 6 of 6 pairs are labelled" in capsys.readouterr().out


@pytest.mark.slow
def test_people_and_llm_judge_give_one_win_rate(root, tmp_path, monkeypatch, capsys, folder):
    """Four of six prompts are drawn; the judge ties all pairs, so people alone are reported."""
    output = tmp_path / "run"
    with _serving() as address:
        words = [f"--llm_judge={address}", "--llm_judge_model=big", "--llm_judge_baselines=false",
                 "--judge", "human+llm", "--human_budget=4"]  # fmt: skip
        assert _evaluate(root, monkeypatch, folder, output, *words) == 0
        assert "annotators: 0 of 4 pairs are labelled" in capsys.readouterr().out
        with LabelStore(output / "human.sqlite") as store:
            assert {item.columns["sampling_probability"] for item in store.items()} == {4 / 6}
            _label_everything(store)
        again = [f"--answers={output}/answers.jsonl", "--resume_from_checkpoint=latest"]
        assert _evaluate(root, monkeypatch, folder, output, *words, *again) == 0
    results = read_results(output)
    of = {"baseline": "first"}
    people = find(results, "win_rate", "second", judge="human", **of)
    both = find(results, "win_rate", "second", judge="human+llm", **of)
    assert (people.value, people.n) == (both.value, 4) == (1.0, 4)
    assert find(results, "win_rate_anytime", "second", judge="human", **of).low < 1.0
    assert find(results, "judge_agreement", "second", judge="llm", **of).value == 0.5
    assert "human annotators and an LLM judge" in (output / "report.html").read_text()


def test_plan_prints_the_worst_case_and_stops(root, tmp_path, monkeypatch, capsys, folder):
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", "--plan") == 0
    output = capsys.readouterr().out
    assert "no pilot" in output
    assert "785" in output
    assert not (tmp_path / "run").exists()


class _Endpoint(BaseHTTPRequestHandler):
    """Always replies [[A]], except for one error in between."""

    requests: list = []  # noqa: RUF012 - shared by the requests of one test
    rejects: str = "nothing"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.path, self.headers.get("Authorization"), body))
        if self.rejects in body["messages"][0]["content"]:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b"context length exceeded")
            return
        if len(self.requests) == 2:
            self.send_error(503)
            return
        reply = json.dumps({"choices": [{"message": {"content": "[[A]]"}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *words):
        """Nothing."""


@contextmanager
def _serving(rejects="nothing of the kind"):
    _Endpoint.requests.clear()
    _Endpoint.rejects = rejects
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_remote_judge_gets_both_orders(root, tmp_path, monkeypatch, folder):
    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "secret")
    with _serving() as address:
        words = [f"--llm_judge={address}", "--llm_judge_model=big", "--llm_judge_baselines=false"]
        assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 0
    results = read_results(tmp_path / "run")
    assert find(results, "win_rate", "second", judge="llm").value == 0.5
    assert find(results, "judge_first", "second").value == 1.0
    assert find(results, "judge_inconsistency", "second").value == 1.0
    assert len(_Endpoint.requests) == 1 + 2 * 6 + 1  # the trial, and one that was repeated
    path, key, body = _Endpoint.requests[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "big")


def test_remote_judge_compares_null_baselines(root, tmp_path, monkeypatch, folder):
    """Pairs of equal texts are not sent; the two requests of prompt 5 are rejected."""
    with _serving(rejects="user: Say 5.") as address:
        words = [f"--llm_judge={address}", "--llm_judge_model=big"]
        assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 0
    results = read_results(tmp_path / "run")
    of = {"judge": "llm"}
    for name in ("empty", "constant", "copy", "longest", "lookup"):
        assert find(results, "win_rate", name, baseline="first", **of).value == 0.5
    for name in ("first", "second"):
        assert find(results, "win_rate", name, baseline="lookup", **of).n == 6
    assert find(results, "judge_unparsable", "second").value == pytest.approx(1 / 6)
    content = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    pairs = content["llm_verdicts"]
    assert len(pairs) == 6 * (1 + 5 + 2)
    assert len(_Endpoint.requests) == 2 * sum(pair["ours"] != pair["theirs"] for pair in pairs) + 2


def test_rejected_trial_stops_before_sampling(root, tmp_path, monkeypatch, capsys, folder):
    with _serving(rejects="Two assistants") as address:
        words = [f"--llm_judge={address}", "--llm_judge_model=big"]
        assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert "400 Bad Request context length exceeded" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rejection_of_every_pair_stops_the_run(root, tmp_path, monkeypatch, capsys, folder):
    with _serving(rejects="user: Say") as address:
        words = [f"--llm_judge={address}", "--llm_judge_model=big"]
        assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 1
    assert "400 Bad Request context length exceeded" in capsys.readouterr().err


def test_unreachable_judge_stops_before_sampling(root, tmp_path, monkeypatch, capsys, folder):
    words = ["--llm_judge=http://127.0.0.1:9/v1", "--llm_judge_model=big"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert "llm_judge http://127.0.0.1:9/v1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_frontier_with_another_vocabulary_raises(root, tmp_path, monkeypatch, capsys, folder):
    """Its KL would count as 0."""
    make_model(tmp_path / "ppo" / "checkpoint-1", "qwen2")
    words = [f"--frontier={tmp_path}/ppo"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert "[tokenizer-mismatch]" in capsys.readouterr().err


def test_local_judge_without_verdicts_ties_every_pair(root, tmp_path, monkeypatch, folder):
    """The judge is loaded in the precision of the models."""
    dtypes = []

    def load(path, *, dtype):
        dtypes.append(dtype)
        return load_policy(path, dtype=dtype)

    monkeypatch.setattr("rlhf.evaluation.judges.llm.load_policy", load)
    words = [f"--llm_judge={folder}/second", "--llm_judge_max_tokens=4", "--bf16=true"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 0
    assert dtypes == [torch.bfloat16]
    results = read_results(tmp_path / "run")
    assert find(results, "win_rate", "second", judge="llm").value == 0.5
    assert find(results, "judge_unparsable", "second").value == 1.0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--judge", "humans"], "judge='humans'"),
        (["--llm_judge=http://x/v1"], "llm_judge_model"),
        (["--llm_judge_model=big"], "llm_judge_model=big"),
        (["--llm_judge_max_token=4"], "did you mean llm_judge_max_tokens?"),
        (["--llm_judge=nowhere/at/all"], "nowhere/at/all"),
        (["--best_of", "4", "4"], "best_of=[4, 4]"),
        (["--best_of_model=third", "--best_of", "2"], "best_of_model='third'"),
        (["--frontier=nowhere"], "[no-checkpoint]"),
        (["--tax_data=nowhere.jsonl"], "nowhere.jsonl"),
        (["--human_store=x"], "human_store"),
        (["--judge", "human", "--annotator_groups=nowhere.yaml"], "nowhere.yaml"),
        (["--answers=nowhere.jsonl"], "[unreadable-file]"),
    ],
)
def test_bad_key_exits_with_status_2(root, tmp_path, monkeypatch, capsys, folder, words, name):
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert name in capsys.readouterr().err


def test_lm_eval_without_its_package_exits_with_status_2(
    root, tmp_path, monkeypatch, capsys, folder
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: None if name == "lm_eval" else find(name, package),
    )
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", "--lm_eval", "hellaswag") == 2
    assert "[missing-package]" in capsys.readouterr().err


def test_responses_to_other_prompts_raise(root, tmp_path, monkeypatch, capsys, folder):
    row = {"prompt": "Other.", "prompt_index": 0, "sample": 0, "model": "first", "text": "",
           "num_tokens": 1, "ended_with_eos": True}  # fmt: skip
    _lines(tmp_path / "answers.jsonl", [row])
    words = [f"--answers={tmp_path}/answers.jsonl"]
    assert _evaluate(root, monkeypatch, folder, tmp_path / "run", *words) == 2
    assert "[other-run]" in capsys.readouterr().err
