"""Null baselines and the lookup by value."""

from types import SimpleNamespace

import pytest

from rlhf.evaluation.core.baselines import null_records
from rlhf.evaluation.core.contamination import Seen
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import Record
from rlhf.types import PromptRow

TRAINING = [
    Seen(prompt="What does Bob like?", answers=["Bob likes honey."]),
    Seen(prompt="How much is 2 plus 3?", answers=["2 plus 3 is 5."]),
    Seen(prompt="What does Ann like?", answers=[]),
]


@pytest.fixture
def chat():
    """A tokenizer of words."""
    return SimpleNamespace(tokenizer=lambda text, **_: {"input_ids": text.split()})


def _sampled(texts):
    return [
        Record(prompt_index=i, sample=k, model="sft", text=text, num_tokens=1, ended_with_eos=True)
        for i, each in enumerate(texts)
        for k, text in enumerate(each)
    ]


def test_each_baseline_says_what_it_is_defined_to(chat):
    chat_prompt = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"},
                   {"role": "user", "content": "2 plus 3?"}]  # fmt: skip
    rows = [PromptRow(prompt="What does Bob like?"), PromptRow(prompt=chat_prompt)]
    sampled = _sampled([["Yes.", "Bob likes tea."], ["Yes.", "No."]])
    found = null_records(rows, [0, 1], sampled, NearestPrompt(TRAINING), chat)
    said = {(record.model, record.prompt_index): record.text for record in found}
    assert said == {
        ("empty", 0): "",
        ("constant", 0): "Yes.",
        ("copy", 0): "What does Bob like?",
        ("longest", 0): "Bob likes tea.",
        ("lookup", 0): "Bob likes honey.",
        ("empty", 1): "",
        ("constant", 1): "Yes.",
        ("copy", 1): "2 plus 3?",
        ("longest", 1): "Yes.",
        ("lookup", 1): "2 plus 3 is 5.",
    }
    assert {r.num_tokens for r in found if r.model == "empty"} == {1}


def test_without_training_answers_there_is_no_lookup(chat):
    rows = [PromptRow(prompt="x")]
    found = null_records(rows, [0], _sampled([["y"]]), NearestPrompt([TRAINING[2]]), chat)
    assert [record.model for record in found] == ["empty", "constant", "copy", "longest"]


def test_the_nearest_prompt_is_the_one_of_rare_shared_words():
    """`What does … like?` stands in two prompts, the name in one; equal words are similarity 1."""
    seen = [*TRAINING, Seen(prompt="What does Eve like?", answers=["Eve likes tea."])]
    found = NearestPrompt(seen).find("what does eve like")
    assert found.answers == ["Eve likes tea."]
    # The question mark is a word of its own and missing: not quite 1.
    assert 0.8 < found.similarity < 1.0
    assert NearestPrompt(seen).find("What does Eve like?").similarity == pytest.approx(1.0)


def test_words_that_were_never_seen_find_the_first_row_at_similarity_0():
    found = NearestPrompt(TRAINING).find("zebra")
    assert (found.answers, found.similarity) == (["Bob likes honey."], 0.0)


def test_rows_of_one_prompt_are_one_with_each_different_answer():
    """A demonstration file and a ranking file may hold the prompt both, and one answer twice."""
    question = "What does Bob like?"
    again = [
        Seen(prompt=[{"role": "user", "content": question}], answers=["Tea.", "Bob likes honey."]),
        Seen(prompt=question, answers=["Jam."]),
    ]
    found = NearestPrompt([*TRAINING, *again]).find(question)
    assert found.answers == ["Bob likes honey.", "Tea.", "Jam."]
    assert found.similarity == pytest.approx(1.0)


def test_lookup_gives_as_many_answers_as_a_model_and_no_more_than_there_are(chat):
    """Two of four, others for another row of the same prompt; of a prompt with one, one."""
    rows = [*(PromptRow(prompt="Name a letter.") for _ in range(20)), PromptRow(prompt="2 plus 3?")]
    seen = [Seen(prompt="Name a letter.", answers=["a", "b", "c", "d"]), TRAINING[1]]
    found = null_records(rows, range(21), _sampled([["x", "y"]] * 21), NearestPrompt(seen), chat)
    texts = [[r.text for r in found if (r.model, r.prompt_index) == ("lookup", i)]
             for i in range(21)]  # fmt: skip
    samples = [r.sample for r in found if r.model == "lookup"]
    assert samples == [0, 1] * 20 + [0]
    assert texts[20] == ["2 plus 3 is 5."]
    assert all(len(set(pair)) == 2 for pair in texts[:20])
    assert {text for pair in texts[:20] for text in pair} == {"a", "b", "c", "d"}
