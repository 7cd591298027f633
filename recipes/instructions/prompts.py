"""Write prompts with constraints: a request about a subject, and one to three constraints on it.

    python recipes/instructions/prompts.py runs/instructions

Writes train.jsonl and heldout.jsonl; they share no subject. None of the sentences is from IFEval.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from recipes.instructions.constraints import draw_constraints, wording

REQUESTS = (
    "Explain {0} to a child.",
    "Write a short story about {0}.",
    "Write a letter to a friend about {0}.",
    "What should a beginner know about {0}?",
    "Write a poem about {0}.",
    "Give some tips that have to do with {0}.",
    "Write an advertisement for {0}.",
    "Is it a good idea to spend time on {0}?",
    "Describe {0} for someone who has never heard of it.",
    "Write a diary entry about {0}.",
    "Why do people care about {0}?",
    "Write an email to a neighbour about {0}.",
    "Summarise what is known about {0}.",
    "Write a dialogue between two people about {0}.",
    "Make the case against {0}.",
    "Plan an afternoon that is all about {0}.",
    "Write a review of a book about {0}.",
    "Come up with a quiz question about {0} and answer it.",
)
SUBJECTS = (
    "growing tomatoes", "learning to swim", "old bicycles", "the night sky", "public libraries",
    "baking bread", "night trains", "board games", "keeping bees", "paper maps", "street music",
    "mending clothes", "rainy weekends", "school lunches", "wind power", "stray cats",
    "learning a language", "hand-written letters", "city parks", "camping in autumn",
    "the history of chess", "working from home", "tea", "morning runs", "museums", "film music",
    "lighthouses", "family recipes", "public speaking", "houseplants", "sleeping well", "volcanoes",
    "second-hand shops", "knitting", "birdwatching", "saving money", "moving to a new town",
    "online shopping", "river boats", "photography", "wooden toys", "mountain huts", "ice skating",
    "fairy tales", "the first day at a job", "small gardens", "coffee", "robots in the kitchen",
    "drawing", "winter holidays", "choirs", "cycling to work", "the sea", "repairing a clock",
    "podcasts", "honey", "local newspapers", "playing the piano", "dogs", "farmers' markets",
    "fireworks", "amateur theatre", "bridges", "soap making", "crossword puzzles", "a long walk",
    "umbrellas", "electric cars", "hospital visits", "stamps", "fishing", "thunderstorms",
)  # fmt: skip
HELD_OUT = (
    "pottery", "desert animals", "video calls", "wild mushrooms", "marathons", "castles",
    "learning to drive", "the moon", "vegetable soup", "sailing", "summer camps", "recycling",
    "new shoes", "jigsaw puzzles", "comets", "the opera",
)  # fmt: skip


def rows(subjects: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows with the columns prompt and constraints."""
    rng = random.Random(seed)
    return [row(rng, subjects) for _ in range(count)]


def row(rng: random.Random, subjects: Sequence[str]) -> dict[str, Any]:
    """One row; half of the rows have one constraint, the others two or three."""
    request = rng.choice(REQUESTS).format(rng.choice(subjects))
    constraints = draw_constraints(rng, request, rng.choice((1, 1, 1, 2, 2, 3)))
    sentences = [wording(rng, constraint) for constraint in constraints]
    before = rng.random() < 0.2
    prompt = " ".join([*sentences, request] if before else [request, *sentences])
    return {"prompt": prompt, "constraints": constraints}


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=8000, help="Rows of train.jsonl.")
    parser.add_argument("--heldout", type=int, default=300, help="Rows of heldout.jsonl.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, subjects, count, seed in (
        ("train", SUBJECTS, options.train, options.seed),
        ("heldout", HELD_OUT, options.heldout, options.seed + 1),
    ):
        lines = [json.dumps(each, ensure_ascii=False) for each in rows(subjects, count, seed)]
        path = options.folder / f"{name}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path}: {count} prompts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
