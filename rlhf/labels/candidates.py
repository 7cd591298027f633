"""K sampled responses to each prompt, as candidates for ranking."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.labels.records import Candidate
from rlhf.labels.remote_candidates import sample_from_server
from rlhf.labels.sample_journal import SUFFIX, SampleJournal, model_version
from rlhf.manifest import write_atomically
from rlhf.models.compatibility import check_input_model
from rlhf.models.generation.generate import sample_batches
from rlhf.models.load import load_config, load_policy
from rlhf.models.recurrent import check_not_recurrent
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.runtime.printing import counted, plain_console, quiet_logs, rlhf_command
from rlhf.runtime.progress import progress


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
    template_kwargs: Mapping[str, object] | None = None,
    bad_rows: BadRows | None = None,
    journal_file: Path | None = None,
) -> list[Candidate]:
    """`num_responses` responses to each prompt of the file, divided among the models in turn.

    Prompts and tokenizers of every model are checked before any weights load; one model at a time
    is in memory.

    Args:
        models: folders or hub ids of policies; a model may be given twice.
        prompts_file: file or hub id of prompts; their other columns are kept.
        num_responses: responses per prompt, of all models together.
        max_new_tokens: longest response, in tokens.
        temperature: softmax temperature; 0 is greedy.
        seed: seed of the sampling.
        batch_size: responses sampled at a time.
        chat_template: "auto", "none" or a file, as the models were trained.
        template_kwargs: variables of the chat template.
        bad_rows: what to do with unusable prompts; by default they raise.
        journal_file: responses are written there as they are sampled, and those of an interrupted
            call with the same arguments are taken from there. The caller deletes it.

    Raises:
        ConfigError: fewer responses than models, or a journal of other arguments.
        DataError: prompts that cannot be used, or that leave a model no room for a response.
        CheckpointError: a folder that is not a model, or that changed after its manifest.
    """
    if not 0 < len(models) <= num_responses:
        raise ConfigError(
            f"num_responses={num_responses} cannot be divided among {len(models)} models; use at "
            "least one response per model.",
            code="key-conflict",
        )
    chats = [
        sampling_tokenizer(model, chat_template, max_new_tokens, template_kwargs=template_kwargs)
        for model in models
    ]
    loaded = load_prompts(
        prompts_file, others=chats, response_length=max_new_tokens, bad_rows=bad_rows
    )
    rows = loaded.rows
    counts = [len(range(index, num_responses, len(models))) for index in range(len(models))]
    settings = {
        "models": [[model, model_version(model)] for model in models],
        "prompts": loaded.use.sha256,
        "num_responses": num_responses,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
        "chat_template": chat_template,
        "template_kwargs": template_kwargs,
    }
    with (
        SampleJournal(journal_file, settings) as journal,
        progress("responses", num_responses * len(rows), journal.num_texts) as advance,
    ):
        for index, (model, chat) in enumerate(zip(models, chats, strict=True)):
            done = journal.prompts_with(index)
            if len(done) == len(rows):
                continue  # its weights are not needed
            batches = sample_batches(
                load_on_device(model),
                chat,
                [row.prompt for row in rows],
                num_responses=counts[index],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed + 1_000_003 * index,  # a model given twice samples different responses
                batch_size=batch_size,
                skip=done,
            )
            for prompt, samples in (item for batch in batches for item in batch.items()):
                journal.add(prompt, index, [sample.response for sample in samples])
                advance(len(samples))
    authors = [model for model, count in zip(models, counts, strict=True) for _ in range(count)]
    return journal.candidates(rows, authors)


def write_candidates(path: Path, candidates: Sequence[Candidate]) -> None:
    """Write one JSON line per candidate: other columns, prompt, responses and models."""
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


def sample(args: argparse.Namespace) -> None:
    """`rlhf sample` with these options."""
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = plain_console(stderr=True, soft_wrap=True)
    output = Path(args.output)
    rejects = output.parent / REJECTS
    bad_rows = BadRows(drop=True, reject_file=rejects) if args.drop_bad_rows else None
    journal_file = output.with_name(output.name + SUFFIX)
    if journal_file.is_file():
        console.print(f"continuing with the responses in {journal_file}")
    try:
        candidates = _sampled(args, bad_rows, journal_file)
    except KeyboardInterrupt:
        console.print(
            f"the responses so far are in {journal_file}; the same command continues after them"
        )
        raise
    write_candidates(output, candidates)
    journal_file.unlink()
    blank = sum(not text.strip() for row in candidates for text in row.responses)
    total = sum(len(row.responses) for row in candidates)
    console.print(
        f"{counted(total, 'response')} to {counted(len(candidates), 'prompt')} ({blank} of them "
        f"empty) in {args.output}; "
        f"next: {rlhf_command('label', 'import', args.output, '--store', 'STORE')}",
        highlight=False,
    )


def _sampled(
    args: argparse.Namespace, bad_rows: BadRows | None, journal_file: Path
) -> list[Candidate]:
    """Responses of a server or of models that are loaded here."""
    if args.server is not None:
        return sample_from_server(
            args.server,
            args.model,
            args.prompts,
            num_responses=args.num_responses,
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            seed=args.seed,
            bad_rows=bad_rows,
            journal_file=journal_file,
        )
    return sample_candidates(
        args.model,
        args.prompts,
        num_responses=args.num_responses,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        seed=args.seed,
        batch_size=args.batch_size,
        chat_template=args.chat_template,
        template_kwargs=parse_template_kwargs(args.chat_template_kwargs),
        bad_rows=bad_rows,
        journal_file=journal_file,
    )


def sampling_tokenizer(
    model: str,
    chat_template: str,
    max_new_tokens: int,
    *,
    template_kwargs: Mapping[str, object] | None = None,
) -> ChatTokenizer:
    """The model's tokenizer, limited to the positions that the model was trained with.

    Raises:
        ConfigError: `max_new_tokens` leaves no room for a prompt.
        CheckpointError: a folder that is not a model, or that changed after its manifest.
    """
    check_input_model(model)
    chat = tokenizer_of_model(model, chat_template, template_kwargs=template_kwargs)
    check_not_recurrent(model)
    positions = getattr(load_config(model), "max_position_embeddings", None)
    if positions is not None and positions <= max_new_tokens:
        raise ConfigError(
            f"max_new_tokens={max_new_tokens} fills all {positions} positions of {model}; "
            "leave room for the prompt.",
            code="too-long",
        )
    return replace(chat, max_positions=positions)


def load_on_device(model: str) -> PreTrainedModel:
    """The policy; on the GPU in bfloat16 if there is a GPU."""
    if not torch.cuda.is_available():
        return load_policy(model)
    policy = load_policy(model, dtype=torch.bfloat16)
    policy.to("cuda")  # type: ignore[arg-type]
    return policy
