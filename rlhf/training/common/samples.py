"""samples/: what the model says, for people to read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlhf.manifest import write_atomically
from rlhf.models.generation.generate import Answer
from rlhf.types import Prompt


def write_samples(
    folder: Path,
    name: str,
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[Answer]],
    scores: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write `folder/samples/NAME.jsonl`, one line a prompt.

    {"prompt", "answers": {"before": {"text", "thought"?, "scores", "ended_with_eos"}, "after": …}}

    `answers` has one answer per prompt under each heading; `scores`, under the same headings, are
    the reward of each answer.
    """
    lines = []
    for index, prompt in enumerate(prompts):
        said = {
            heading: {
                "text": given[index].text,
                **({"thought": given[index].thought} if given[index].thought else {}),
                "scores": {"reward": scores[heading][index]} if scores else {},
                "ended_with_eos": given[index].ended_with_eos,
            }
            for heading, given in answers.items()
        }
        lines.append(json.dumps({"prompt": prompt, "answers": said}, ensure_ascii=False))
    write_atomically(folder / "samples" / f"{name}.jsonl", "".join(f"{x}\n" for x in lines))
