"""lm-evaluation-harness: how its results are converted, and a real run if it is installed."""

import importlib.util
import itertools
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.evaluation.core.results import find
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.studies.lm_eval import check_tasks, lm_eval_metrics
from rlhf.models.load import load_policy
from tests.errors import raises
from tests.tiny_models import make_model

OUTPUT = {
    "results": {
        "arc_easy": {
            "alias": "arc_easy",
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "acc_norm,none": 0.4,
            "acc_norm_stderr,none": "N/A",
        }
    },
    "versions": {"arc_easy": 1.0},
    "n-shot": {"arc_easy": 0},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 25}},
}
OPTIONS = {"include": None, "limit": 25, "batch_size": 8, "seed": 0}
PPO = EvaluatedModel(
    name="ppo", model="weights", chat=SimpleNamespace(raw=False, tokenizer="words")
)


def _harness(monkeypatch, evaluate):
    """Replace the package by the three names of it that are used."""
    parts = {
        "lm_eval": {"simple_evaluate": evaluate, "__version__": "0.4.9"},
        "lm_eval.tasks": {"TaskManager": lambda **keys: SimpleNamespace(all_tasks=["arc_easy"])},
        "lm_eval.models": {},
        "lm_eval.models.huggingface": {"HFLM": lambda **keys: keys},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_results_have_standard_errors_and_task_versions(monkeypatch):
    arguments = {}
    _harness(monkeypatch, lambda **keys: arguments.update(keys) or OUTPUT)
    results, run = lm_eval_metrics(PPO, ["arc_easy"], **OPTIONS)
    accuracy = find(results, "lm_eval", "ppo", axis="arc_easy acc")
    assert (accuracy.value, accuracy.se, accuracy.n) == (0.5, 0.1, 25)
    assert accuracy.low == pytest.approx(0.5 - 0.196)
    norm = find(results, "lm_eval", "ppo", axis="arc_easy acc_norm")
    assert (norm.low, norm.high) == (0.4, 0.4)
    assert arguments["apply_chat_template"] is True
    assert arguments["model"] == {"pretrained": "weights", "tokenizer": "words", "batch_size": 8}
    assert (run["harness"], run["chat_template"], run["versions"]) == (
        "0.4.9", True, {"arc_easy": 1.0}
    )  # fmt: skip


def test_error_of_the_harness_raises(monkeypatch):
    def evaluate(**keys):
        raise KeyError("no such data")

    _harness(monkeypatch, evaluate)
    with raises("judge-failed", "arc_easy", "ppo", "no such data"):
        lm_eval_metrics(PPO, ["arc_easy"], **OPTIONS)


installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs pip install 'rlhf[lm_eval]'"
)
WORDS = ("red", "ball", "box", "three", "animals", "cat", "dog", "bird", "story", "sea", "short")
QUESTIONS = [
    (f"Is the {word} in the {other}?", [word, other]) for word, other in itertools.pairwise(WORDS)
]
TASK = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture
def tasks(tmp_path):
    """A folder with one task: is the first word more likely to the model?"""
    rows = [
        {"question": question, "choices": choices, "answer": 0} for question, choices in QUESTIONS
    ]
    data = tmp_path / "colours.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "colours.yaml").write_text(TASK.format(data=data))
    return folder


@installed
def test_own_task_is_known_and_misspelt_task_raises(tasks):
    check_tasks(["colours"], str(tasks))
    with raises("bad-value", "'colors'", "'colours'"):
        check_tasks(["colors"], str(tasks))
    with raises("missing-file", "nowhere"):
        check_tasks(["colours"], str(tasks / "nowhere"))


@installed
def test_harness_uses_the_chat_template(tasks, tmp_path):
    """Its accuracy equals that of log-likelihoods computed here from the same text."""
    folder = make_model(tmp_path / "model", seed=0)
    chat = load_tokenizer(str(folder))
    evaluated = EvaluatedModel(name="m", model=load_policy(folder).eval(), chat=chat)
    results, run = lm_eval_metrics(evaluated, ["colours"], **{**OPTIONS, "include": str(tasks)})
    accuracy = find(results, "lm_eval", "m", axis="colours acc")
    assert accuracy.n == 10
    correct = [_more_likely(evaluated, question, choices) == 0 for question, choices in QUESTIONS]
    assert 0 < sum(correct) < 10
    assert accuracy.value == pytest.approx(sum(correct) / 10)
    assert run["chat_template"] is True


def _more_likely(evaluated, question, choices):
    """Index of the choice that is more likely after the templated question."""
    import torch

    tokenizer = evaluated.chat.tokenizer
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    context = tokenizer(text, add_special_tokens=False)["input_ids"]
    sums = []
    for choice in choices:
        ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = evaluated.model(torch.tensor([context + ids])).logits[0]
        logprobs = torch.log_softmax(logits, -1)[len(context) - 1 : -1]
        sums.append(float(logprobs.gather(1, torch.tensor(ids)[:, None]).sum()))
    return max(range(len(choices)), key=sums.__getitem__)
