"""What a model will read of a row, token by token: `rlhf data show`, and a run's first row."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from rlhf.data.tokenization.chat import judged_ids, prompt_ids, training_examples
from rlhf.data.tokenization.template import shared_length
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import plain_console
from rlhf.types import Demonstration, PromptRow, Ranking

ROWS_KEPT, ROWS = 3, "rows.jsonl"  # in a run's samples/


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One sequence of ids that a model reads, made of a row."""

    ids: Sequence[int]
    trained: Sequence[bool]  # of SFT, the ids under the loss; of a reward model, where it is read
    text: str  # of the ids, control tokens included
    prompt_length: int  # ids before the response
    title: str  # which part of the row it is


def shown_demonstration(chat: ChatTokenizer, row: Demonstration) -> list[ShownRow]:
    """What SFT reads: one sequence, or one for each turn that the template rewrites later."""
    examples = training_examples(chat, row)
    return [
        _shown(
            chat,
            one.ids,
            one.trained,
            one.prompt_length,
            f"sequence {number} of {len(examples)}" if len(examples) > 1 else "",
        )
        for number, one in enumerate(examples, 1)
    ]


def shown_ranking(chat: ChatTokenizer, row: Ranking) -> list[ShownRow]:
    """What a reward model reads: each response after the prompt, the best first."""
    before = prompt_ids(chat, row.prompt, row.tools)
    order = sorted(range(len(row.ranks)), key=lambda index: row.ranks[index])
    rows = []
    for index in order:
        ids = judged_ids(chat, row.prompt, row.responses[index], row.tools)
        shared = shared_length(before, ids)
        last = [at == len(ids) - 1 for at in range(len(ids))]
        rows.append(_shown(chat, ids, last, shared, f"rank {row.ranks[index]}"))
    return rows


def shown_prompt(chat: ChatTokenizer, row: PromptRow) -> list[ShownRow]:
    """What PPO generates from."""
    ids = prompt_ids(chat, row.prompt, row.tools)
    return [_shown(chat, ids, [False] * len(ids), len(ids), "")]


def shown(chat: ChatTokenizer, row: Demonstration | Ranking | PromptRow) -> list[ShownRow]:
    """What the trainer of such rows reads of this one."""
    if isinstance(row, Demonstration):
        return shown_demonstration(chat, row)
    return shown_ranking(chat, row) if isinstance(row, Ranking) else shown_prompt(chat, row)


def as_json(row: ShownRow) -> str:
    """One JSON object, a line."""
    return json.dumps(asdict(row), ensure_ascii=False)


def as_text(chat: ChatTokenizer, row: ShownRow, *, colour: bool = True) -> Text:
    """The text, a bar where the response begins; without colours trained tokens stand in « ».

    With them trained tokens are green, control tokens reversed, every other token underlined.
    """
    text = Text()
    text.append(f"{row.title}: " if row.title else "", style="dim")
    text.append(_summary(chat, row) + "\n", style="dim")
    pieces = token_texts(chat, row.ids)
    for at, piece in enumerate(pieces):
        if at == row.prompt_length:
            text.append("┃", style="bold yellow")
        own = row.trained[at]
        opens = own and not (at and row.trained[at - 1])
        closes = own and not (at + 1 < len(pieces) and row.trained[at + 1])
        mark = ("" if colour or not opens else "«", "" if colour or not closes else "»")
        text.append(mark[0] + _visible(piece) + mark[1], style=_style(chat, piece, own, at % 2))
    if row.prompt_length == len(row.ids):
        text.append("┃", style="bold yellow")
    return text


def _style(chat: ChatTokenizer, piece: str, trained: bool, odd: int) -> str:
    words = ["bold green"] if trained else []
    words += ["reverse"] if chat.control_tokens.fullmatch(piece) else []
    return " ".join(words + (["underline"] if odd else []))


def token_texts(chat: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """What each id adds to the text; joined they are the text."""
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
    rows: Sequence[Demonstration | Ranking | PromptRow],
    *,
    count: int,
) -> None:
    """Print the first `count` rows as the model reads them, and keep three in `samples/`.

    Call it on one process.
    """
    console = plain_console(soft_wrap=True)
    for row in rows[:count]:
        for one in shown(chat, row):
            console.print(as_text(chat, one, colour=console.is_terminal))
    write_rows(folder, chat, rows)


def write_rows(
    folder: Path, chat: ChatTokenizer, rows: Sequence[Demonstration | Ranking | PromptRow]
) -> None:
    """Write `folder/samples/rows.jsonl`: the first rows as the model reads them."""
    lines = [as_json(one) for row in rows[:ROWS_KEPT] for one in shown(chat, row)]
    write_atomically(folder / "samples" / ROWS, "".join(f"{line}\n" for line in lines))


def _shown(
    chat: ChatTokenizer, ids: Sequence[int], trained: Sequence[bool], prompt_length: int, title: str
) -> ShownRow:
    return ShownRow(
        ids=list(ids),
        trained=list(trained),
        text=_decoded(chat, ids),
        prompt_length=prompt_length,
        title=title,
    )


def _summary(chat: ChatTokenizer, row: ShownRow) -> str:
    trained = sum(row.trained)
    parts = [f"{len(row.ids)} tokens, {row.prompt_length} of them the prompt"]
    if row.title.startswith("rank"):
        parts.append("the reward is read at the last one")
    elif trained:
        last = max(at for at, own in enumerate(row.trained) if own)
        end = chat.tokenizer.convert_ids_to_tokens(row.ids[last])
        parts.append(f"{trained} trained, the last one {end!r}")
    return "; ".join(parts)


def _visible(piece: str) -> str:
    """Line breaks are shown and made."""
    return piece.replace("\n", "⏎\n")


def _decoded(chat: ChatTokenizer, ids: Sequence[int]) -> str:
    return str(chat.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
