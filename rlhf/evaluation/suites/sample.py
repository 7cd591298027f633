"""Responses of all models to all suites, kept on disk while they are sampled."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState

from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.config import named_paths
from rlhf.evaluation.core.record_journal import open_journal, sampling_settings
from rlhf.evaluation.core.sampling import load_policy_model
from rlhf.evaluation.suites.answers import ANSWERS, Answer, answer_suite
from rlhf.evaluation.suites.config import SuiteConfig
from rlhf.evaluation.suites.journal import AnswerJournal
from rlhf.evaluation.suites.prompts import LoadedSuite
from rlhf.evaluation.suites.respond import Respond, kept_texts, loaded_model, served_model
from rlhf.manifest import hash_text
from rlhf.models.compatibility import load_checked_tokenizer
from rlhf.rollouts.chat_server import parse_served
from rlhf.runtime.printing import counted


def sample_suites(
    loaded: Sequence[LoadedSuite],
    config: SuiteConfig,
    seed: int,
    log: Callable[[str], None],
    folder: Path | None,
    *,
    replaces: bool = False,
) -> list[Answer]:
    """This process's answers of all models to all suites, without values.

    `folder` and `replaces` are those of `run_suites`.

    Raises:
        ConfigError: as `open_journal`.
    """
    state, paths = PartialState(), named_paths(config.models, "models")
    settings = _settings(loaded, config, seed)
    suites = {one.suite.name: one.prompts for one in loaded}
    answers: list[Answer] = []
    with open_journal(folder, ANSWERS, settings, log, replaces=replaces) as samples:
        journal = AnswerJournal(samples, list(paths), suites)
        shards = [
            range(state.process_index, len(one.prompts), state.num_processes) for one in loaded
        ]
        for name, path in paths.items():
            complete = all(
                journal.is_complete(
                    name, one.suite.name, one.prompts, shard, one.suite.num_generations
                )
                for one, shard in zip(loaded, shards, strict=True)
            )
            respond = kept_texts if complete else _responder(name, path, config)
            for one, shard in zip(loaded, shards, strict=True):
                log(f"{name}: {one.suite.name}, {counted(len(one.prompts), 'prompt')}")
                kept = journal.turns(name, one.suite.name)
                answers += answer_suite(
                    name, respond, one.suite, one.prompts, shard, seed=seed, kept=kept
                )
            del respond  # with its model
    return answers


def _settings(loaded: Sequence[LoadedSuite], config: SuiteConfig, seed: int) -> dict[str, object]:
    """What the responses depend on."""
    suites = {
        one.suite.name: [one.suite.sampling, *(prompt.key for prompt in one.prompts)]
        for one in loaded
    }
    return {**sampling_settings(config, seed), "suites": hash_text(json.dumps(suites))}


def _responder(name: str, path: str, config: SuiteConfig) -> Respond:
    """The model, loaded here or behind its address."""
    if (served := parse_served(path)) is not None:
        return served_model(served, parse_template_kwargs(config.chat_template_kwargs))
    chat, device = suite_tokenizer(path, config), PartialState().device
    evaluated = load_policy_model(name, path, chat, device=device, bf16=config.bf16)
    return loaded_model(evaluated, batch_size=config.per_device_eval_batch_size)


def suite_tokenizer(path: str, config: SuiteConfig) -> ChatTokenizer:
    """The checked tokenizer of a model.

    Raises:
        CheckpointError: the model does not exist.
    """
    variables = parse_template_kwargs(config.chat_template_kwargs)
    return load_checked_tokenizer(path, config.chat_template, template_kwargs=variables)[0]
