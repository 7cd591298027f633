"""`rlhf evaluate --plan`: how many prompts and responses a comparison needs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from rlhf.errors import DataError
from rlhf.evaluation.core.config import NULL_BASELINES
from rlhf.evaluation.core.records import RECORDS_FILE, Record, by_prompt, read_records
from rlhf.evaluation.core.results import EVALUATION
from rlhf.evaluation.judges.pairwise import FIRST, SECOND
from rlhf.evaluation.stats.power import Table as Wins
from rlhf.evaluation.stats.power import (
    WinVariance,
    detectable_difference,
    prompts_needed,
    win_variance,
    worst_variance,
)
from rlhf.evaluation.stats.win_rate import win
from rlhf.runtime.printing import counted, plain_console

TITLE = "prompts to detect a win rate, 80% power"
WINS: Mapping[object, float] = {(FIRST, SECOND): 1.0, (SECOND, FIRST): 0.0}  # else a tie
WIN_RATES = (0.53, 0.55, 0.60)
RESPONSES = (1, 2, 4, 8)  # of each model to a prompt


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """The comparisons of one model with the baseline by one judge, in an earlier evaluation."""

    name: str  # `ppo against sft by gold`
    tables: Sequence[Wins]  # of each prompt

    @property
    def summary(self) -> str:
        """What was run, what it could have found, and how much its responses resemble each other.

        The design effect is the variance over that of as many independent comparisons.
        """
        prompts, variance = len(self.tables), win_variance(self.tables)
        means = [float(table.mean()) for table in self.tables]
        se = float(np.std(means, ddof=1)) / prompts**0.5
        responses = int(np.median([len(table) for table in self.tables]))
        effect = (
            f", design effect {variance.design_effect(responses):.1f}" if variance.split else ""
        )
        return (
            f"{self.name}: {counted(prompts, 'prompt')} with {counted(responses, 'response')} "
            f"each, win rate {np.mean(means):.3f}, detects a difference of "
            f"{detectable_difference(se, freedom=prompts - 1):.3f}{effect}"
        )


def print_power_plan(pilot: str | None, output_dir: str) -> None:
    """Print what each comparison of the pilot needs, or the worst case without a pilot.

    Args:
        pilot: folder of an evaluation; None takes `output_dir` if it has one.
        output_dir: of the evaluation that is planned.

    Raises:
        DataError: `pilot` has no evaluation, or one without comparisons.
    """
    console = plain_console()
    folder = Path(pilot or output_dir)
    if pilot is None and not (folder / RECORDS_FILE).is_file():
        console.print(
            "no pilot: the worst case, in which a prompt is won or lost as a whole; name an "
            "earlier evaluation with --pilot"
        )
        console.print(power_table(TITLE, worst_variance()))
        return
    for one in read_pilot(folder):
        console.print(one.summary)
        console.print(power_table(TITLE, win_variance(one.tables)))


def power_table(title: str, variance: WinVariance) -> Table:
    """Prompts for each win rate and number of responses; one column if the latter is unknown."""
    responses = RESPONSES if variance.split else (1,)
    heads = [counted(number, "response") for number in responses] if variance.split else ["prompts"]
    table = Table("win rate", *heads, title=title, title_justify="left")
    for rate in WIN_RATES:
        needed = [prompts_needed(variance.at(rate).of_prompt(k), rate - 0.5) for k in responses]
        table.add_row(f"{rate:.2f}", *map(str, needed))
    return table


def read_pilot(folder: Path) -> list[Pilot]:
    """Every comparison with the baseline in an evaluation that has two prompts or more.

    Raises:
        DataError: the folder has no evaluation, or nothing was compared in it.
    """
    try:
        content = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        records = read_records(folder / RECORDS_FILE)
        baseline, names = content["baseline"], list(content["models"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"pilot={folder} cannot be read: {error}; name the output_dir of a finished "
            "evaluation, or leave pilot out.",
            code="unreadable-file",
        ) from error
    models = [name for name in names if name not in (baseline, *NULL_BASELINES)]
    pilots = _scored(records, models, baseline) + _judged(
        content.get("llm_verdicts", []), models, baseline
    )
    if not pilots:
        raise DataError(
            f"pilot={folder} compares no models by a judge on two prompts or more; name another "
            "evaluation, or leave pilot out.",
            code="unreadable-file",
        )
    return pilots


def _scored(records: Sequence[Record], models: Sequence[str], baseline: str) -> list[Pilot]:
    """By judges that score."""
    count = 1 + max((record.prompt_index for record in records), default=-1)
    keys = list(dict.fromkeys(key for record in records for key in record.scores))
    groups = {name: by_prompt(records, name, count) for name in (*models, baseline)}
    pilots = []
    for model in models:
        for key in keys:
            tables = [
                np.array([[win(a.scores[key], b.scores[key]) for b in others] for a in own])
                for own, others in zip(groups[model], groups[baseline], strict=True)
                if own and others
            ]
            pilots += _pilot(f"{model} against {baseline} by {key}", tables)
    return pilots


def _judged(
    verdicts: Sequence[Mapping[str, object]], models: Sequence[str], baseline: str
) -> list[Pilot]:
    """By an LLM judge: the mean of a prompt's pairs."""
    pilots = []
    for model in models:
        wins: dict[object, list[float]] = {}
        for one in verdicts:
            if (one["model"], one["baseline"]) == (model, baseline):
                order = (one["ours_first"], one["theirs_first"])
                wins.setdefault(one["prompt_index"], []).append(WINS.get(order, 0.5))
        tables = [np.array([[float(np.mean(of_prompt))]]) for of_prompt in wins.values()]
        pilots += _pilot(f"{model} against {baseline} by llm", tables)
    return pilots


def _pilot(name: str, tables: Sequence[Wins]) -> list[Pilot]:
    return [Pilot(name=name, tables=tables)] if len(tables) > 1 else []
