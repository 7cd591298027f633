"""Sums with a calculator: a question is two numbers below 100, and a tool adds them up.

    12 + 30  ->  42                                      at once
    12 + 30  ->  <|call|> add a 12 b 30  ->  <|result|> 42  ->  42     by a call

Numbers are symbols, so the digits of a sum cannot be worked out: a model has to know each sum, or
to call the tool. Only the last turn is rewarded.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LIMIT = 100  # of the numbers to add
CONTROL = ("<|call|>", "<|result|>")
SYMBOLS = ("add", "a", "b", "+", "wrong", *map(str, range(2 * LIMIT - 1)))
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
CHAT_TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool['function']['name'] + ' ' }}{% endfor %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|answer|>' }}{% generation %}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<|call|> ' + call['function']['name'] }}"
    "{% for name, value in call['function']['arguments'].items() %}"
    "{{ ' ' + name + ' ' + value | string }}{% endfor %}{% endfor %}"
    "{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% elif message['role'] == 'tool' %}{{ '<|result|> ' + message['content'] }}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|answer|>",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<\|call\|> (?P<name>\w+)",
            "close": "<|end|>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"(?P<key>[ab]) (?P<value>\d+)"},
            "transform": {
                "type": "function",
                "function": {"name": "{name}", "arguments": "{content}"},
            },
        },
        "content": {"close": "<|end|>", "content": "text"},
    },
}


class Calculator:
    """Adds the numbers of a call; a turn without a call ends the episode, with 1 if it is right."""

    tools = (TOOL,)

    def reset(self, prompt: str, answer: str) -> None:
        """Keep the sum."""
        self.answer = answer

    def step(self, messages: Sequence[Mapping[str, Any]]) -> tuple[list[Any], float, bool]:
        """The tool's results, or the reward."""
        turn = messages[-1]
        calls = turn.get("tool_calls", [])
        if not calls:
            return [], float(turn["content"] == self.answer), True
        results = [{"role": "tool", "content": result_of(call["function"])} for call in calls]
        return results, 0.0, False


def result_of(function: Mapping[str, Any]) -> str:
    """What the tool returns: a sum, or `wrong` for other arguments than two numbers to add."""
    arguments = function["arguments"]
    numbers = [arguments.get(name) for name in ("a", "b")]
    if function["name"] != "add" or not all(number in range(LIMIT) for number in numbers):
        return "wrong"
    return str(sum(numbers))


def questions(world: int, count: int, *, start: int = 0) -> list[tuple[int, int]]:
    """`count` distinct pairs of numbers, from number `start` of a fixed random order."""
    chosen = random.Random(f"questions {world}").sample(range(LIMIT**2), start + count)[start:]
    return [divmod(number, LIMIT) for number in chosen]


def demonstrations(world: int, count: int, *, calls: float) -> Iterator[dict[str, Any]]:
    """Dialogues that answer at once or by a call, a share `calls` of them at random."""
    draw = random.Random(f"ways {world}")
    for a, b in questions(world, count):
        answer = {"role": "assistant", "content": str(a + b)}
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"{a} + {b}"}]
        if draw.random() < calls:
            call = {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}
            messages += [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": str(a + b)},
            ]
        yield {"messages": [*messages, answer], "tools": [TOOL]}


def prompt_rows(world: int, count: int, *, start: int) -> Iterator[dict[str, str]]:
    """Questions with their answers."""
    for a, b in questions(world, count, start=start):
        yield {"prompt": f"{a} + {b}", "answer": str(a + b)}
