"""Rows with the columns of published datasets, and their conversion."""

import json
from pathlib import Path

from rlhf.data.convert import Conversion, convert


def convert_rows_of(tmp_path: Path, name: str, *rows: dict, dropping: bool = False) -> Conversion:
    """The conversion of a file of these rows from the format `name`."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return convert(str(path), name, dropping=dropping)


def helpsteer2_row(prompt: str, response: str, helpfulness: int) -> dict:
    axes = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 2}
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **axes}


def helpsteer3_row(*scores: object) -> dict:
    preferences = [
        {"score": score, "reasoning": "r", "feedback1": "f", "feedback2": "g"} for score in scores
    ]
    return {
        "domain": "general",
        "language": "english",
        "context": [{"role": "user", "content": "Name a bird."}],
        "response1": "A robin.",
        "response2": "A chair.",
        "overall_preference": -2,
        "individual_preference": preferences,
    }


def completion(response: object, *ratings: object) -> dict:
    axes = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    return {
        "model": "m",
        "principle": "helpfulness",
        "custom_system_prompt": "Be helpful.",
        "response": response,
        "overall_score": 10.0,
        "annotations": {
            axis: {"Rating": rating, "Rationale": ""}
            for axis, rating in zip(axes, ratings, strict=True)
        },
    }


def ultrafeedback_row(*completions: object) -> dict:
    return {
        "source": "sharegpt",
        "instruction": "Name a bird.",
        "models": ["m"] * len(completions),
        "completions": list(completions),
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }


def rewardbench2_row(subset: str, chosen: list, rejected: list, correct: int) -> dict:
    return {
        "id": "17",
        "prompt": "Name a colour.",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": correct,
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["m"] * (len(chosen) + len(rejected)),
        "subset": subset,
        "additional_metadata": {"category": None},
    }


HH_EARLY_DIFFERENCE = {
    "chosen": "\n\nHuman: Bread?\n\nAssistant: Wrap it.\n\nHuman: A week?\n\nAssistant: Freeze it.",
    "rejected": "\n\nHuman: Bread?\n\nAssistant: No.\n\nHuman: A week?\n\nAssistant: Buy more.",
}


HH_SHORTER = {
    "chosen": "\n\nHuman: A bird?\n\nAssistant: A robin.\n\nHuman: Thanks.\n\nAssistant: Welcome.",
    "rejected": "\n\nHuman: A bird?\n\nAssistant: I know none.",
}


HH_PAIR = {
    "chosen": "\n\nHuman: A bird?\n\nAssistant: A robin.",
    "rejected": "\n\nHuman: A bird? \n\nAssistant: A chair.",
}
