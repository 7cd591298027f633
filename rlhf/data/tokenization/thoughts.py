"""A thought before a response, in the text of the response.

It is written as `<think>`, the thought, `</think>`, whichever tokens a model has for it.
"""

import re

THINK, END_THINK = "<think>", "</think>"
# Marks of a thought in a reply, for servers that do not separate it.
_THOUGHT = re.compile(r"\s*(<think(ing)?>|\[THINK\])")
_THOUGHT_END = re.compile(r"</think(?:ing)?>|\[/THINK\]")


def split_thought(text: str) -> tuple[str, str]:
    """(thought, response) of a text; ("", text) where it does not begin with `<think>`.

    A thought that was cut off before its end leaves an empty response. `</think>` alone does not
    end a thought: a policy could hide any text before it from its judge.
    """
    body = text.lstrip()
    if not body.startswith(THINK):
        return "", text
    thought, closed, rest = body.removeprefix(THINK).partition(END_THINK)
    return thought.strip(), rest.lstrip("\n") if closed else ""


def with_thought(thought: str, text: str) -> str:
    """The text of a response with its thought, if there is one, before it."""
    return f"{THINK}\n{thought}\n{END_THINK}\n\n{text}" if thought else text


def without_thought(reply: str) -> str:
    """The reply after its thought; "" if the thought does not end.

    Some templates write <think> into the prompt, so only its end is in the reply.
    """
    if ends := list(_THOUGHT_END.finditer(reply)):
        return reply[ends[-1].end() :]
    return "" if _THOUGHT.match(reply) else reply
