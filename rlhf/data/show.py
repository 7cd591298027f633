"""Rows as a model reads them, token by token: for `rlhf data show` and the start of a run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from rlhf.data.tokenization.chat import judged_ids, prompt_ids, training_examples
from rlhf.data.tokenization.policy_rows import token_response
from rlhf.data.tokenization.template_format import shared_length
from rlhf.data.tokenization.texts import text_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import plain_console
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, Thumb

Row = Demonstration | Ranking | RatedResponse | Thumb | PromptRow | str
NUM_SAVED_ROWS, SAVED_ROWS = 3, "rows.jsonl"  # in a run's samples/


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """One sequence of ids that a model reads of a row. The fields are the keys of `--json`."""

    ids: Sequence[int]
    trained: Sequence[bool]  # SFT, DPO: the ids under the loss; reward model: the id of the reward
    text: str  # the text of the ids with their control tokens
    prompt_length: int  # number of ids before the response
    title: str  # the part of the row, where a row has several


def token_sequences(
    chat: ChatTokenizer,
    row: Row,
    max_length: int | None = None,
    *,
    for_policy: bool = False,
) -> list[TokenSequence]:
    """The sequences that the trainer of such rows reads of this one; of a text only the first.

    Args:
        chat: the tokenizer.
        row: the row.
        max_length: the most tokens of a sequence of a text.
        for_policy: whether a ranking trains a policy, instead of a reward model.
    """
    if isinstance(row, str):
        return _of_text(chat, row, max_length)
    if isinstance(row, Demonstration):
        return _of_demonstration(chat, row)
    if isinstance(row, Thumb):
        return [
            _of_response(
                chat,
                row,
                row.completion,
                "thumb up" if row.desirable else "thumb down",
                cut=row.cut,
            )
        ]
    if isinstance(row, Ranking) and for_policy:
        return _of_policy_ranking(chat, row)
    if isinstance(row, RatedResponse):
        ratings = ", ".join(f"{axis} {rating:g}" for axis, rating in row.ratings.items())
        return [_judged(chat, row, row.completion, f"rated {ratings}")]
    return _of_ranking(chat, row) if isinstance(row, Ranking) else _of_prompt(chat, row)


def _of_demonstration(chat: ChatTokenizer, row: Demonstration) -> list[TokenSequence]:
    """The input of SFT: one sequence, or one for each turn that the template rewrites later."""
    examples = training_examples(chat, row)
    return [
        _token_sequence(
            chat,
            example.ids,
            example.trained,
            example.prompt_length,
            f"sequence {number} of {len(examples)}" if len(examples) > 1 else "",
        )
        for number, example in enumerate(examples, 1)
    ]


def _of_text(chat: ChatTokenizer, text: str, max_length: int | None) -> list[TokenSequence]:
    """The input of SFT on a plain text; the sequences after the first one are like it."""
    first, *others = text_examples(chat, text, max_length)
    title = f"sequence 1 of {len(others) + 1}" if others else ""
    return [_token_sequence(chat, first.ids, first.trained, first.prompt_length, title)]


def _of_ranking(chat: ChatTokenizer, row: Ranking) -> list[TokenSequence]:
    """The input of a reward model: each response after the prompt, the best first."""
    order = sorted(range(len(row.ranks)), key=lambda index: row.ranks[index])
    return [_judged(chat, row, row.responses[index], f"rank {row.ranks[index]}") for index in order]


def _judged(
    chat: ChatTokenizer, row: Ranking | RatedResponse, response: str, title: str
) -> TokenSequence:
    """The input of a reward model for one response to the row's prompt."""
    ids = judged_ids(chat, row.prompt, response, row.tools)
    shared = shared_length(prompt_ids(chat, row.prompt, row.tools), ids)
    last = [at == len(ids) - 1 for at in range(len(ids))]
    return _token_sequence(chat, ids, last, shared, title)


def _of_policy_ranking(chat: ChatTokenizer, row: Ranking) -> list[TokenSequence]:
    """The input of DPO: each response after the prompt, the best first."""
    order = sorted(range(len(row.ranks)), key=lambda index: row.ranks[index])
    return [
        _of_response(
            chat,
            row,
            row.responses[index],
            f"response of rank {row.ranks[index]}",
            cut=row.is_cut[index],
        )
        for index in order
    ]


def _of_response(
    chat: ChatTokenizer, row: Ranking | Thumb, response: str, title: str, *, cut: bool
) -> TokenSequence:
    """The input of a policy that is trained on a response to the row's prompt."""
    tokens = token_response(chat, row.prompt, response, row.tools, cut=cut)
    ids, start = [*tokens.prompt_ids, *tokens.response_ids], len(tokens.prompt_ids)
    return _token_sequence(chat, ids, [at >= start for at in range(len(ids))], start, title)


def _of_prompt(chat: ChatTokenizer, row: PromptRow) -> list[TokenSequence]:
    """The prompt that PPO generates from."""
    ids = prompt_ids(chat, row.prompt, row.tools)
    return [_token_sequence(chat, ids, [False] * len(ids), len(ids), "")]


def as_json(row: TokenSequence) -> str:
    """The sequence as one line of JSON."""
    return json.dumps(asdict(row), ensure_ascii=False)


def as_text(chat: ChatTokenizer, row: TokenSequence, *, colour: bool = True) -> Text:
    """The sequence for a terminal, with a bar where the response begins.

    Trained tokens are green, control tokens reversed, and every other token is underlined.
    Without colours, trained tokens are between « and ».
    """
    text = Text()
    text.append(f"{row.title}: " if row.title else "", style="dim")
    text.append(_summary(chat, row) + "\n", style="dim")
    pieces = token_texts(chat, row.ids)
    for at, piece in enumerate(pieces):
        if at == row.prompt_length:
            text.append("┃", style="bold yellow")
        trained = row.trained[at]
        opens = trained and not (at and row.trained[at - 1])
        closes = trained and not (at + 1 < len(pieces) and row.trained[at + 1])
        marks = ("" if colour or not opens else "«", "" if colour or not closes else "»")
        style = _style(chat, piece, trained, at % 2)
        text.append(marks[0] + _visible(piece) + marks[1], style=style)
    if row.prompt_length == len(row.ids):
        text.append("┃", style="bold yellow")
    return text


def _style(chat: ChatTokenizer, piece: str, trained: bool, odd: int) -> str:
    styles = ["bold green"] if trained else []
    styles += ["reverse"] if chat.control_tokens.fullmatch(piece) else []
    return " ".join(styles + (["underline"] if odd else []))


def token_texts(chat: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """The text that each id adds; joined they are the whole text."""
    texts, before = [], ""
    for end in range(1, len(ids) + 1):
        after = _decoded(chat, ids[:end])
        whole = after.startswith(before) and not after.endswith("\ufffd")
        texts.append(after[len(before) :] if whole else "")
        before = after if whole else before
    return texts


def introduce(
    folder: Path,
    chat: ChatTokenizer,
    rows: Sequence[Row],
    *,
    count: int,
    max_length: int | None = None,
    for_policy: bool = False,
) -> None:
    """Print the first `count` rows as the model reads them, and save three in `samples/`.

    Call it on one process.

    Args:
        folder: the run folder.
        chat: the tokenizer.
        rows: rows to train on.
        count: how many rows to print.
        max_length: the most tokens of a sequence of a text.
        for_policy: whether rankings train a policy, instead of a reward model.
    """
    console = plain_console(soft_wrap=True)
    for row in rows[:count]:
        for sequence in token_sequences(chat, row, max_length, for_policy=for_policy):
            console.print(as_text(chat, sequence, colour=console.is_terminal))
    write_rows(folder, chat, rows, max_length, for_policy=for_policy)


def write_rows(
    folder: Path,
    chat: ChatTokenizer,
    rows: Sequence[Row],
    max_length: int | None = None,
    *,
    for_policy: bool = False,
) -> None:
    """Write `folder/samples/rows.jsonl`: the first rows as the model reads them."""
    sequences = [
        each
        for row in rows[:NUM_SAVED_ROWS]
        for each in token_sequences(chat, row, max_length, for_policy=for_policy)
    ]
    lines = [as_json(sequence) for sequence in sequences]
    write_atomically(folder / "samples" / SAVED_ROWS, "".join(f"{line}\n" for line in lines))


def _token_sequence(
    chat: ChatTokenizer, ids: Sequence[int], trained: Sequence[bool], prompt_length: int, title: str
) -> TokenSequence:
    return TokenSequence(
        ids=list(ids),
        trained=list(trained),
        text=_decoded(chat, ids),
        prompt_length=prompt_length,
        title=title,
    )


def _summary(chat: ChatTokenizer, row: TokenSequence) -> str:
    trained = sum(row.trained)
    parts = [f"{len(row.ids)} tokens, {row.prompt_length} of them the prompt"]
    if row.title.startswith(("rank ", "rated ")):
        parts.append("the reward is read at the last one")
    elif trained:
        last = max(at for at, is_trained in enumerate(row.trained) if is_trained)
        end = chat.tokenizer.convert_ids_to_tokens(row.ids[last])
        parts.append(f"{trained} trained, the last one {end!r}")
    return "; ".join(parts)


def _visible(piece: str) -> str:
    """The piece with a sign before each line break."""
    return piece.replace("\n", "⏎\n")


def _decoded(chat: ChatTokenizer, ids: Sequence[int]) -> str:
    return str(chat.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
