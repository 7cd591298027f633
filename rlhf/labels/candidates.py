"""Candidates for ranking: K sampled answers to each prompt. `rlhf sample`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.labels.records import Candidate
from rlhf.manifest import write_atomically
from rlhf.models.compatibility import check_input_model
from rlhf.models.generation.generate import sample_responses
from rlhf.models.load import load_config, load_policy
from rlhf.models.recurrent import check_not_recurrent
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.runtime.printing import plain_console, quiet_logs, rlhf_command


def sample_candidates(
    models: Sequence[str],
    prompts_file: str,
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    chat_template: str = "auto",
    template_kwargs: Mapping[str, Any] | None = None,
    bad_rows: BadRows | None = None,
) -> list[Candidate]:
    """`num_responses` answers to each prompt of the file, shared out over the models in turn.

    Prompts and tokenizers of every model are checked before a weight is loaded; then one model
    at a time is in memory.

    Raises:
        ConfigError: fewer answers than models.
        DataError: prompts that cannot be used, or that leave a model no room to answer.
        CheckpointError: a folder that is no model, or changed after its manifest.
    """
    if not 0 < len(models) <= num_responses:
        raise ConfigError(
            f"num_responses={num_responses} cannot be shared out over {len(models)} models; "
            "give at least one answer for each model."
        )
    chats = [
        sampling_tokenizer(model, chat_template, max_new_tokens, template_kwargs=template_kwargs)
        for model in models
    ]
    rows = load_prompts(
        prompts_file,
        chat=chats[0],
        others=chats[1:],
        answer_length=max_new_tokens,
        bad_rows=bad_rows,
    ).rows
    answers: list[list[tuple[str, str]]] = [[] for _ in rows]
    for index, (model, chat) in enumerate(zip(models, chats, strict=True)):
        share = len(range(index, num_responses, len(models)))
        written = sample_responses(
            on_device(model),
            chat,
            [row.prompt for row in rows],
            num_responses=share,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed + 1_000_003 * index,  # one model given twice answers twice, differently
            batch_size=batch_size,
        )
        for of_prompt, of_model in zip(answers, written, strict=True):
            of_prompt += [(answer.response, model) for answer in of_model]
    return [
        Candidate(
            prompt=row.prompt,
            responses=[text for text, _ in of_prompt],
            models=[model for _, model in of_prompt],
            columns=row.columns,
        )
        for row, of_prompt in zip(rows, answers, strict=True)
    ]


def write_candidates(path: Path, candidates: Sequence[Candidate]) -> None:
    """One JSON line each: the prompt's other columns, then prompt, responses and models."""
    rows = [
        {
            **candidate.columns,
            "prompt": candidate.prompt,
            "responses": list(candidate.responses),
            "models": list(candidate.models),
        }
        for candidate in candidates
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomically(path, "".join(lines))


def main(argv: Sequence[str]) -> int:
    """`rlhf sample`."""
    given = _parser().parse_args(argv)
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = plain_console(stderr=True)
    with console.status(f"sampling from {', '.join(given.model)}"):
        rejects = Path(given.output).parent / REJECTS
        candidates = sample_candidates(
            given.model,
            given.prompts,
            num_responses=given.num_responses,
            max_new_tokens=given.max_new_tokens,
            temperature=given.temperature,
            seed=given.seed,
            batch_size=given.batch_size,
            chat_template=given.chat_template,
            template_kwargs=parse_template_kwargs(given.chat_template_kwargs),
            bad_rows=BadRows(drop=True, reject_file=rejects) if given.drop_bad_rows else None,
        )
    write_candidates(Path(given.output), candidates)
    blank = sum(not text.strip() for row in candidates for text in row.responses)
    total = sum(len(row.responses) for row in candidates)
    console.print(
        f"{total} answers to {len(candidates)} prompts ({blank} of them empty) in {given.output}; "
        f"next: {rlhf_command('label', 'import', given.output, '--store', 'STORE')}",
        highlight=False,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf sample",
        description="Sample K answers to each prompt, for people to rank.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add: Any = parser.add_argument
    add("--model", action="append", required=True, help="A policy's folder or hub id; may repeat.")
    add("--prompts", required=True, help="File or hub id of prompts; other columns are kept.")
    add("--output", required=True, help="JSONL file to write.")
    add("--num_responses", type=int, default=4, help="Answers to each prompt, of all models.")
    add("--max_new_tokens", type=int, default=128, help="Longest answer, in tokens.")
    add("--temperature", type=float, default=1.0, help="Softmax temperature; 0 is greedy.")
    add("--seed", type=int, default=0, help="Seed of the sampling.")
    add("--batch_size", type=int, default=128, help="Answers written at a time.")
    add("--chat_template", default="auto", help="auto | none | FILE, as the model was trained.")
    add("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    add("--drop_bad_rows", action="store_true", help="Go on without bad rows; count, list them.")
    return parser


def sampling_tokenizer(
    model: str,
    chat_template: str,
    max_new_tokens: int,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> ChatTokenizer:
    """The model's tokenizer, which holds rotary positions too for as many as were trained.

    Raises:
        ConfigError: `max_new_tokens` leave no room for a prompt.
        CheckpointError: a folder that is no model, or changed after its manifest.
    """
    check_input_model(model)
    chat = tokenizer_of_model(model, chat_template, template_kwargs=template_kwargs)
    check_not_recurrent(model)
    positions = getattr(load_config(model), "max_position_embeddings", None)
    if positions is not None and positions <= max_new_tokens:
        raise ConfigError(
            f"max_new_tokens={max_new_tokens} fills all {positions} positions of {model}; "
            "leave room for the prompt."
        )
    return replace(chat, max_positions=positions)


def on_device(model: str) -> Any:
    """The policy, on the GPU in bfloat16 where there is one."""
    if torch.cuda.is_available():
        return load_policy(model, dtype=torch.bfloat16).to("cuda")  # type: ignore[arg-type]
    return load_policy(model)
