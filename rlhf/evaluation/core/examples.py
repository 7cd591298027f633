"""samples/: the same prompts answered by every model, the best, the worst and some at random."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.evaluation.core.records import Record, by_prompt
from rlhf.manifest import write_atomically
from rlhf.types import PromptRow


def write_examples(
    folder: Path,
    rows: Sequence[PromptRow],
    records: Sequence[Record],
    *,
    models: Sequence[str],
    baseline: str,
    judge: str | None,
    count: int,
    seed: int,
) -> None:
    """Write `samples/{best,worst,random}.jsonl` under `folder`.

    Best and worst are the prompts on which the last model gains and loses most over the
    baseline by `judge` (mean over the answers); without a judge there is only random. The first
    sampled answer of each model is shown, not a picked one.
    """
    groups = {model: by_prompt(records, model, len(rows)) for model in models}
    picks = {"random": random.Random(seed).sample(range(len(rows)), min(count, len(rows)))}
    if judge is not None:
        gains = [
            _mean(groups[models[-1]][i], judge) - _mean(groups[baseline][i], judge)
            for i in range(len(rows))
        ]
        order = sorted(range(len(rows)), key=lambda i: gains[i])
        picks |= {"worst": order[:count], "best": order[::-1][:count]}
    for name, chosen in picks.items():
        lines = [_line(rows[i], {m: groups[m][i] for m in models}) for i in chosen]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(folder / "samples" / f"{name}.jsonl", text)


def _line(row: PromptRow, answers: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """{"prompt", "answers": {model: {"text", "scores", …}}, and the row's other columns}."""
    first = {
        model: {
            "text": group[0].text,
            **({"thought": group[0].thought} if group[0].thought else {}),
            "scores": dict(group[0].scores),
            "axes": dict(group[0].axes),
            "ended_with_eos": group[0].ended_with_eos,
        }
        for model, group in answers.items()
        if group
    }
    return {**row.columns, "prompt": row.prompt, "answers": first}


def _mean(answers: Sequence[Record], judge: str) -> float:
    scores = [record.scores[judge] for record in answers]
    return sum(scores) / len(scores)
