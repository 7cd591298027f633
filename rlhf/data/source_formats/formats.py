"""The shapes of other people's files: how each is converted, known, and what it leaves."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.data.files.raw import Row
from rlhf.data.source_formats import demonstrations, preferences
from rlhf.data.source_formats.parts import Converted, thumb
from rlhf.errors import DataError

# What an answer may depend on. A shape that does not read such a column refuses a row that has
# something in it: converted without, the answer would be to another question.
CONTEXT_COLUMNS = frozenset(
    "system system_prompt history context passage input tools images documents choices "
    "options".split()
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How rows of one shape are known and converted."""

    convert: Callable[[Row], Converted]  # its docstring is the shape's sentence in --help
    keys: Sequence[str]  # columns by which it is known, in one text; several where it has forms
    uses: str  # pattern of the columns that are read
    note: str = ""  # what of the columns that are read does not come along
    # Rows that have the columns `together` and follow each other with the first of them equal are
    # converted by this.
    convert_together: Callable[[Sequence[Row]], Converted] | None = None
    together: Sequence[str] = ()
    refusal: str = ""  # why there is no conversion, where there is none

    def fits(self, row: Row) -> bool:
        """Whether the row has the shape's columns."""
        return any(set(keys.split()) <= row.keys() for keys in self.keys)

    def joins(self, row: Row) -> bool:
        """Whether the row is converted together with those around it."""
        return self.convert_together is not None and set(self.together) <= row.keys()

    def unused(self, row: Row) -> list[str]:
        """The row's columns that are not read."""
        return [key for key in row if not re.fullmatch(self.uses, key)]


def labelled_text(row: Row) -> Converted:
    """`text` and `label` 1 or 0: pairs of a positive and a negative text, no prompt."""
    if not isinstance(row.get("text"), str):
        raise DataError("no text with label 1 (positive) or 0 (negative)")
    return Converted([{"text": row["text"], "label": int(thumb(row.get("label"), "label"))}])


def process_labels(row: Row) -> Converted:
    """PRM800K: labels of single steps, which are not converted."""
    raise DataError("no labels of whole answers")


STEPS = (
    "it labels the steps of one solution, and rlhf trains reward models on whole answers to a "
    "prompt that are compared; use a set with ranked or scored answers, or TRL's PRMTrainer"
)
MESSAGE_A_ROW = (
    "each row is one message of a tree (parent_id); put the replies to a message together with "
    "their ranks first, as {prompt, responses, ranks}"
)
SHAPES: dict[str, Shape] = {
    "hh": Shape(convert=preferences.hh, keys=["chosen rejected"], uses="prompt|chosen|rejected"),
    "pandalm": Shape(
        convert=preferences.pandalm,
        keys=["instruction response1 response2 annotator1"],
        uses=r"instruction|input|response[12]|annotator\d+",
    ),
    "oasst": Shape(
        convert=preferences.oasst,
        keys=["messages responses order"],
        uses="messages|responses|order",
    ),
    "summeval": Shape(
        convert=preferences.summeval,
        keys=["prompt responses scores"],
        uses="prompt|responses|scores",
    ),
    "scored": Shape(
        convert=preferences.scored,
        keys=["prompt responses scores"],
        uses="prompt|responses|scores|annotator|strength|models",
    ),
    "helpsteer2": Shape(
        convert=preferences.helpsteer2,
        keys=["prompt response helpfulness", "prompt response_1 response_2 preference_strength"],
        uses="prompt|response|helpfulness|response_[12]|preference_strength|split",
        convert_together=preferences.helpsteer2_answers,
        together=["prompt", "helpfulness"],
    ),
    "helpsteer3": Shape(
        convert=preferences.helpsteer3,
        keys=["context response1 response2 overall_preference"],
        uses="context|response[12]|overall_preference|individual_preference|domain|language",
        note="annotator1, annotator2, … are positions in a row, not the same people throughout",
    ),
    "ultrafeedback": Shape(
        convert=preferences.ultrafeedback,
        keys=["instruction completions"],
        uses="instruction|completions",
        note="overall_score and the system prompt, of each answer its own, are not used",
    ),
    "rewardbench2": Shape(
        convert=preferences.rewardbench2,
        keys=["prompt chosen rejected subset num_correct"],
        uses="prompt|chosen|rejected|num_correct|num_incorrect|total_completions|id|subset",
    ),
    "webgpt": Shape(
        convert=preferences.webgpt,
        keys=["question answer_0 answer_1 score_0 score_1"],
        uses="question|answer_[01]|score_[01]",
        note="scores count by their order; the quotes that each answer was written from do not "
        "come along",
    ),
    "shp": Shape(
        convert=preferences.shp,
        keys=["history human_ref_A human_ref_B labels"],
        uses="history|human_ref_[AB]|labels|score_ratio",
    ),
    "question_answer": Shape(
        convert=demonstrations.question_answer,
        keys=["question answer", "question response"],
        uses="question|answer|response|context|passage|system_prompt",
    ),
    "instruction": Shape(
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
    "sharegpt": Shape(
        convert=demonstrations.sharegpt,
        keys=["conversations"],
        uses="conversations|system|tools|chosen|rejected|kto_tag",
    ),
    "thumbs": Shape(
        convert=demonstrations.thumbs,
        keys=["prompt completion label"],
        uses="prompt|completion|label",
    ),
    "opening": Shape(convert=demonstrations.opening, keys=["text"], uses="text"),
    "sentiment": Shape(convert=labelled_text, keys=["text label"], uses="text|label"),
    "prm800k": Shape(
        convert=process_labels,
        keys=["question label labeler", "prompt completions labels"],
        uses=".*",
        refusal=STEPS,
    ),
    "oasst_messages": Shape(
        convert=process_labels,
        keys=["message_id text role"],
        uses=".*",
        refusal=MESSAGE_A_ROW,
    ),
}


def converted(rows: Sequence[Row], name: str) -> Converted:
    """What a row, or rows that belong together, become as of the shape `name`.

    Raises:
        DataError: it has not the shape, or something in a column that its answer may depend on
            and that the conversion does not read.
    """
    shape = SHAPES[name]
    lost = [key for row in rows for key in shape.unused(row) if key in CONTEXT_COLUMNS and row[key]]
    if lost:
        raise DataError(
            f"no way to convert {', '.join(dict.fromkeys(lost))}: the answer may depend on it, and "
            f"`{name}` does not read it; put it into the prompt, or remove the column"
        )
    if shape.convert_together is not None and shape.joins(rows[0]):
        return shape.convert_together(rows)
    return shape.convert(rows[0])


def known_shapes(rows: Sequence[Row]) -> list[str]:
    """The shapes whose columns at least half of the rows have; others may be bad ones."""
    return [
        name for name, shape in SHAPES.items() if 2 * sum(map(shape.fits, rows)) >= len(rows) > 0
    ]


def fitting_shapes(rows: Sequence[Row]) -> list[str]:
    """The shapes of `known_shapes` as which some row can be converted, or is refused."""
    return [name for name in known_shapes(rows) if any(_converts(row, name) for row in rows)]


def guess_shape(row: Any) -> str | None:
    """The shape to convert a row from that could not be used; for a hint."""
    if not isinstance(row, dict):
        return None
    found = fitting_shapes([row]) or [name for name in known_shapes([row]) if name != "hh"]
    # Any text has an opening, and any pair the columns of `hh`.
    return next((name for name in found if name != "opening" and not SHAPES[name].refusal), None)


def _converts(row: Row, name: str) -> bool:
    if SHAPES[name].refusal:
        return True
    try:
        converted([row, row], name)  # one of several that belong together is none alone
    except DataError:
        return False
    return True
