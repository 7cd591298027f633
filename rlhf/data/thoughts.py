"""A thought before a response, in the text of the response.

It is written `<think>`, the thought, `</think>`, whatever tokens a model has for it.
"""

THINK, END_THINK = "<think>", "</think>"


def split_thought(text: str) -> tuple[str, str]:
    """(thought, response) of a text; ("", text) where there is no thought.

    A thought that was cut off before its end leaves an empty response. Text before `</think>`
    counts as one without `<think>` too: prompts of some models end with that tag.
    """
    body = text.lstrip()
    opened = body.startswith(THINK)
    thought, closed, rest = body.removeprefix(THINK).partition(END_THINK)
    if not opened and not closed:
        return "", text
    return thought.strip(), rest.lstrip("\n") if closed else ""


def with_thought(thought: str, text: str) -> str:
    """The text of a response with its thought, if there is one, before it."""
    return f"{THINK}\n{thought}\n{END_THINK}\n\n{text}" if thought else text
