"""Rounds of a pipeline: their folders, seeds and names."""

from pathlib import Path

from rlhf.pipeline.runner import read_stage

FIRST, LAST_STAGE = 1, "evaluation"
SEED_STEP = 1000  # between the seeds of two rounds


def round_folder(root: str | Path, number: int) -> Path:
    """The folder of a numbered round, from 1."""
    return Path(root) / f"round-{number}"


def align_folder(root: str | Path, number: int) -> Path:
    """The folder of a round's stages in `rlhf align`: round 1 has no folder of its own."""
    return Path(root) if number == FIRST else round_folder(root, number)


def round_seed(seed: int, number: int) -> int:
    """The seed of a round, so that each samples with other noise; round 1 has the run's seed."""
    return seed + SEED_STEP * (number - FIRST)


def stage_name(name: str, number: int) -> str:
    """The name of a stage in messages: `ppo`, and `round 2: ppo` from round 2 on."""
    return name if number == FIRST else f"round {number}: {name}"


def complete_rounds(root: str | Path) -> int:
    """The number of rounds of `rlhf align` whose evaluation is complete, from the first one on."""
    number = 0
    while True:
        record = read_stage(align_folder(root, number + 1) / LAST_STAGE)
        if record is None or not record.finished:
            return number
        number += 1


def round_stages(root: str | Path) -> list[Path]:
    """The folders of all stages in `round-N` folders; other folders there are left out."""
    return [path for path in sorted(Path(root).glob("round-*/*")) if read_stage(path)]
