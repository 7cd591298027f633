"""`python -m rlhf.evaluation.reward_model.cli`: a report on any reward model.

    python -m rlhf.evaluation.reward_model.cli --reward_model DIR --rankings FILE \\
        --demonstrations FILE --output_dir DIR

The reward model is a folder or a hub id of a sequence classifier with one label, or the YAML file
of a generative reward model. The exit status is 0 whatever the verdict, which is in gate.json.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_demonstrations, load_rankings
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.evaluation.reward_model.config import ReportConfig, check_report
from rlhf.evaluation.reward_model.rated_report import make_rated_report
from rlhf.evaluation.reward_model.report import (
    RewardReport,
    make_report,
    print_report,
    write_reward_report,
)
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rewards.function import is_generative
from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.model import RewardModel
from rlhf.runtime.config import parse_config
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.paths import make_folder
from rlhf.runtime.printing import counted, quiet_logs
from rlhf.types import Demonstration, Ranking, RatedResponse


def main() -> None:
    """`python -m rlhf.evaluation.reward_model.cli`."""
    (config,) = parse_config(ReportConfig, description=__doc__)
    write_report_of(config)


def write_report_of(config: ReportConfig) -> None:
    """Score, judge, write, print.

    Raises:
        RLHFError: as the functions that it calls.
    """
    check_report(config)
    start_processes(config.cpu_threads)
    quiet_logs()
    folder = Path(config.output_dir)
    make_folder(folder)
    model = load_scorer(config)
    with BadRows(drop=config.drop_bad_rows, reject_file=folder / REJECTS) as bad_rows:
        rows = load_held_out(config, model, bad_rows)
        demonstrations = (
            load_demonstrations(config.demonstrations, chat=_judging(model), bad_rows=bad_rows).rows
            if config.demonstrations
            else []
        )
    report = report_of(config, model, rows, demonstrations)
    write_reward_report(folder, report)
    print_report(report, f"{config.reward_model}: {counted(len(rows), 'held-out row')}")


def load_scorer(config: ReportConfig) -> RewardModel | GenerativeReward:
    """The reward model on this machine's device.

    Raises:
        ConfigError: the key of its labels does not fit it, or a template is given for a generative
            one.
        CheckpointError: it does not load.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    path = check_report(config)
    if is_generative(path):
        if config.chat_template != "auto" or config.chat_template_kwargs:
            raise ConfigError(
                f"{path} names its own chat template; leave chat_template out.",
                code="key-conflict",
            )
        generative = GenerativeReward(path)
        generative.use(device)
        return generative
    variables = parse_template_kwargs(config.chat_template_kwargs)
    load_checked_tokenizer(path, config.chat_template, template_kwargs=variables, judges=True)
    return RewardModel(
        path,
        chat_template=config.chat_template,
        template_kwargs=variables,
        device=device,
    )


def load_held_out(
    config: ReportConfig, model: RewardModel | GenerativeReward, bad_rows: BadRows
) -> Sequence[Ranking] | Sequence[RatedResponse]:
    """The held-out rows of the one key that names them.

    Raises:
        ConfigError: the model was not trained on such labels.
    """
    chat = _judging(model)
    if config.rankings is not None:
        return load_rankings(
            config.rankings,
            role="eval",
            chat=chat,
            bad_rows=bad_rows,
            keep_tied=True,
            probability_column=config.probability_column,
        ).rows
    needed = "outcome" if config.outcomes is not None else "axes"
    if not isinstance(model, RewardModel) or model.objective != needed or not model.axes:
        raise ConfigError(
            f"{config.reward_model} is no model of objective={needed}; give rankings, or a model "
            f"that was trained with objective={needed}.",
            code="key-conflict",
        )
    if config.outcomes is not None:
        return load_outcomes(config.outcomes, role="eval", chat=chat, bad_rows=bad_rows).rows
    assert config.ratings is not None
    axes = [axis.name for axis in model.axes]
    return load_ratings(config.ratings, role="eval", chat=chat, bad_rows=bad_rows, axes=axes).rows


def report_of(
    config: ReportConfig,
    model: RewardModel | GenerativeReward,
    rows: Sequence[Ranking] | Sequence[RatedResponse],
    demonstrations: Sequence[Demonstration],
) -> RewardReport:
    """The report on these rows."""
    if config.rankings is None:
        assert isinstance(model, RewardModel)
        return make_rated_report(
            model,
            [row for row in rows if isinstance(row, RatedResponse)],
            demonstrations,
            is_outcome=config.outcomes is not None,
            name="reward_model",
            num_demonstrations=config.num_demonstrations,
            seed=config.seed,
        )
    return make_report(
        model,
        [row for row in rows if isinstance(row, Ranking)],
        demonstrations,
        name="reward_model",
        num_demonstrations=config.num_demonstrations,
        seed=config.seed,
        are_logits=isinstance(model, RewardModel) and model.objective == "rankings",
    )


def _judging(model: RewardModel | GenerativeReward) -> ChatTokenizer | None:
    """The tokenizer that counts a row's tokens; a rubric adds its own text to them."""
    return model.chat if isinstance(model, RewardModel) else None


if __name__ == "__main__":
    run(main, name="rlhf.evaluation.reward_model.cli")
