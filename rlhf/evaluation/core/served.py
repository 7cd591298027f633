"""Responses of models behind an address: texts and lengths, without log-probs."""

from collections.abc import Sequence

from rlhf.errors import TrainingError
from rlhf.evaluation.core.config import EvaluateConfig
from rlhf.evaluation.core.record_journal import RecordJournal
from rlhf.evaluation.core.records import Record
from rlhf.manifest import hash_text
from rlhf.rollouts.chat_server import ServedModel, respond, respond_together, served_models
from rlhf.runtime.progress import progress
from rlhf.types import PromptRow


def check_served(config: EvaluateConfig) -> None:
    """Check that the servers of the evaluated models answer and have these models.

    Raises:
        ConfigError: naming the server, and the model that it does not have.
    """
    for served in config.served.values():
        served_models(served.address, [served.model])


def served_records(
    name: str,
    served: ServedModel,
    rows: Sequence[PromptRow],
    indices: Sequence[int],
    config: EvaluateConfig,
    seed: int,
    journal: RecordJournal | None = None,
) -> list[Record]:
    """`num_generations` responses to each of `rows[i] for i in indices`, without KL and loss.

    The seed of a request depends on the evaluation's seed, the name, the row and the sample.

    Args:
        name: of the model in the evaluation.
        served: the model.
        rows: the evaluated prompts.
        indices: the rows to sample responses for.
        config: sampling parameters.
        seed: of the evaluation.
        journal: records that it has are not asked for, and the others are added to it.

    Raises:
        TrainingError: the server was lost, rejects the requests, or counts no tokens.
    """
    jobs = [(index, sample) for index in indices for sample in range(config.num_generations)]
    with progress(f"responses of {name}", len(jobs)) as advance:

        def ask(job: tuple[int, int]) -> Record:
            index, sample = job
            if journal and (kept := journal.get(name, index, sample)):
                advance(1)
                return kept
            response = respond(
                served,
                rows[index].prompt,
                max_new_tokens=config.max_completion_length,
                temperature=config.temperature,
                seed=int(hash_text(f"{seed} {name} {index} {sample}")[:14], 16),
                tools=rows[index].tools,
                template_kwargs=config.template_kwargs,
            )
            if response.num_tokens is None:
                raise TrainingError(
                    f"{name}: the server {served.address} answers without "
                    "usage.completion_tokens, and lengths cannot be compared without it; use "
                    "another server.",
                    code="engine-mismatch",
                )
            record = Record(
                prompt_index=index,
                sample=sample,
                model=name,
                text=response.text,
                thought=response.thought,
                num_tokens=response.num_tokens,
                thought_tokens=response.thought_tokens,
                ended_with_eos=response.ended,
            )
            if journal:
                journal.add([record])
            advance(1)
            return record

        return respond_together(ask, jobs, advance)
