"""Responses of models behind an OpenAI-compatible server, as candidates for ranking."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.labels.candidates import candidates_of, check_counts
from rlhf.labels.records import Candidate
from rlhf.rollouts.chat_server import respond, respond_together, served_models
from rlhf.rollouts.sample_journal import SampleJournal
from rlhf.runtime.progress import progress


def sample_from_server(
    address: str,
    models: Sequence[str],
    prompts_file: str,
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    bad_rows: BadRows | None = None,
    journal_file: Path | None = None,
) -> list[Candidate]:
    """`num_responses` responses to each prompt, divided among the models in turn.

    Args:
        address: of the API, http://HOST:PORT/v1. The key is in OPENAI_API_KEY, if it needs one.
        models: names that the server knows; none for the first that it lists.
        prompts_file: file or hub id of prompts; their other columns are kept.
        num_responses: responses per prompt, of all models together.
        max_new_tokens: longest response, in tokens.
        temperature: 0 is greedy.
        seed: sent with each request, other than the others'.
        bad_rows: what to do with unusable prompts; by default they raise.
        journal_file: as in `sample_candidates`.

    Raises:
        ConfigError: no server, a model that it does not have, fewer responses than models, or a
            journal of other arguments.
        DataError: prompts that cannot be used.
        TrainingError: the server was lost, or rejects the requests.
    """
    check_counts(len(models) or 1, num_responses)
    served = served_models(address, models)
    names = [each.model for each in served]
    loaded = load_prompts(prompts_file, bad_rows=bad_rows)
    rows = loaded.rows
    authors = [names[index % len(names)] for index in range(num_responses)]
    settings = {
        "server": address,
        "models": names,
        "prompts": loaded.use.sha256,
        "num_responses": num_responses,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    total = len(rows) * num_responses
    with (
        SampleJournal[str](journal_file, settings) as journal,
        progress(f"responses of {address}", total, journal.num_samples) as advance,
    ):

        def ask(job: _Job) -> None:
            response = respond(
                served[job.number % len(served)],
                rows[job.prompt].prompt,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=job.seed(seed),
                tools=rows[job.prompt].tools,
            )
            journal.add(job.prompt, job.number, [response.response])
            advance(1)

        respond_together(ask, _missing(journal, len(rows), num_responses), advance)
    return candidates_of(journal, rows, authors)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A response to sample."""

    prompt: int  # its index
    number: int  # among the responses to the prompt

    def seed(self, first: int) -> int:
        """A seed other than those of the other responses."""
        return first + 1000 * self.prompt + self.number


def _missing(journal: SampleJournal[str], num_prompts: int, num_responses: int) -> list[_Job]:
    """The responses that the journal has not, all those to a prompt in a row."""
    done = [journal.prompts_with(number) for number in range(num_responses)]
    return [
        _Job(prompt=prompt, number=number)
        for prompt in range(num_prompts)
        for number in range(num_responses)
        if prompt not in done[number]
    ]
