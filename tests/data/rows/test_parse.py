"""A row is one of the types the recipes take, or the reason says why not."""

import pytest

from rlhf.data.rows.parse import parse_demonstration, parse_prompt, parse_ranking, parse_text
from rlhf.errors import DataError
from rlhf.types import Demonstration, PromptRow, Ranking

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
    """Which orders of roles are right is the chat template's affair."""
    row = {"messages": messages}
    prompt = prompt or messages[:-1]
    every, last = parse_demonstration(row), parse_demonstration(row, "last")
    assert every == Demonstration(prompt=prompt, completion="Hello.", every_turn=True)
    assert last == Demonstration(prompt=prompt, completion="Hello.")


CALL = {"function": {"name": "look", "arguments": '{"place": "hall"}'}, "id": "1", "type": "x"}


def test_thoughts_calls_weights_and_parts_of_messages_are_kept():
    """One name for a thought, arguments as an object, parts of type text as their text."""
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
    made = parse_demonstration(row)
    assert made.prompt == [
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
    assert made.turn == {"role": "assistant", "content": "Here.", "reasoning_content": "A cup."}
    assert made.tools == ({"type": "function", "function": {"name": "look"}},)


def test_completion_of_several_turns_trains_on_them_and_not_on_the_prompt():
    row = {"prompt": [USER, BOT, USER], "completion": [BOT, USER, {**BOT, "content": "Bye."}]}
    made = parse_demonstration(row)
    assert made.prompt == [USER, {**BOT, "weight": 0}, USER, BOT, USER]
    assert (made.completion, made.every_turn) == ("Bye.", True)


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_system_column_becomes_the_system_message(name):
    row = {"prompt": "Hi", "completion": "Hello.", name: "Be kind."}
    assert parse_demonstration(row).prompt == [SYSTEM, USER]
    assert parse_prompt({"prompt": [SYSTEM, USER], name: "Be kind."}).prompt == [SYSTEM, USER]
    assert parse_ranking({**PAIR, name: "Be kind."}).prompt == [SYSTEM, USER]
    with pytest.raises(DataError, match=f"{name} next to a conversation"):
        parse_demonstration({"messages": [SYSTEM, USER, BOT], name: "Be rude."})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"completion": "x"}, "no prompt; a row needs prompt and completion"),
        ({"prompt": "x", "text": "y"}, "no completion"),
        ({"prompt": "x", "completion": " \n"}, "completion is empty"),
        ({"prompt": "x", "completion": 5}, "completion is int, not text"),
        ({"prompt": 5, "completion": "x"}, "prompt is int, neither text nor a list of messages"),
        ({"prompt": "x", "completion": "y", "label": False}, "a thumb"),
        ({"messages": []}, "messages is an empty list"),
        ({"messages": None}, "messages is null, not a list"),
        ({"messages": [USER]}, "roles user; the last one has to be assistant"),
        ({"messages": [BOT, USER]}, "roles assistant, user"),
        ({"messages": [BOT]}, "nothing that it answers"),
        ({"messages": [{"role": "human", "content": "x"}, BOT]}, "unknown role 'human'"),
        ({"messages": [{"role": ["user"], "content": "x"}, BOT]}, "unknown role"),
        ({"messages": ["Hi", "Hello"]}, "a message is"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "content is empty"),
        ({"messages": [{"role": "user", "content": [{}]}, BOT]}, "a part of type None"),
        ({"messages": [{"role": "user", "content": 5}, BOT]}, "content is int, not text"),
        ({"prompt": [USER, BOT], "completion": "x"}, "roles user, assistant; .* user or tool"),
        ({"prompt": "x", "completion": [USER]}, "roles user; the last one has to be assistant"),
        ({"prompt": "x", "completion": []}, "completion is list, not text"),
        ({"messages": [USER, BOT], "completion": "x"}, "completion next to messages"),
        ({"messages": [USER, BOT], "prompt": "Why?"}, "prompt next to messages"),
        ({"messages": [USER, BOT], "images": ["x.png"]}, "images: only text is read"),
        ({"messages": [USER, {**BOT, "function_call": {"name": "x"}}]}, "write tool_calls"),
        ({"messages": [USER, {**BOT, "loss": True}]}, "write weight"),
        ({"messages": [USER, {**BOT, "weight": 0.5}]}, "weight 0.5 is neither"),
        (
            {"messages": [USER, {**BOT, "content": "<think>a</think>b", "thinking": "c"}]},
            "a thought in thinking and another in the content",
        ),
        (
            {"messages": [USER, {**BOT, "tool_calls": [{"name": "f", "arguments": "{a"}]}]},
            "the arguments of f are no JSON object",
        ),
        ({"messages": [USER, {**BOT, "weight": 0}]}, "weight 0 on every assistant turn"),
        ({"messages": [{**USER, "thinking": "x"}, BOT]}, "thinking belongs to the assistant"),
        ({"messages": [USER, {**BOT, "thinking": "a", "reasoning": "b"}]}, "differ"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, BOT]},
            "a part of type 'image_url'; only text is read",
        ),
        ({"prompt": "x", "completion": "y", "chat_template_kwargs": {"a": 1}}, "a key of the run"),
        ({"messages": [USER, BOT], "functions": [{"name": "look"}]}, "functions: .* write tools"),
        ({"messages": [USER, BOT], "reasoning_content": "x"}, "reasoning_content: this column is"),
        ({"prompt": "x", "completion": "y", "thinking": "z"}, "before the response as <think>"),
        ({"prompt": "x", "completion": "y", "history": [["a", "b"]]}, "history: this column is"),
        ({"prompt": "x", "completion": "y", "documents": [{"text": "z"}]}, "into the prompt"),
        ({"messages": [USER, {**BOT, "reasoning_details": [{}]}]}, "write reasoning_content"),
        ({"messages": [USER, {**BOT, "thoughts": "x"}]}, "write reasoning_content"),
    ],
)
def test_what_is_no_demonstration(row, reason):
    with pytest.raises(DataError, match=reason):
        parse_demonstration(row)


def test_a_prompt_keeps_its_other_columns():
    row = {"prompt": [USER], "category": "talk", "answer": 3}
    expected = PromptRow(prompt=[USER], columns={"category": "talk", "answer": 3})
    assert parse_prompt(row) == expected


def test_texts():
    assert parse_text({"text": "a story", "label": 1}) == "a story"
    with pytest.raises(DataError, match="text is empty"):
        parse_text({"text": ""})


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {**PAIR, "chosen": [BOT], "rejected": [{**BOT, "content": "Go away."}]},
        {**PAIR, "chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "Go away."}]},
    ],
)
def test_a_pair_is_a_ranking_of_two(row):
    expected = Ranking(prompt="Hi", responses=["Hello.", "Go away."], ranks=[1, 2])
    assert parse_ranking(row) == expected


def test_whole_conversations_bring_their_prompt():
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


def test_pair_goes_on_after_its_prompt_with_turns_that_both_share():
    """Sets of conversations (Capybara's pairs) keep the first question as `prompt`."""
    shared = [USER, BOT, {"role": "user", "content": "Why?"}]
    answers = [{"role": "assistant", "content": text} for text in ("So.", "No.")]
    row = {"prompt": "Hi", "chosen": [*shared, answers[0]], "rejected": [*shared, answers[1]]}
    expected = Ranking(prompt=shared, responses=["So.", "No."], ranks=[1, 2], implicit_prompt=True)
    assert parse_ranking(row) == expected
    with pytest.raises(DataError, match="chosen has turns between the prompt and its last message"):
        parse_ranking({**row, "rejected": [USER, answers[1]]})


def test_margin_is_the_strength():
    assert parse_ranking({**PAIR, "margin": 2}).strength == 2.0
    assert parse_ranking({**PAIR, "margin": 2, "strength": 2}).strength == 2.0


def test_scores_weigh_the_pair_where_asked():
    row = {**PAIR, "score_chosen": 7.5, "score_rejected": 6}
    assert parse_ranking(row, "strength").strength == 1.5
    assert parse_ranking(row, "ignore").strength == 1.0
    with pytest.raises(DataError, match="score_chosen 5 is not above score_rejected 6"):
        parse_ranking({**row, "score_chosen": 5}, "strength")


def test_thought_of_a_ranked_response_stays_before_it():
    row = {**PAIR, "chosen": [{**BOT, "reasoning_content": "A guest."}]}
    assert parse_ranking(row).responses[0] == "<think>\nA guest.\n</think>\n\nHello."


def test_ultrafeedback_binarized_repeats_its_chosen_conversation():
    """`messages` there is `chosen` again; the scores need a word from the user."""
    chosen = [USER, BOT]
    row = {"prompt": "Hi", "chosen": chosen, "rejected": [USER, {**BOT, "content": "No."}]}
    assert parse_ranking({**row, "messages": chosen}).responses == ["Hello.", "No."]
    with pytest.raises(DataError, match="not the chosen conversation"):
        parse_ranking({**row, "messages": [USER, {**BOT, "content": "Other."}]})


def test_a_number_names_an_annotator_and_null_nobody():
    assert parse_ranking({**PAIR, "annotator": 7}).annotator == "7"
    assert parse_ranking({**PAIR, "annotator": None}).annotator == ""


def test_rankings_keep_ties_annotator_and_strength():
    row = {**RANKED, "annotator": "ann", "strength": 2}
    ranking = parse_ranking(row)
    assert (ranking.ranks, ranking.annotator, ranking.strength) == ([2, 1, 2], "ann", 2.0)


def test_equal_texts_may_tie():
    """Sampled answers repeat; of equal rank they say nothing against each other."""
    row = {"prompt": "Hi", "responses": ["x", "x ", "y"], "ranks": [1, 1, 3]}
    assert parse_ranking(row).ranks == [1, 1, 3]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PAIR, "rejected": "Hello."}, "the same text"),
        ({**PAIR, "rejected": ""}, "rejected is empty"),
        ({"prompt": "Hi", "chosen": "x"}, "no rejected"),
        ({"chosen": "x", "rejected": "y"}, "no prompt"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c"}, "--from hh"),
        ({**PAIR, "completion": "x"}, "completion next to chosen"),
        ({**PAIR, "responses": ["x", "y"], "ranks": [1, 2]}, "responses next to chosen"),
        ({**PAIR, "score_chosen": 5}, "score_columns: strength"),
        ({**PAIR, "margin": 0}, "margin 0 is not a number above 0"),
        ({**PAIR, "margin": 1, "strength": 2}, "give one of them"),
        ({"chosen": [USER, BOT], "rejected": [SYSTEM, USER, BOT]}, "the same turns"),
        ({**PAIR, "chosen": [SYSTEM, USER, BOT]}, "does not begin with the prompt"),
        ({**RANKED, "ranks": [1, 2]}, "2 ranks for 3 responses"),
        ({**RANKED, "ranks": [1, 2, 2.5]}, "not whole numbers"),
        ({**RANKED, "ranks": [True, 2, 3]}, "not whole numbers"),
        ({**RANKED, "ranks": "1 2 3"}, "ranks is str, not a list"),
        ({**RANKED, "responses": ["a", "", "c"]}, r"responses\[1\] is empty"),
        ({**RANKED, "responses": ["a"], "ranks": [1]}, "holds 1 answer"),
        ({**PAIR, "rejected": "Hello. "}, "the same text"),
        ({**RANKED, "responses": ["x", "y", "x "], "ranks": [1, 2, 3]}, "ranks 1 and 3; equal"),
        ({**RANKED, "ranks": [1, 0, 2]}, "below 1"),
        ({**RANKED, "strength": "much"}, "strength 'much'"),
        ({"prompt": "Hi"}, "no responses"),
        ({**PAIR, "annotator": {"name": "ann"}}, "annotator is dict, neither a name"),
        ({**PAIR, "history": [["a", "b"]]}, "history: this column is not read"),
        ({**RANKED, "functions": [{"name": "look"}]}, "functions: this column is not read"),
    ],
)
def test_what_is_no_ranking(row, reason):
    with pytest.raises(DataError, match=reason):
        parse_ranking(row)
