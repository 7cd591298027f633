"""Responses of all models of an evaluation: those that are loaded, and those behind addresses."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from accelerate import PartialState

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.engine import engine_of
from rlhf.evaluation.core.record_journal import RecordJournal, open_journal, settings_of
from rlhf.evaluation.core.records import RECORDS_FILE, Record
from rlhf.evaluation.core.sampling import (
    EvaluatedModel,
    kept_records,
    load_evaluated_model,
    sample_records,
)
from rlhf.evaluation.core.served import served_records
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.runtime.distributed import gathered
from rlhf.runtime.printing import counted
from rlhf.types import PromptRow


def sample_models(
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
    seed: int,
    log: Callable[[str], None],
    *,
    folder: Path,
    keeps: bool = False,
    replaces: bool = False,
) -> list[Record]:
    """Every model's responses to `rows[i] for i in indices`, one model after the other.

    Args:
        rows: the evaluated prompts.
        indices: the rows of this process.
        config: models, engine and sampling parameters.
        seed: of the evaluation.
        log: called with the progress.
        folder: for the log of an engine, and for a journal.
        keeps: whether responses are written into a journal as they are sampled, and those of an
            interrupted call with the same arguments are taken from there. `delete_journals`
            deletes it.
        replaces: as in `open_journal`.

    Raises:
        ConfigError: as `open_journal`.
    """
    settings = settings_of(config, rows, seed)
    with open_journal(
        folder if keeps else None, RECORDS_FILE, settings, log, replaces=replaces
    ) as samples:
        journal = RecordJournal(samples, list(config.model_paths), config.num_generations)
        return _sampled(rows, indices, config, seed, log, folder=folder, journal=journal)


def _sampled(
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
    seed: int,
    log: Callable[[str], None],
    *,
    folder: Path,
    journal: RecordJournal,
) -> list[Record]:
    """`sample_models`; weights of models whose responses the journal has are not loaded."""
    missing = _missing(journal, indices, config)
    reference = _reference(config, log) if missing & config.loaded_paths.keys() else None

    def of_loaded(evaluated: EvaluatedModel, path: str) -> list[Record]:
        with engine_of(evaluated, path, rows[0], config, seed=seed, folder=folder) as engine:
            return sample_records(
                evaluated, reference, rows, indices, config, seed, engine, journal
            )

    responses = counted(config.num_generations, "response")
    records: list[Record] = []
    for name, path in config.model_paths.items():
        log(f"{name}: {responses} to each of {len(rows)} prompts")
        if (served := config.served.get(name)) is not None:
            log(f"{name}: only sampled from, at {served.address}; no KL and no reference loss")
            records += served_records(name, served, rows, indices, config, seed, journal)
        elif name not in missing:
            records += kept_records(journal, name, _tokenizer(path, config), rows, indices, config)
        elif reference is not None and name == reference.name:
            records += of_loaded(reference, path)
        else:
            evaluated = load_evaluated_model(name, path, config, PartialState().device)
            records += of_loaded(evaluated, path)
            del evaluated
    return records


def _missing(
    journal: RecordJournal, indices: Sequence[int], config: EvaluateConfig
) -> AbstractSet[str]:
    """The models of which the journal of some process lacks records: all processes load them."""
    names = config.model_paths
    return {*gathered([name for name in names if journal.of_prompts(name, indices) is None])}


def _reference(config: EvaluateConfig, log: Callable[[str], None]) -> EvaluatedModel | None:
    """The model that KL is measured from; None, with a message, if it is behind an address."""
    if (name := config.reference_name) is not None:
        path = config.loaded_paths[name]
        return load_evaluated_model(name, path, config, PartialState().device)
    if config.loaded_paths:
        log(
            f"{config.baseline_name} is behind an address: KL and reference loss are left out; "
            "name a model that is loaded in reference to measure them"
        )
    return None


def token_counter(config: EvaluateConfig, sampled: Sequence[Record]) -> Callable[[str], int]:
    """A function that counts the tokens of a text, without an EOS.

    It has the tokenizer of the baseline, or of the first model that is loaded. Where all models are
    behind addresses it estimates the count, by the tokens per character of `sampled`.
    """
    paths = config.loaded_paths
    if paths:
        path = paths.get(config.baseline_name, next(iter(paths.values())))
        chat = _tokenizer(path, config)
        return lambda text: len(chat.tokenizer(text, add_special_tokens=False)["input_ids"])
    num_characters = sum(len(record.response) for record in sampled)
    num_tokens = sum(record.num_tokens - record.ended_with_eos for record in sampled)
    per_character = num_tokens / num_characters if num_characters else 1.0
    return lambda text: round(per_character * len(text))


def _tokenizer(path: str, config: EvaluateConfig) -> ChatTokenizer:
    return tokenizer_of_model(path, config.chat_template, template_kwargs=config.template_kwargs)
