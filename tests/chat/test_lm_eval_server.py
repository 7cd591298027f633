"""lm-evaluation-harness through `rlhf serve` gives the scores that it gives in this process."""

import itertools
import json

import pytest

from rlhf.chat.loading import load_chat_model
from rlhf.chat.web.limits import Limits
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_policy
from tests.chat.chat_server import serving
from tests.tiny_models import make_model

lm_eval = pytest.importorskip("lm_eval", reason="needs pip install 'rlhf[lm_eval]'")
pytestmark = pytest.mark.slow

WORDS = ("red", "ball", "box", "three", "animals", "cat", "dog", "bird", "story", "sea", "short")
LIKELIHOOD = """
task: likelihood
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
GENERATION = """
task: generation
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{response}}}}"
generation_kwargs: {{until: ["zzz"], max_gen_toks: 8, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and two tasks without a download. Every other target is the model's own response."""
    folder = tmp_path_factory.mktemp("harness")
    make_model(folder / "model")
    questions = [f"Is the {one} in the {two}?" for one, two in itertools.pairwise(WORDS)]
    sampled = sample_responses(
        load_policy(folder / "model"), load_tokenizer(str(folder / "model")),
        [[{"role": "user", "content": question}] for question in questions],
        num_responses=1, max_new_tokens=8, temperature=0, seed=0, batch_size=None,
    )  # fmt: skip
    rows = [
        {
            "question": question,
            "choices": [" cat", " short story"],
            "answer": number % 2,
            "response": response.text.strip() if number % 2 else "nothing of the kind",
        }
        for number, (question, [response]) in enumerate(zip(questions, sampled, strict=True))
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "likelihood.yaml").write_text(LIKELIHOOD.format(data=data))
    (tasks / "generation.yaml").write_text(GENERATION.format(data=data))
    return folder


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    limits = Limits(slots=4, waiting=64, max_new_tokens=64)
    model = load_chat_model(str(folder / "model"))
    with serving(tmp_path_factory.mktemp("site"), {"tiny": model}, limits=limits) as site:
        yield site.address


def run(folder, task, model, **options):
    """The scores of a task, and the model's responses to its questions."""
    from lm_eval.tasks import TaskManager

    output = lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=TaskManager(include_path=str(folder / "tasks")),
        log_samples=True, **options,
    )  # fmt: skip
    samples = sorted(output["samples"][task], key=lambda sample: sample["doc_id"])
    return output["results"][task], [sample["resps"] for sample in samples]


def in_process(folder):
    from lm_eval.models.huggingface import HFLM

    tokenizer = load_tokenizer(str(folder / "model")).tokenizer
    model = load_policy(folder / "model").eval()
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, add_bos_token=True)


def test_likelihoods_through_local_completions(folder, address):
    """Ten questions with two choices: the log-likelihoods are equal to 1e-4, and so is `acc`."""
    remote = {
        "model": "tiny",
        "base_url": f"{address}/v1/completions",
        "tokenizer": str(folder / "model"),
        "add_bos_token": True,  # as in this process
        "num_concurrent": 1,
    }
    served, own = run(folder, "likelihood", "local-completions", model_args=remote)
    expected, local = run(folder, "likelihood", in_process(folder))
    assert served["acc,none"] == expected["acc,none"]
    assert 0 < served["acc,none"] < 1
    sums = [[float(choice[0][0]) for choice in choices] for choices in own]
    assert sums == [
        pytest.approx([float(choice[0][0]) for choice in choices], abs=1e-4) for choices in local
    ]


def test_texts_through_local_chat_completions(folder, address):
    """Ten greedy responses in the chat template: equal texts, about half of them the targets."""
    remote = {
        "model": "tiny",
        "base_url": f"{address}/v1/chat/completions",
        "num_concurrent": 1,
    }
    chat = {"apply_chat_template": True}
    served, own = run(folder, "generation", "local-chat-completions", model_args=remote, **chat)
    expected, local = run(folder, "generation", in_process(folder), **chat)
    assert served["exact_match,none"] == expected["exact_match,none"]
    assert 0 < served["exact_match,none"] < 1
    assert [texts[0][0].strip() for texts in own] == [texts[0][0].strip() for texts in local]
