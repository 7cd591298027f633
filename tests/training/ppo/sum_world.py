"""Sums that only a calculator knows: a tiny model calls a tool, and has to copy its result.

A few steps of supervised training teach the form: a call of `add`, then a number, which is the
tool's result in a third of the rows and any other number in the rest. The optimum is 1; the best
answer without reading the result, 4, is right in 5 of 25 episodes.
"""

import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes.toy_tasks.tiny_model import make_model
from rlhf.types import PromptRow

NUMBERS = [str(number) for number in range(9)]
ROWS = [PromptRow(prompt="sum")]
BLIND = 0.2
TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool['function']['name'] + ' ' }}{% endfor %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|answer|>' }}"
    "{% for call in message.get('tool_calls', []) %}{{ '<|call|> ' + call['function']['name'] }}"
    "{% for value in call['function']['arguments'].values() %}{{ ' ' + value }}{% endfor %}"
    "{% endfor %}{{ message['content'] + '<|end|>' }}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|answer|>",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<\|call\|>\s*(?P<name>\w+)\s*",
            "close_pattern": r"<\|end\|>\s*",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {
                "tag_pattern": r"(?P<key>\w+)=(?P<value>\w+)",
                "value_parser": {"name": "text"},
            },
            "transform": {
                "type": "function",
                "function": {"name": "{name}", "arguments": "{content}"},
            },
        },
        "content": {"close_pattern": r"<\|end\|>\s*", "content": "text"},
    },
}


class Sums:
    """Draws two numbers from 0 to 4; the tool adds them, and the answer is rewarded."""

    tools = ({"type": "function", "function": {"name": "add", "parameters": {}}},)

    def reset(self, prompt, seed):
        draw = random.Random(seed)
        self.answer = str(draw.randrange(5) + draw.randrange(5))

    def step(self, messages):
        turn = messages[-1]
        if turn.get("tool_calls"):
            return [{"role": "tool", "content": self.answer}], 0.0, False
        return [], float(turn["content"] == self.answer), True


def make_world(folder: Path, *, seed: int) -> Path:
    """A policy in `folder` that knows the form of calls and answers."""
    path = folder / "policy"
    symbols = ["sum", "add", "<|call|>", *NUMBERS]
    make_model(path, symbols, seed=seed, hidden_size=32, num_attention_heads=2)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template, tokenizer.response_template = TEMPLATE, RESPONSE_TEMPLATE
    tokenizer.save_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    teach_form(model, tokenizer, seed=seed)
    model.save_pretrained(path)
    return folder


def teach_form(model, tokenizer, *, seed: int) -> None:
    """Supervised steps on calls whose results are mostly ignored."""
    draw = random.Random(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        results = draw.choices(NUMBERS, k=32)
        answers = [draw.choice([result, *draw.choices(NUMBERS, k=2)]) for result in results]
        texts = [
            f"add sum<|answer|><|call|> add<|end|>{result}<|answer|>{answer}<|end|>"
            for result, answer in zip(results, answers, strict=True)
        ]
        ids = tokenizer(texts, return_tensors="pt")["input_ids"]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
