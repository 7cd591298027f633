"""`python -m rlhf.evaluation.reward_model.cli`: a report on any reward model.

    python -m rlhf.evaluation.reward_model.cli --reward_model DIR --rankings FILE \\
        --demonstrations FILE --output_dir DIR

The reward model is a folder or a hub id of a sequence classifier with one label. The exit status is
0 whatever the verdict, which is in gate.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.evaluation.reward_model.report import make_report, print_report, write_reward_report
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rewards.model import RewardModel
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import make_folder
from rlhf.runtime.printing import quiet_logs


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The reward model and the data of its report."""

    JSON_KEYS: ClassVar[Sequence[str]] = ("chat_template_kwargs",)

    reward_model: str = field(metadata={"help": "Folder or hub id of the reward model."})
    rankings: str = field(metadata={"help": "Held-out rankings that it was not trained on."})
    output_dir: str = field(metadata={"help": "Folder of evaluation.json and gate.json."})
    demonstrations: str | None = field(
        default=None,
        metadata={"help": "Demonstrations, compared with shuffled, empty and off-topic ones."},
    )
    num_demonstrations: int = field(
        default=200, metadata={"help": "Number of demonstrations to score."}
    )
    seed: int = field(
        default=0, metadata={"help": "Seed of the drawn demonstrations and of the shuffling."}
    )
    chat_template: str = field(default="auto", metadata={"help": "auto, none, or a file."})
    chat_template_kwargs: str | None = field(default=None, metadata=TEMPLATE_KWARGS)
    drop_bad_rows: bool = field(
        default=False, metadata={"help": "Drop bad rows instead of stopping."}
    )
    cpu_threads: int | None = field(default=None, metadata={"help": "CPU threads."})


def main() -> None:
    """Score, judge, write, print."""
    (config,) = parse_config(ReportConfig, description=__doc__)
    start_processes(config.cpu_threads)
    quiet_logs()
    variables = parse_template_kwargs(config.chat_template_kwargs)
    chat, _ = load_checked_tokenizer(
        config.reward_model, config.chat_template, template_kwargs=variables, judges=True
    )
    folder = Path(config.output_dir)
    make_folder(folder)
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        rankings = load_rankings(
            config.rankings, role="eval", chat=chat, bad_rows=bad_rows, keep_tied=True
        ).rows
        demonstrations = (
            load_demonstrations(config.demonstrations, chat=chat, bad_rows=bad_rows).rows
            if config.demonstrations
            else []
        )
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = RewardModel(
        config.reward_model,
        chat_template=config.chat_template,
        template_kwargs=variables,
        device=device,
    )
    report = make_report(
        model,
        rankings,
        demonstrations,
        name="reward_model",
        num_demonstrations=config.num_demonstrations,
        seed=config.seed,
    )
    write_reward_report(folder, report)
    print_report(report, f"{config.reward_model}: {len(rankings)} held-out rankings")


if __name__ == "__main__":
    run(main, name="rlhf.evaluation.reward_model.cli")
