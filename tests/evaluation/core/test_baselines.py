"""Null baselines and the lookup, by value."""

import pytest

from rlhf.evaluation.core.baselines import baseline_records
from rlhf.evaluation.core.contamination import TrainingPrompt
from rlhf.evaluation.core.nearest_prompt import NearestPrompt
from rlhf.evaluation.core.records import Record
from rlhf.types import PromptRow

TRAINING = [
    TrainingPrompt(prompt="What does Bob like?", responses=["Bob likes honey."]),
    TrainingPrompt(prompt="How much is 2 plus 3?", responses=["2 plus 3 is 5."]),
    TrainingPrompt(prompt="What does Ann like?", responses=[]),
]


def count_words(text):
    return len(text.split())


def _sampled(texts):
    return [
        Record(prompt_index=i, sample=k, model="sft", text=text, num_tokens=1, ended_with_eos=True)
        for i, each in enumerate(texts)
        for k, text in enumerate(each)
    ]


def test_text_of_each_null_baseline():
    chat_prompt = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"},
                   {"role": "user", "content": "2 plus 3?"}]  # fmt: skip
    rows = [PromptRow(prompt="What does Bob like?"), PromptRow(prompt=chat_prompt)]
    sampled = _sampled([["Yes.", "Bob likes tea."], ["Yes.", "No."]])
    records = baseline_records(rows, [0, 1], sampled, NearestPrompt(TRAINING), count_words)
    texts = {(record.model, record.prompt_index): record.text for record in records}
    assert texts == {
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
    assert {r.num_tokens for r in records if r.model == "empty"} == {1}


def test_no_lookup_without_training_responses():
    rows = [PromptRow(prompt="x")]
    records = baseline_records(
        rows, [0], _sampled([["y"]]), NearestPrompt([TRAINING[2]]), count_words
    )
    assert [record.model for record in records] == ["empty", "constant", "copy", "longest"]


def test_nearest_prompt_shares_rare_words():
    """`What does … like?` is in two prompts, the name in one; equal words give similarity 1."""
    training = [
        *TRAINING,
        TrainingPrompt(prompt="What does Eve like?", responses=["Eve likes tea."]),
    ]
    match = NearestPrompt(training).find("what does eve like")
    assert match.responses == ["Eve likes tea."]
    # The question mark counts as a word and is missing: not quite 1.
    assert 0.8 < match.similarity < 1.0
    assert NearestPrompt(training).find("What does Eve like?").similarity == pytest.approx(1.0)


def test_unknown_words_match_first_row_with_similarity_0():
    match = NearestPrompt(TRAINING).find("zebra")
    assert (match.responses, match.similarity) == (["Bob likes honey."], 0.0)


def test_rows_with_equal_prompts_are_merged():
    """A demonstration file and a ranking file may share a prompt and a response."""
    question = "What does Bob like?"
    again = [
        TrainingPrompt(
            prompt=[{"role": "user", "content": question}], responses=["Tea.", "Bob likes honey."]
        ),
        TrainingPrompt(prompt=question, responses=["Jam."]),
    ]
    match = NearestPrompt([*TRAINING, *again]).find(question)
    assert match.responses == ["Bob likes honey.", "Tea.", "Jam."]
    assert match.similarity == pytest.approx(1.0)


def test_lookup_has_as_many_responses_as_a_model_at_most():
    """Two of four, drawn for each row; one of one."""
    rows = [*(PromptRow(prompt="Name a letter.") for _ in range(20)), PromptRow(prompt="2 plus 3?")]
    training = [
        TrainingPrompt(prompt="Name a letter.", responses=["a", "b", "c", "d"]),
        TRAINING[1],
    ]
    sampled = _sampled([["x", "y"]] * 21)
    records = baseline_records(rows, range(21), sampled, NearestPrompt(training), count_words)
    texts = [[r.text for r in records if (r.model, r.prompt_index) == ("lookup", i)]
             for i in range(21)]  # fmt: skip
    samples = [r.sample for r in records if r.model == "lookup"]
    assert samples == [0, 1] * 20 + [0]
    assert texts[20] == ["2 plus 3 is 5."]
    assert all(len(set(pair)) == 2 for pair in texts[:20])
    assert {text for pair in texts[:20] for text in pair} == {"a", "b", "c", "d"}
