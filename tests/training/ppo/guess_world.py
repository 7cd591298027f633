"""Guess the number, for an untrained model of seven symbols: two turns, and a known optimum.

The number is 1, 2 or 3. Who guesses 2 first and then follows the hint always finds it: score 1.
Without reading the hint two different guesses find it in two of three episodes.
"""

from pathlib import Path

from recipes.toy_tasks.tiny_model import make_model, make_tokenizer
from rlhf.types import PromptRow

NUMBERS = ("1", "2", "3")
ROWS = [PromptRow(prompt="guess", columns={"number": number}) for number in NUMBERS]
BLIND = 2 / 3


class Guess:
    """Rewards the turn that names the number; a hint follows any other."""

    def reset(self, prompt, number):
        self.number = number

    def step(self, messages):
        guess = messages[-1]["content"]
        if guess == self.number:
            return [], 1.0, True
        if guess not in NUMBERS:
            return "again", 0.0, False
        return "higher" if guess < self.number else "lower", 0.0, False


def make_world(folder: Path, *, seed: int) -> Path:
    """An untrained policy in `folder`."""
    tokenizer = make_tokenizer(["guess", *NUMBERS, "higher", "lower", "again"])
    make_model(folder / "policy", tokenizer, seed=seed, hidden_size=32, num_attention_heads=2)
    return folder
