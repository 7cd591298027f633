"""The published formats that can be converted: how each is recognized and what it leaves out."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf.data.files.raw import Row
from rlhf.data.source_formats import annotation_tools, demonstrations, preferences
from rlhf.data.source_formats.parts import Converted, thumb
from rlhf.errors import DataError, reject_row

# Columns that a response may depend on. A format that does not read such a column rejects a row
# that has text in it: converted without it, the response would be to another prompt.
CONTEXT_COLUMNS = frozenset(
    "system system_prompt history context passage input tools images documents choices "
    "options".split()
)


@dataclass(frozen=True, kw_only=True)
class SourceFormat:
    """How rows of one format are recognized and converted."""

    convert: Callable[[Row], Converted]  # its docstring is the format's sentence in --help
    keys: Sequence[str]  # columns that identify it, in one text; one text for each variant
    uses: str  # pattern of the columns that are read
    note: str = ""  # which parts of the columns that are read are lost
    # Successive rows that have the columns `together` and equal values in the first of them are
    # converted together, by this function.
    convert_together: Callable[[Sequence[Row]], Converted] | None = None
    together: Sequence[str] = ()
    unsupported: str = ""  # why it cannot be converted; "" where it can

    def fits(self, row: Row) -> bool:
        """Whether the row has the format's columns."""
        return any(set(keys.split()) <= row.keys() for keys in self.keys)

    def joins(self, row: Row) -> bool:
        """Whether the row is converted together with the rows next to it."""
        return self.convert_together is not None and set(self.together) <= row.keys()

    def unused(self, row: Row) -> list[str]:
        """The columns of the row that are not read."""
        return [key for key in row if not re.fullmatch(self.uses, key)]


def labelled_text(row: Row) -> Converted:
    """`text` and `label` 1 or 0: pairs of a positive and a negative text without a prompt."""
    if not isinstance(row.get("text"), str):
        reject_row("text is missing or not text")
    return Converted([{"text": row["text"], "label": int(thumb(row.get("label"), "label"))}])


def process_labels(row: Row) -> Converted:
    """PRM800K: labels of single steps, which cannot be converted."""
    reject_row("the labels are not about whole responses")


def single_messages(row: Row) -> Converted:
    """OpenAssistant, one message per row: the tree is missing, which cannot be converted."""
    reject_row("it is one message of a conversation; use the export with whole trees")


STEPS = (
    "it labels the steps of one solution, but rlhf trains reward models on comparisons of whole "
    "responses; use a dataset of ranked or scored responses, or TRL's PRMTrainer"
)
MESSAGE_A_ROW = (
    "each row is one message of a tree (parent_id); first collect the replies to each message with "
    "their ranks, as {prompt, responses, ranks}"
)
FORMATS: dict[str, SourceFormat] = {
    "hh": SourceFormat(
        convert=preferences.hh, keys=["chosen rejected"], uses="prompt|chosen|rejected"
    ),
    "argilla": SourceFormat(
        convert=annotation_tools.argilla,
        keys=["fields responses suggestions", "fields responses metadata"],
        uses="id|fields|metadata|responses",
        note="suggestions, vectors and the answers to other questions than the ranking are lost",
    ),
    "label_studio": SourceFormat(
        convert=annotation_tools.label_studio, keys=["data annotations"], uses="data|annotations"
    ),
    "pandalm": SourceFormat(
        convert=preferences.pandalm,
        keys=["instruction response1 response2 annotator1"],
        uses=r"instruction|input|response[12]|annotator\d+",
    ),
    "oasst": SourceFormat(
        convert=preferences.oasst,
        keys=["messages responses order"],
        uses="messages|responses|order",
    ),
    "summeval": SourceFormat(
        convert=preferences.summeval,
        keys=["prompt responses scores"],
        uses="prompt|responses|scores",
    ),
    "scored": SourceFormat(
        convert=preferences.scored,
        keys=["prompt responses scores"],
        uses="prompt|responses|scores|annotator|strength|models",
    ),
    "helpsteer2": SourceFormat(
        convert=preferences.helpsteer2,
        keys=["prompt response helpfulness", "prompt response_1 response_2 preference_strength"],
        uses="prompt|response|helpfulness|response_[12]|preference_strength|split",
        convert_together=preferences.helpsteer2_responses,
        together=["prompt", "helpfulness"],
    ),
    "helpsteer3": SourceFormat(
        convert=preferences.helpsteer3,
        keys=["context response1 response2 overall_preference"],
        uses="context|response[12]|overall_preference|individual_preference|domain|language",
        note="annotator1, annotator2, … are positions in a row, not the same annotators throughout",
    ),
    "ultrafeedback": SourceFormat(
        convert=preferences.ultrafeedback,
        keys=["instruction completions"],
        uses="instruction|completions",
        note="overall_score and the system prompt of each response are not used",
    ),
    "rewardbench2": SourceFormat(
        convert=preferences.rewardbench2,
        keys=["prompt chosen rejected subset num_correct"],
        uses="prompt|chosen|rejected|num_correct|num_incorrect|total_completions|id|subset",
    ),
    "webgpt": SourceFormat(
        convert=preferences.webgpt,
        keys=["question answer_0 answer_1 score_0 score_1"],
        uses="question|answer_[01]|score_[01]",
        note="only the order of the scores is used; the quotes behind each response are lost",
    ),
    "shp": SourceFormat(
        convert=preferences.shp,
        keys=["history human_ref_A human_ref_B labels"],
        uses="history|human_ref_[AB]|labels|score_ratio",
    ),
    "question_answer": SourceFormat(
        convert=demonstrations.question_answer,
        keys=["question answer", "question response"],
        uses="question|answer|response|context|passage|system_prompt",
    ),
    "instruction": SourceFormat(
        convert=demonstrations.instruction,
        keys=[
            "instruction output",
            "instruction response",
            "instruction instances",
            "instruction chosen rejected",
        ],
        uses="instruction|input|context|output|response|instances|system|history|chosen|rejected|"
        "kto_tag",
    ),
    "sharegpt": SourceFormat(
        convert=demonstrations.sharegpt,
        keys=["conversations"],
        uses="conversations|system|tools|chosen|rejected|kto_tag",
    ),
    "thumbs": SourceFormat(
        convert=demonstrations.thumbs,
        keys=["prompt completion label"],
        uses="prompt|completion|label",
    ),
    "opening": SourceFormat(convert=demonstrations.opening, keys=["text"], uses="text"),
    "sentiment": SourceFormat(convert=labelled_text, keys=["text label"], uses="text|label"),
    "prm800k": SourceFormat(
        convert=process_labels,
        keys=["question label labeler", "prompt completions labels"],
        uses=".*",
        unsupported=STEPS,
    ),
    "oasst_messages": SourceFormat(
        convert=single_messages,
        keys=["message_id text role"],
        uses=".*",
        unsupported=MESSAGE_A_ROW,
    ),
}


def convert_rows(rows: Sequence[Row], name: str) -> Converted:
    """The rows that one row, or rows that belong together, become when read as format `name`.

    Raises:
        DataError: they do not have this format, or have text in a column that the response may
            depend on and that the conversion does not read.
    """
    source_format = FORMATS[name]
    lost = [
        key
        for row in rows
        for key in source_format.unused(row)
        if key in CONTEXT_COLUMNS and row[key]
    ]
    if lost:
        reject_row(
            f"the response may depend on {', '.join(dict.fromkeys(lost))}, which `{name}` does not "
            "read; put it into the prompt, or remove the column"
        )
    if source_format.convert_together is not None and source_format.joins(rows[0]):
        return source_format.convert_together(rows)
    return source_format.convert(rows[0])


def formats_with_columns_of(rows: Sequence[Row]) -> list[str]:
    """The formats whose columns at least half of the rows have; the others may be bad rows."""
    return [
        name
        for name, source_format in FORMATS.items()
        if 2 * sum(map(source_format.fits, rows)) >= len(rows) > 0
    ]


def fitting_formats(rows: Sequence[Row]) -> list[str]:
    """Those of `formats_with_columns_of` that can convert some row, or that are unsupported."""
    names = formats_with_columns_of(rows)
    return [name for name in names if any(_converts(row, name) for row in rows)]


def guess_format(row: object) -> str | None:
    """The format from which an unusable row could be converted; for a hint."""
    if not isinstance(row, dict):
        return None
    names = fitting_formats([row]) or [
        name for name in formats_with_columns_of([row]) if name != "hh"
    ]
    # Any text has an opening, and any pair the columns of `hh`.
    return next(
        (name for name in names if name != "opening" and not FORMATS[name].unsupported), None
    )


def _converts(row: Row, name: str) -> bool:
    if FORMATS[name].unsupported:
        return True
    try:
        convert_rows([row, row], name)  # some formats need several rows for one ranking
    except DataError:
        return False
    return True
