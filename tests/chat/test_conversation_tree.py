"""Rows that a branch of a conversation is exported as."""

from rlhf.chat.web.conversation_tree import Turn, TurnResponse, branch_rows
from rlhf.data.rows.parse import parse_demonstration


def prompt(number: int, content: str, **fields) -> Turn:
    parent = f"turn-{number - 1:04}" if number else None
    return Turn(id=f"turn-{number:04}", parent=parent, role="user", content=content, **fields)


def replies(number: int, *texts: str, finish: str = "stop", **fields) -> Turn:
    steered = fields.pop("steered", False)
    thought = fields.pop("thought", "")
    responses = [
        TurnResponse(
            model="m", label="m", text=text, finish=finish, steered=steered, thought=thought
        )
        for text in texts
    ]
    parent = f"turn-{number - 1:04}"
    return Turn(
        id=f"turn-{number:04}", parent=parent, role="assistant", responses=responses, **fields
    )


def test_branch_is_one_row_with_the_responses_that_it_continues():
    """The second prompt continues response 1 of two, although response 0 was chosen later."""
    branch = [
        prompt(0, "Hi"),
        replies(1, "a", "b", system="Be brief.", chosen=0),
        prompt(2, "More", continues=1),
        replies(3, "c", system="Be brief.", thought="Hm."),
        prompt(4, "not answered yet"),
    ]
    [row] = branch_rows(branch)
    assert row == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "More"},
            {"role": "assistant", "content": "c", "reasoning_content": "Hm."},
        ]
    }
    assert parse_demonstration(row).completion == "c"


def test_each_response_is_trained_on_under_its_own_system_message():
    """Responses a and b were asked under X, c under Y: two rows, in which a and b train once."""
    branch = [
        prompt(0, "1"), replies(1, "a", system="X"), prompt(2, "2"), replies(3, "b", system="X"),
        prompt(4, "3"), replies(5, "c", system="Y"),
    ]  # fmt: skip
    first, second = branch_rows(branch)
    assert [m["content"] for m in first["messages"]] == ["X", "1", "a", "2", "b"]
    assert [m["content"] for m in second["messages"]] == ["Y", "1", "a", "2", "b", "3", "c"]
    assert [m.get("weight", 1) for m in first["messages"] if m["role"] == "assistant"] == [1, 1]
    assert [m.get("weight", 1) for m in second["messages"] if m["role"] == "assistant"] == [0, 0, 1]
    for row in (first, second):
        parse_demonstration(row)


def test_turns_that_did_not_fit_are_not_in_the_row():
    """The third response was generated without the two oldest messages."""
    branch = [
        prompt(0, "1"), replies(1, "a"), prompt(2, "2"), replies(3, "b"),
        prompt(4, "3"), replies(5, "c", dropped=2),
    ]  # fmt: skip
    first, second = branch_rows(branch)
    assert [m["content"] for m in first["messages"]] == ["1", "a", "2", "b"]
    assert [m["content"] for m in second["messages"]] == ["2", "b", "3", "c"]


def test_responses_that_are_not_the_models_own_are_marked():
    branch = [
        prompt(0, "1"), replies(1, "a"), prompt(2, "2"), replies(3, "b", finish="length"),
        prompt(4, "3"), replies(5, "c", finish="", steered=True),
    ]  # fmt: skip
    [row] = branch_rows(branch)
    assert row["endings"] == ["stop", "length", "stopped"]
    assert row["steered"] == [False, False, True]
    parse_demonstration(row)


def test_empty_response_is_not_exported():
    assert branch_rows([prompt(0, "1"), replies(1, "")]) == []
    assert branch_rows([prompt(0, "1")]) == []
    assert branch_rows([]) == []
