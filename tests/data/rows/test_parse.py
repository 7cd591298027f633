"""A row becomes one of the types that recipes read, or is rejected with a reason."""

import pytest

from rlhf.data.rows.messages import messages_of
from rlhf.data.rows.parse import parse_demonstration, parse_prompt, parse_ranking, parse_text
from rlhf.types import Demonstration, PromptRow, Ranking
from tests.errors import raises

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "Be kind."}
PAIR = {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}
RANKED = {"prompt": "Hi", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi", "completion": "Hello.", "category": "x"}, ("Hi", "Hello.")),
        ({"prompt": "", "completion": "Once."}, ("", "Once.")),
        ({"prompt": [USER], "completion": [BOT]}, ([USER], "Hello.")),
        ({"prompt": "Hi", "completion": [USER, BOT]}, ("Hi", "Hello.")),
    ],
)
def test_prompt_and_completion(row, expected):
    prompt, completion = expected
    assert parse_demonstration(row) == Demonstration(prompt=prompt, completion=completion)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([SYSTEM, USER, BOT], [SYSTEM, USER]),
        ([USER, BOT, USER, BOT], [USER, BOT, USER]),
        ([USER, USER, BOT], [USER, USER]),
        ([USER, SYSTEM, BOT], [USER, SYSTEM]),
        ([{"role": "developer", "content": "Be kind."}, USER, BOT], None),
    ],
)
def test_messages_train_on_every_assistant_turn(messages, prompt):
    """Whether the order of roles is right is left to the chat template."""
    row = {"messages": messages}
    prompt = prompt or messages[:-1]
    every, last = parse_demonstration(row), parse_demonstration(row, "last")
    assert every == Demonstration(prompt=prompt, completion="Hello.", every_turn=True)
    assert last == Demonstration(prompt=prompt, completion="Hello.")


CALL = {"function": {"name": "look", "arguments": '{"place": "hall"}'}, "id": "1", "type": "x"}


def test_thoughts_calls_weights_and_parts_of_messages_are_read():
    """Thoughts have one name, arguments are an object, parts of type text become one text."""
    parts = [{"type": "text", "text": "Where "}, {"type": "text", "text": "is it?"}]
    row = {
        "messages": [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "Moment.", "weight": 0},
            {"role": "user", "content": "Now?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "a cup", "name": "look", "tool_call_id": "1"},
            {"role": "assistant", "content": "Here.", "thinking": "A cup."},
        ],
        "tools": '[{"type": "function", "function": {"name": "look", "strict": null}}]',
    }
    demonstration = parse_demonstration(row)
    assert demonstration.prompt == [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "Moment.", "weight": 0},
        {"role": "user", "content": "Now?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "look", "arguments": {"place": "hall"}},
                }
            ],
        },
        {"role": "tool", "content": "a cup", "name": "look", "tool_call_id": "1"},
    ]
    assert demonstration.turn == {
        "role": "assistant",
        "content": "Here.",
        "reasoning_content": "A cup.",
    }
    assert demonstration.tools == ({"type": "function", "function": {"name": "look"}},)


def test_completion_of_several_turns_trains_on_them_and_not_on_the_prompt():
    row = {"prompt": [USER, BOT, USER], "completion": [BOT, USER, {**BOT, "content": "Bye."}]}
    demonstration = parse_demonstration(row)
    assert demonstration.prompt == [USER, {**BOT, "weight": 0}, USER, BOT, USER]
    assert (demonstration.completion, demonstration.every_turn) == ("Bye.", True)


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_system_column_becomes_the_system_message(name):
    row = {"prompt": "Hi", "completion": "Hello.", name: "Be kind."}
    assert parse_demonstration(row).prompt == [SYSTEM, USER]
    assert parse_prompt({"prompt": [SYSTEM, USER], name: "Be kind."}).prompt == [SYSTEM, USER]
    assert parse_ranking({**PAIR, name: "Be kind."}).prompt == [SYSTEM, USER]
    with raises("bad-row", name, "system message"):
        parse_demonstration({"messages": [SYSTEM, USER, BOT], name: "Be rude."})


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"completion": "x"}, "prompt completion"),
        ({"prompt": "x", "text": "y"}, "completion text"),
        ({"prompt": "x", "completion": " \n"}, "completion"),
        ({"prompt": "x", "completion": 5}, "completion int"),
        ({"prompt": 5, "completion": "x"}, "prompt int"),
        ({"prompt": "x", "completion": "y", "label": False}, "label"),
        ({"messages": []}, "messages empty"),
        ({"messages": None}, "messages null"),
        ({"messages": [USER]}, "messages user assistant"),
        ({"messages": [BOT, USER]}, "messages assistant, user"),
        ({"messages": [BOT]}, "messages assistant"),
        ({"messages": [{"role": "human", "content": "x"}, BOT]}, "'human'"),
        ({"messages": [{"role": ["user"], "content": "x"}, BOT]}, "['user']"),
        ({"messages": ["Hi", "Hello"]}, "messages 'Hi'"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "messages content"),
        ({"messages": [{"role": "user", "content": [{}]}, BOT]}, "content None"),
        ({"messages": [{"role": "user", "content": 5}, BOT]}, "content int"),
        ({"prompt": [USER, BOT], "completion": "x"}, "prompt user, assistant"),
        ({"prompt": "x", "completion": [USER]}, "completion user assistant"),
        ({"prompt": "x", "completion": []}, "completion list"),
        ({"messages": [USER, BOT], "completion": "x"}, "completion messages"),
        ({"messages": [USER, BOT], "prompt": "Why?"}, "prompt messages"),
        ({"messages": [USER, BOT], "images": ["x.png"]}, "images"),
        ({"messages": [USER, {**BOT, "function_call": {"name": "x"}}]}, "function_call tool_calls"),
        ({"messages": [USER, {**BOT, "loss": True}]}, "loss weight"),
        ({"messages": [USER, {**BOT, "weight": 0.5}]}, "weight 0.5"),
        (
            {"messages": [USER, {**BOT, "content": "<think>a</think>b", "thinking": "c"}]},
            "thinking content",
        ),
        (
            {"messages": [USER, {**BOT, "tool_calls": [{"name": "f", "arguments": "{a"}]}]},
            "arguments f",
        ),
        ({"messages": [USER, {**BOT, "weight": 0}]}, "weight 0"),
        ({"messages": [{**USER, "thinking": "x"}, BOT]}, "thinking user"),
        ({"messages": [USER, {**BOT, "thinking": "a", "reasoning": "b"}]}, "thinking reasoning"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, BOT]},
            "content 'image_url'",
        ),
        (
            {"prompt": "x", "completion": "y", "chat_template_kwargs": {"a": 1}},
            "chat_template_kwargs",
        ),
        ({"messages": [USER, BOT], "functions": [{"name": "look"}]}, "functions tools"),
        ({"messages": [USER, BOT], "reasoning_content": "x"}, "reasoning_content"),
        ({"prompt": "x", "completion": "y", "thinking": "z"}, "thinking <think>"),
        ({"prompt": "x", "completion": "y", "history": [["a", "b"]]}, "history"),
        ({"prompt": "x", "completion": "y", "documents": [{"text": "z"}]}, "documents"),
        (
            {"messages": [USER, {**BOT, "reasoning_details": [{}]}]},
            "reasoning_details",
        ),
        ({"messages": [USER, {**BOT, "thoughts": "x"}]}, "thoughts reasoning_content"),
    ],
)
def test_row_that_is_no_demonstration_is_rejected(row, names):
    with raises("bad-row", *names.split()):
        parse_demonstration(row)


def test_prompt_keeps_its_other_columns():
    row = {"prompt": [USER], "category": "talk", "answer": 3}
    expected = PromptRow(prompt=[USER], columns={"category": "talk", "answer": 3})
    assert parse_prompt(row) == expected


def test_text_is_read_and_an_empty_one_rejected():
    assert parse_text({"text": "a story", "label": 1}) == "a story"
    with raises("bad-row", "text"):
        parse_text({"text": ""})


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {**PAIR, "chosen": [BOT], "rejected": [{**BOT, "content": "Go away."}]},
        {**PAIR, "chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "Go away."}]},
    ],
)
def test_pair_is_a_ranking_of_two(row):
    expected = Ranking(prompt="Hi", responses=["Hello.", "Go away."], ranks=[1, 2])
    assert parse_ranking(row) == expected


def test_common_turns_of_two_conversations_are_the_prompt():
    row = {"chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "Go away."}]}
    assert parse_ranking(row).prompt == [USER]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Name a pet.", "chosen": "Name a pet. A dog.",
          "rejected": "Name a pet. No."}, "Name a pet."),
        ({"chosen": "Name a pet. A dog.", "rejected": "Name a pet. No."}, "Name a pet."),
        ({"chosen": "Q: a pet?\nA dog.", "rejected": "Q: a pet?\nA dot."}, "Q: a pet?\nA"),
    ],
)  # fmt: skip
def test_repeated_prompt_is_split_off_at_a_word(row, prompt):
    ranking = parse_ranking(row)
    assert ranking.prompt == prompt
    assert ranking.responses == [row[key][len(prompt) :].strip() for key in ("chosen", "rejected")]
    assert ranking.implicit_prompt


def test_turns_that_both_conversations_share_extend_the_prompt():
    """Datasets of conversations (Capybara's pairs) have the first question as `prompt`."""
    shared = [USER, BOT, {"role": "user", "content": "Why?"}]
    responses = [{"role": "assistant", "content": text} for text in ("So.", "No.")]
    row = {"prompt": "Hi", "chosen": [*shared, responses[0]], "rejected": [*shared, responses[1]]}
    expected = Ranking(prompt=shared, responses=["So.", "No."], ranks=[1, 2], implicit_prompt=True)
    assert parse_ranking(row) == expected
    with raises("bad-row", "chosen"):
        parse_ranking({**row, "rejected": [USER, responses[1]]})


def test_margin_is_the_strength():
    assert parse_ranking({**PAIR, "margin": 2}).strength == 2.0
    assert parse_ranking({**PAIR, "margin": 2, "strength": 2}).strength == 2.0


def test_score_columns_decide_the_strength():
    row = {**PAIR, "score_chosen": 7.5, "score_rejected": 6}
    assert parse_ranking(row, "strength").strength == 1.5
    assert parse_ranking(row, "ignore").strength == 1.0
    with raises("bad-row", "score_chosen 5", "score_rejected 6"):
        parse_ranking({**row, "score_chosen": 5}, "strength")


def test_thought_of_a_ranked_response_stays_before_it():
    row = {**PAIR, "chosen": [{**BOT, "reasoning_content": "A guest."}]}
    assert parse_ranking(row).responses[0] == "<think>\nA guest.\n</think>\n\nHello."


def test_ultrafeedback_binarized_repeats_its_chosen_conversation():
    """Its `messages` repeat `chosen`."""
    chosen = [USER, BOT]
    row = {"prompt": "Hi", "chosen": chosen, "rejected": [USER, {**BOT, "content": "No."}]}
    assert parse_ranking({**row, "messages": chosen}).responses == ["Hello.", "No."]
    with raises("bad-row", "messages", "chosen"):
        parse_ranking({**row, "messages": [USER, {**BOT, "content": "Other."}]})


def test_annotator_may_be_a_number_or_null():
    assert parse_ranking({**PAIR, "annotator": 7}).annotator == "7"
    assert parse_ranking({**PAIR, "annotator": None}).annotator == ""


def test_ranking_has_ties_annotator_and_strength():
    row = {**RANKED, "annotator": "ann", "strength": 2}
    ranking = parse_ranking(row)
    assert (ranking.ranks, ranking.annotator, ranking.strength) == ([2, 1, 2], "ann", 2.0)


def test_equal_texts_may_tie():
    """Sampled responses may repeat; on equal ranks they do not contradict each other."""
    row = {"prompt": "Hi", "responses": ["x", "x ", "y"], "ranks": [1, 1, 3]}
    assert parse_ranking(row).ranks == [1, 1, 3]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({**PAIR, "rejected": "Hello."}, "chosen rejected"),
        ({**PAIR, "rejected": ""}, "rejected"),
        ({"prompt": "Hi", "chosen": "x"}, "rejected"),
        ({"chosen": "x", "rejected": "y"}, "prompt"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c"}, "--from hh"),
        ({**PAIR, "completion": "x"}, "completion chosen"),
        ({**PAIR, "responses": ["x", "y"], "ranks": [1, 2]}, "responses chosen"),
        ({**PAIR, "score_chosen": 5}, "score_chosen score_columns"),
        ({**PAIR, "margin": 0}, "margin 0"),
        ({**PAIR, "margin": 1, "strength": 2}, "margin strength"),
        ({"chosen": [USER, BOT], "rejected": [SYSTEM, USER, BOT]}, "prompt chosen rejected"),
        ({**PAIR, "chosen": [SYSTEM, USER, BOT]}, "chosen prompt"),
        ({**RANKED, "ranks": [1, 2]}, "2 3 ranks"),
        ({**RANKED, "ranks": [1, 2, 2.5]}, "ranks 2.5"),
        ({**RANKED, "ranks": [True, 2, 3]}, "ranks True"),
        ({**RANKED, "ranks": "1 2 3"}, "ranks str"),
        ({**RANKED, "responses": ["a", "", "c"]}, "responses[1]"),
        ({**RANKED, "responses": ["a"], "ranks": [1]}, "responses 1 2"),
        ({**PAIR, "rejected": "Hello. "}, "chosen rejected"),
        (
            {**RANKED, "responses": ["x", "y", "x "], "ranks": [1, 2, 3]},
            "responses[2] 1 3",
        ),
        ({**RANKED, "ranks": [1, 0, 2]}, "ranks 0"),
        ({**RANKED, "strength": "much"}, "strength 'much'"),
        ({"prompt": "Hi"}, "responses"),
        ({**PAIR, "annotator": {"name": "ann"}}, "annotator dict"),
        ({**PAIR, "history": [["a", "b"]]}, "history"),
        ({**RANKED, "functions": [{"name": "look"}]}, "functions"),
    ],
)
def test_row_that_is_no_ranking_is_rejected(row, names):
    with raises("bad-row", *names.split()):
        parse_ranking(row)


@pytest.mark.parametrize("field", ["name", "tool_call_id"])
def test_name_and_call_id_of_a_message_are_texts(field):
    message = {"role": "tool", "content": "4"}
    assert messages_of([{**message, field: "a"}], "prompt") == [{**message, field: "a"}]
    with raises("bad-row", f"prompt: {field}", "int"):
        messages_of([{**message, field: 5}], "prompt")
