"""Choose the prompts to rank: those of which a reward model is least sure, and random ones.

    python -m rlhf.pipeline.active_choice --settings SETTINGS.json

It is a program of its own, so that the memory of the reward model is free before the next step.
"""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import torch

from rlhf.data.rows.split import prompt_key
from rlhf.errors import DataError
from rlhf.labels.priorities import uncertainty
from rlhf.manifest import write_atomically
from rlhf.pipeline.best_responses import Scored, read_candidates, score_candidates
from rlhf.pipeline.join_labels import read_ranking_rows
from rlhf.pipeline.label_stage import CANDIDATES, CHOSEN, write_rows
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.reward import Reward, load_reward
from rlhf.rewards.spec import parse_rewards
from rlhf.runtime.distributed import print_once
from rlhf.runtime.entrypoint import run
from rlhf.runtime.printing import quiet_logs

CHOICE = "choice.json"


@dataclass(frozen=True, kw_only=True)
class ChoiceStats:
    """How many prompts were chosen, and how unsure the reward model was of them (0 to 1)."""

    prompts: int
    chosen: int
    alike: int  # prompts whose responses are all one text, or empty: nothing to rank
    ranked_before: int  # chosen prompts that an earlier round ranked, with other responses
    uncertainty: float  # mean over all prompts with something to rank
    chosen_uncertainty: float  # mean over the chosen ones


def uncertainty_of(row: Scored) -> float | None:
    """How unsure the reward model is of the two best different responses, 0 to 1.

    Equal texts count once: they are level under every reward model, and nothing is learned from
    ranking them. None if there are no two different responses with a score.
    """
    scores = {
        text.strip(): score
        for text, score in zip(row.responses, row.scores, strict=True)
        if text.strip() and score == score
    }
    return uncertainty(list(scores.values())) if len(scores) > 1 else None


def choose(
    priorities: Sequence[float | None],
    ranked_before: Sequence[bool],
    *,
    count: int,
    floor: float,
    seed: int,
) -> list[int]:
    """Indices of `count` prompts to rank, in their order; fewer if there are fewer.

    New prompts come before those that an earlier round ranked. Among them the share `floor` is
    drawn at random from what the others leave, and the others have the highest priorities: by
    priority alone, whole kinds of prompts would never be ranked.

    Args:
        priorities: of each prompt; None for one that cannot be ranked.
        ranked_before: whether an earlier round ranked the prompt.
        count: number of prompts to choose.
        floor: share drawn at random.
        seed: of the draw.
    """
    rng = random.Random(f"{seed} active choice")
    chosen: list[int] = []
    for before in (False, True):
        pool = {
            index: priority
            for index, priority in enumerate(priorities)
            if priority is not None and ranked_before[index] is before
        }
        chosen += _draw(pool, min(count - len(chosen), len(pool)), floor, rng)
    return sorted(chosen)


def _draw(pool: Mapping[int, float], count: int, floor: float, rng: random.Random) -> list[int]:
    num_random = round(floor * count)
    ordered = sorted(pool, key=lambda index: (-pool[index], index))
    first, rest = ordered[: count - num_random], ordered[count - num_random :]
    return [*first, *rng.sample(rest, num_random)]


def stats_of(
    priorities: Sequence[float | None], ranked_before: Sequence[bool], chosen: Sequence[int]
) -> ChoiceStats:
    """The statistics of a choice."""
    known = [priority for priority in priorities if priority is not None]
    of_chosen = [priority for index in chosen if (priority := priorities[index]) is not None]
    return ChoiceStats(
        prompts=len(priorities),
        chosen=len(chosen),
        alike=len(priorities) - len(known),
        ranked_before=sum(ranked_before[index] for index in chosen),
        uncertainty=mean(known) if known else 0.0,
        chosen_uncertainty=mean(of_chosen) if of_chosen else 0.0,
    )


def main() -> None:
    """Score the candidates and write those to rank, with the settings of a JSON file.

    Raises:
        DataError: no prompt has two different responses.
    """
    parser = argparse.ArgumentParser(prog="rlhf.pipeline.active_choice", allow_abbrev=False)
    parser.add_argument("--settings", required=True)
    settings = json.loads(Path(parser.parse_args().settings).read_text(encoding="utf-8"))
    quiet_logs()
    folder = Path(settings["folder"])
    rows = read_candidates(folder / CANDIDATES)
    scored = score_candidates(_reward(settings), rows)
    ranked = _ranked_prompts(settings["ranked"])
    priorities = [uncertainty_of(row) for row in scored]
    before = [prompt_key(row.prompt) in ranked for row in rows]
    chosen = choose(
        priorities,
        before,
        count=settings["count"],
        floor=settings["floor"],
        seed=settings["seed"],
    )
    if not chosen:
        raise DataError(
            f"no prompt in {folder / CANDIDATES} has two different responses to rank; raise "
            "sample_temperature or num_responses.",
            code="no-rows",
        )
    candidates = read_ranking_rows(folder / CANDIDATES)
    write_rows(folder / CHOSEN, [candidates[index] for index in chosen])
    stats = stats_of(priorities, before, chosen)
    write_atomically(folder / CHOICE, json.dumps(asdict(stats), indent=2) + "\n")
    print_once(
        f"active choice: {stats.chosen} of {stats.prompts} prompts; mean uncertainty "
        f"{stats.chosen_uncertainty:.2f}, of all prompts {stats.uncertainty:.2f}"
    )


def _reward(settings: Mapping[str, str]) -> Reward:
    """The last reward model, with the chat template that it was trained with."""
    source = settings["reward_model"]
    raw = settings["chat_template"] == "none"
    templates = RewardConfig(reward=[source]).templates(parse_rewards([source]), raw=raw)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    # Raw logits: the sigmoid of their difference is the probability that one response wins.
    return load_reward([source], normalize="none", templates=templates, device=device)


def _ranked_prompts(files: Sequence[str]) -> set[str]:
    """The keys of the prompts in files of rankings."""
    return {prompt_key(row["prompt"]) for file in files for row in read_ranking_rows(Path(file))}


if __name__ == "__main__":
    run(main, name="rlhf align")
