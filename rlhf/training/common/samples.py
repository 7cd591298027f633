"""samples/: responses of the model, for people to read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlhf.manifest import write_atomically
from rlhf.models.generation.generate import SampledResponse
from rlhf.types import Prompt


def write_samples(
    folder: Path,
    name: str,
    prompts: Sequence[Prompt],
    responses: Mapping[str, Sequence[SampledResponse]],
    scores: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write `folder/samples/NAME.jsonl`, one line per prompt.

    {"prompt", "answers": {"before": {"text", "thought"?, "scores", "ended_with_eos"}, "after": …}}

    Args:
        folder: the run folder.
        name: of the file.
        prompts: the prompts.
        responses: a response to each prompt, under each heading.
        scores: the reward of each response, under the same headings.
    """
    lines = []
    for index, prompt in enumerate(prompts):
        row = {
            heading: _as_json(sampled[index], scores[heading][index] if scores else None)
            for heading, sampled in responses.items()
        }
        lines.append(json.dumps({"prompt": prompt, "answers": row}, ensure_ascii=False))
    write_atomically(folder / "samples" / f"{name}.jsonl", "".join(f"{x}\n" for x in lines))


def _as_json(response: SampledResponse, score: float | None) -> dict[str, object]:
    return {
        "text": response.text,
        **({"thought": response.thought} if response.thought else {}),
        "scores": {} if score is None else {"reward": score},
        "ended_with_eos": response.ended_with_eos,
    }
