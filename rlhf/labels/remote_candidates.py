"""Responses of models behind an OpenAI-compatible server, as candidates for ranking."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.errors import ConfigError, TrainingError
from rlhf.labels.records import Candidate
from rlhf.labels.sample_journal import SampleJournal
from rlhf.rollouts.http import request
from rlhf.runtime.http import Rejected
from rlhf.runtime.progress import progress
from rlhf.types import PromptRow

AT_ONCE = 16  # requests that wait for an answer
ATTEMPTS = 5
BUSY = (429, 500, 502, 503, 504)  # statuses after which a request is repeated
KEY = "OPENAI_API_KEY"


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
        ConfigError: no server, fewer responses than models, or a journal of other arguments.
        DataError: prompts that cannot be used.
        TrainingError: the server was lost, or rejects the requests.
    """
    names = list(models) or [_first_model(address)]
    if len(names) > num_responses:
        raise ConfigError(
            f"num_responses={num_responses} cannot be divided among {len(names)} models; use at "
            "least one response per model.",
            code="key-conflict",
        )
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
    with (
        SampleJournal(journal_file, settings) as journal,
        progress(
            f"responses of {address}", len(rows) * num_responses, journal.num_texts
        ) as advance,
    ):

        def ask(place: int, index: int) -> None:
            seed_of_response = seed + 1000 * place + index
            content = _content(
                rows[place], authors[index], max_new_tokens, temperature, seed_of_response
            )
            journal.add(place, index, [_response(address, content)])
            advance(1)

        done = [journal.prompts_with(index) for index in range(num_responses)]
        jobs = [(p, n) for p in range(len(rows)) for n in range(num_responses) if p not in done[n]]
        _run_all(ask, jobs)
        texts = [journal.texts_of(place) for place in range(len(rows))]
    return [
        Candidate(prompt=row.prompt, responses=of_row, models=authors, columns=row.columns)
        for row, of_row in zip(rows, texts, strict=True)
    ]


def _run_all(ask: Callable[[int, int], None], jobs: Sequence[tuple[int, int]]) -> None:
    """Run the jobs, AT_ONCE at a time; after an error those that wait are not started."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for _ in pool.map(lambda job: ask(*job), jobs):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _content(
    row: PromptRow, model: str, max_new_tokens: int, temperature: float, seed: int
) -> dict[str, object]:
    messages = row.prompt
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    content: dict[str, object] = {
        "model": model,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    return content | ({"tools": row.tools} if row.tools else {})


def _response(address: str, content: Mapping[str, object]) -> str:
    """The text of the answer; a busy server is asked again."""
    for attempt in range(ATTEMPTS):
        try:
            answer: Any = request(
                address, "/chat/completions", content, timeout=None, key=os.environ.get(KEY)
            )
            return str(answer["choices"][0]["message"]["content"] or "")
        except Rejected as error:
            if error.status not in BUSY or attempt + 1 == ATTEMPTS:
                raise TrainingError(
                    f"the server {address} rejects a request to {content['model']}: {error}; "
                    f"check its address, its models and ${KEY}.",
                    code="engine-lost",
                ) from error
        except (LookupError, TypeError) as error:
            raise TrainingError(
                f"the server {address} answers without choices[0].message; use the address of an "
                "OpenAI-compatible server, http://HOST:PORT/v1.",
                code="engine-mismatch",
            ) from error
        time.sleep(2.0**attempt)
    raise AssertionError("not reached")


def _first_model(address: str) -> str:
    try:
        answer: Any = request(address, "/models", timeout=60, key=os.environ.get(KEY))
        return str(answer["data"][0]["id"])
    except (TrainingError, Rejected, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"server {address}: it lists no model ({error}); name one with --model, and use an "
            "address such as http://127.0.0.1:8000/v1.",
            code="engine-lost",
        ) from error
