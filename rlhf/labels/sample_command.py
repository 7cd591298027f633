"""`rlhf sample` once its options are read: sample, write the file, name the next command."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import transformers

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.labels.candidates import sample_candidates
from rlhf.labels.records import Candidate
from rlhf.labels.remote_candidates import sample_from_server
from rlhf.manifest import write_atomically
from rlhf.rollouts.sample_journal import SUFFIX, has_samples
from rlhf.runtime.printing import counted, plain_console, quiet_logs, rlhf_command


def sample(args: argparse.Namespace) -> None:
    """`rlhf sample` with these options."""
    quiet_logs()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    console = plain_console(stderr=True, soft_wrap=True)
    output = Path(args.output)
    rejects = output.parent / REJECTS
    bad_rows = BadRows(drop=True, reject_file=rejects) if args.drop_bad_rows else None
    journal_file = output.with_name(output.name + SUFFIX)
    if has_samples(journal_file):
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
        bf16=args.bf16,
        chat_template=args.chat_template,
        template_kwargs=parse_template_kwargs(args.chat_template_kwargs),
        bad_rows=bad_rows,
        journal_file=journal_file,
    )


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
