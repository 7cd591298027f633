"""samples/: responses of every model to the same prompts: the best, the worst, some at random."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

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

    The best and worst prompts are those on which the last model gains and loses most over the
    baseline by `judge` (mean over the responses); without a judge there is only random. Each model
    shows its first sampled response, not a selected one.

    Args:
        folder: where samples/ is written.
        rows: the evaluated prompts.
        records: responses with their scores.
        models: names of the models to show; best and worst are about the last one.
        baseline: name of the model that it is compared with.
        judge: key of the score, or None.
        count: prompts in each file.
        seed: for the random prompts.
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


def _line(row: PromptRow, responses: Mapping[str, Sequence[Record]]) -> dict[str, object]:
    """{"prompt", "answers": {model: {"text", "scores", …}}, and the row's other columns}."""
    first = {
        model: {
            "text": group[0].text,
            **({"thought": group[0].thought} if group[0].thought else {}),
            "scores": dict(group[0].scores),
            "axes": dict(group[0].axes),
            "ended_with_eos": group[0].ended_with_eos,
        }
        for model, group in responses.items()
        if group
    }
    return {**row.columns, "prompt": row.prompt, "answers": first}


def _mean(responses: Sequence[Record], judge: str) -> float:
    scores = [record.scores[judge] for record in responses]
    return sum(scores) / len(scores)
