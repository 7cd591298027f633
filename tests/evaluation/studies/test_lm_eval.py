"""lm-evaluation-harness: what is kept of its results, and, where it is installed, a real run."""

import importlib.util
import itertools
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.errors import ConfigError, TrainingError
from rlhf.evaluation.core.results import find
from rlhf.evaluation.core.sampling import EvaluatedModel
from rlhf.evaluation.studies.lm_eval import check_tasks, lm_eval_metrics
from rlhf.models.load import load_policy
from tests.tiny_models import make_model

SAID = {
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
HOW = {"include": None, "limit": 25, "batch_size": 8, "seed": 0}
PPO = EvaluatedModel(
    name="ppo", model="weights", chat=SimpleNamespace(raw=False, tokenizer="words")
)


def _harness(monkeypatch, evaluate):
    """Stands in for the package, with the three names of it that are used."""
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


def test_figures_with_their_standard_errors_and_what_was_run(monkeypatch):
    asked = {}
    _harness(monkeypatch, lambda **keys: asked.update(keys) or SAID)
    found, run = lm_eval_metrics(PPO, ["arc_easy"], **HOW)
    accuracy = find(found, "lm_eval", "ppo", axis="arc_easy acc")
    assert (accuracy.value, accuracy.se, accuracy.n) == (0.5, 0.1, 25)
    assert accuracy.low == pytest.approx(0.5 - 0.196)
    norm = find(found, "lm_eval", "ppo", axis="arc_easy acc_norm")
    assert (norm.low, norm.high) == (0.4, 0.4)
    assert asked["apply_chat_template"] is True
    assert asked["model"] == {"pretrained": "weights", "tokenizer": "words", "batch_size": 8}
    assert (run["harness"], run["chat_template"], run["versions"]) == (
        "0.4.9", True, {"arc_easy": 1.0}
    )  # fmt: skip


def test_a_harness_that_fails_is_said_in_words(monkeypatch):
    def evaluate(**keys):
        raise KeyError("no such data")

    _harness(monkeypatch, evaluate)
    with pytest.raises(TrainingError, match="lm_eval arc_easy on ppo: KeyError: 'no such data'"):
        lm_eval_metrics(PPO, ["arc_easy"], **HOW)


installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs pip install -e '.[lm_eval]'"
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
    """A folder with one task of its own: does the model find the first word likelier?"""
    rows = [{"question": asked, "choices": two, "answer": 0} for asked, two in QUESTIONS]
    data = tmp_path / "colours.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "colours.yaml").write_text(TASK.format(data=data))
    return folder


@installed
def test_a_task_of_ones_own_is_known_and_a_misspelt_one_is_not(tasks):
    check_tasks(["colours"], str(tasks))
    with pytest.raises(ConfigError, match="knows no task 'colors'; did you mean 'colours'"):
        check_tasks(["colors"], str(tasks))
    with pytest.raises(ConfigError, match="no folder"):
        check_tasks(["colours"], str(tasks / "nowhere"))


@installed
def test_the_harness_asks_the_model_in_its_chat_template(tasks, tmp_path):
    """Its accuracy is that of log-likelihoods worked out here, word by word, of the same text."""
    folder = make_model(tmp_path / "model", seed=0)
    chat = load_tokenizer(str(folder))
    contender = EvaluatedModel(name="m", model=load_policy(folder).eval(), chat=chat)
    found, run = lm_eval_metrics(contender, ["colours"], **{**HOW, "include": str(tasks)})
    accuracy = find(found, "lm_eval", "m", axis="colours acc")
    assert accuracy.n == 10
    right = [_likelier(contender, asked, two) == 0 for asked, two in QUESTIONS]
    assert 0 < sum(right) < 10
    assert accuracy.value == pytest.approx(sum(right) / 10)
    assert run["chat_template"] is True


def _likelier(contender, question, choices):
    """Index of the choice that the model finds likelier behind the templated question."""
    import torch

    tokenizer = contender.chat.tokenizer
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    context = tokenizer(text, add_special_tokens=False)["input_ids"]
    sums = []
    for choice in choices:
        answer = tokenizer(choice, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = contender.model(torch.tensor([context + answer])).logits[0]
        each = torch.log_softmax(logits, -1)[len(context) - 1 : -1]
        sums.append(float(each.gather(1, torch.tensor(answer)[:, None]).sum()))
    return max(range(len(choices)), key=sums.__getitem__)
