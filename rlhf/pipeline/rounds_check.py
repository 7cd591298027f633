"""Check the inputs of all rounds before the first stage runs, and plan them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rlhf.data.rows.load import load_rankings
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.pipeline.chat_votes import (
    ChatVotes,
    last_event_before,
    read_votes,
    store_exists,
    votes_store,
)
from rlhf.pipeline.config import SAMPLED, AlignConfig, drops_bad_rows
from rlhf.pipeline.preflight import CheckedInputs, check_inputs, parsed_stages, plan
from rlhf.pipeline.rounds import FIRST, align_folder
from rlhf.pipeline.rounds_config import (
    VOTES,
    RoundsConfig,
    numbers_after_first,
    round_config,
)
from rlhf.pipeline.runner import read_stage
from rlhf.runtime.run_folder import RunConfig


@dataclass(frozen=True, kw_only=True)
class CheckedRound:
    """The keys of a round, and its checked inputs."""

    config: AlignConfig
    inputs: CheckedInputs


def check_rounds(
    run_config: RunConfig, config: AlignConfig, rounds: RoundsConfig
) -> Mapping[int, CheckedRound]:
    """The checked inputs of each round, by number.

    Raises:
        ConfigError: as `check_inputs`; a round without labels, or with fewer prompts than
            prompts_per_round.
        CheckpointError: as `check_inputs`.
        DataError: as `check_inputs`; votes that cannot be used, or none where a round needs some.
    """
    checked = {FIRST: CheckedRound(config=config, inputs=check_inputs(run_config, config, rounds))}
    for number in numbers_after_first(rounds):
        of_round = round_config(config, rounds, number)
        if not _has_votes(run_config, number):
            _check_has_labels(of_round, rounds, number)
        last = checked[number - 1]
        if of_round == last.config:
            configs = parsed_stages(run_config, of_round, rounds, number)
            inputs = replace(last.inputs, configs=configs)
        else:
            inputs = check_inputs(run_config, of_round, rounds, number)
        _check_number_of_prompts(of_round, rounds, inputs, number)
        checked[number] = CheckedRound(config=of_round, inputs=inputs)
    if len(checked) > 1:
        _check_votes(run_config, rounds, checked)
    return checked


def plan_rounds(
    config: AlignConfig, rounds: RoundsConfig, checked: Mapping[int, CheckedRound]
) -> list[str]:
    """A line for each stage of each round: rows, parameters and memory."""
    lines = plan(config, checked[FIRST].inputs)
    for number in numbers_after_first(rounds):
        of_round = checked[number]
        _, labels, *others = plan(of_round.config, of_round.inputs)  # SFT is trained once
        if of_round.config.labels in SAMPLED and rounds.prompts_per_round is not None:
            labels += f", {rounds.prompts_per_round} of which are ranked"
        if of_round.config.labels != VOTES:
            labels += ", and votes of chats"
        lines += [f"round {number}: {line}" for line in (labels, *others)]
    return lines


def _check_has_labels(config: AlignConfig, rounds: RoundsConfig, number: int) -> None:
    """A file of labels serves one round: a later one needs another, or votes of chats."""
    is_explicit = (number, "labels") in rounds.changes
    if config.labels == VOTES and not is_explicit and not rounds.continue_rounds:
        raise ConfigError(
            f"round {number} has no labels: a file of labels serves one round. Add "
            f"{number}.labels=FILE (or simulated, web, votes) to round_keys, or run the rounds one "
            "by one with --continue.",
            code="missing-key",
        )


def _check_number_of_prompts(
    config: AlignConfig, rounds: RoundsConfig, inputs: CheckedInputs, number: int
) -> None:
    count = rounds.prompts_per_round
    if config.labels in SAMPLED and count is not None and count > inputs.rows["labels"]:
        raise ConfigError(
            f"prompts_per_round={count}, but round {number} has only {inputs.rows['labels']} "
            f"prompts in {config.ranking_prompts}; lower it, or leave it out to rank all.",
            code="bad-value",
        )


def _check_votes(
    run_config: RunConfig, rounds: RoundsConfig, checked: Mapping[int, CheckedRound]
) -> None:
    """Check the votes that the next round will take, if that is known yet.

    Only the first round that has not taken its votes can be checked: later chats will bring others.
    """
    store = votes_store(run_config.output_dir, rounds)
    if rounds.votes is not None and not store_exists(store):
        raise DataError(
            f"votes={store} does not exist; `rlhf chat DIR --store {store}` makes it with the "
            "first vote.",
            code="missing-file",
        )
    number = next((n for n in checked if n > FIRST and not _has_votes(run_config, n)), None)
    if number is None:
        return
    config = checked[number].config
    votes = read_votes(store, last_event_before(run_config.output_dir, number))
    if config.labels == VOTES and not votes.rows:
        raise DataError(
            f"round {number} has no labels: {store} has no vote since round {number - 1} from "
            "which a ranking can be made; vote in a chat with this --store, name another one with "
            f"--votes, or add {number}.labels=simulated, web or FILE to round_keys.",
            code="no-rows",
        )
    if votes.rows:
        _check_vote_lengths(config, checked[number].inputs, votes)


def _has_votes(run_config: RunConfig, number: int) -> bool:
    """Whether the round has taken its votes: they are not read again."""
    record = read_stage(align_folder(run_config.output_dir, number) / "labels")
    return record is not None and VOTES in record.done


def _check_vote_lengths(config: AlignConfig, inputs: CheckedInputs, votes: ChatVotes) -> None:
    """Chats have no limit of length, but the reward model has one.

    Raises:
        DataError: votes on texts that are too long.
    """
    if drops_bad_rows(config, "reward_model"):
        return
    try:
        load_rankings(
            list(votes.rows),
            chat=_tokenizer(config),
            max_length=inputs.configs["reward_model"][2].max_length,
            keep_tied=True,
        )
    except DataError as error:
        raise DataError(f"votes in {votes.counts.store}: {error}", code=error.code) from error


def _tokenizer(config: AlignConfig) -> ChatTokenizer:
    variables = parse_template_kwargs(config.chat_template_kwargs)
    return tokenizer_of_model(
        config.model_name_or_path, config.chat_template, template_kwargs=variables
    )
