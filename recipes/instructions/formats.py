"""Kinds of constraints on the form of a response: layout, markup, its start and its end."""

import random
from collections.abc import Mapping

from recipes.instructions import checks
from recipes.instructions.kinds import ENDS, LAYOUTS, WRAPPED, Kind, Value, count, no_values, one

STARTS = ("first", "today", "however", "imagine", "finally", "people", "often", "some")
PHRASES = (
    "That is the whole story.", "Let me know if this helps.", "Now it is your turn.",
    "And that is why it matters.", "Thank you for reading.", "The rest is up to you.",
)  # fmt: skip
HEADINGS = ("Part", "SECTION", "Chapter", "Step")


def paragraph(rng: random.Random, _: str) -> list[Value]:
    """A number of paragraphs, one of them, and the word that it starts with."""
    paragraphs = rng.randint(2, 4)
    return [paragraphs, rng.randint(1, paragraphs), rng.choice(STARTS)]


def headings(rng: random.Random, _: str) -> list[Value]:
    """The word of the headings, and their number."""
    return [rng.choice(HEADINGS), rng.randint(2, 4)]


FORMATS: Mapping[str, Kind] = {
    "paragraphs": Kind(
        wordings=(
            "Write {0} paragraphs and put a line with *** between them.",
            "Divide the response into exactly {0} paragraphs. Separate them with the divider ***",
        ),
        draw=count(range(2, 5)),
        check=checks.paragraphs,
        conflicts=LAYOUTS | {"repeats"},
    ),
    "paragraph_start": Kind(
        wordings=(
            "Write {0} paragraphs with an empty line between them. "
            "Paragraph {1} must start with the word {2}.",
        ),
        draw=paragraph,
        check=checks.paragraph_start,
        conflicts=LAYOUTS | {"repeats", "title", "postscript"},
    ),
    "bullets": Kind(
        wordings=(
            "Give exactly {0} bullet points, each on a line that starts with *",
            "Use {0} bullet points, no more and no fewer, in markdown:\n* like this one",
        ),
        draw=count(range(2, 6)),
        check=checks.bullets,
        conflicts=LAYOUTS | {"repeats"},
    ),
    "highlights": Kind(
        wordings=(
            "Highlight at least {0} parts of the text in markdown, *like this*.",
            "Put {0} or more phrases between asterisks, for example *this phrase*.",
        ),
        draw=count(range(1, 5)),
        check=checks.highlights,
        conflicts=frozenset(("json_only", "quoted")),
    ),
    "placeholders": Kind(
        wordings=(
            "Use at least {0} placeholders in square brackets, such as [name].",
            "Leave {0} or more blanks as bracketed placeholders like [place].",
        ),
        draw=count(range(1, 5)),
        check=checks.placeholders,
        conflicts=frozenset(("json_only", "quoted")),
    ),
    "title": Kind(
        wordings=(
            "Give it a title in double angular brackets, <<like this>>.",
            "Start from a title written as <<title>>.",
        ),
        draw=no_values,
        check=checks.title,
        conflicts=WRAPPED,
    ),
    "sections": Kind(
        wordings=(
            "Divide it into {1} sections. Start each with its heading, {0} 1, {0} 2 and so on.",
        ),
        draw=headings,
        check=checks.sections,
        conflicts=LAYOUTS | {"repeats"},
    ),
    "json_only": Kind(
        wordings=(
            "The whole output has to be valid JSON.",
            "Respond with nothing but a JSON object.",
        ),
        draw=no_values,
        check=checks.json_only,
        conflicts=WRAPPED | {"no_commas"},
    ),
    "quoted": Kind(
        wordings=(
            "Put the whole response in double quotation marks.",
            'Your response must start and end with the character ".',
        ),
        draw=no_values,
        check=checks.quoted,
        conflicts=WRAPPED,
    ),
    "ends_with": Kind(
        wordings=(
            "End with exactly this sentence: {0}",
            "The last words of your response must be: {0} Nothing may follow.",
        ),
        draw=one(PHRASES),
        check=checks.ends_with,
        conflicts=ENDS,
    ),
    "postscript": Kind(
        wordings=(
            "After the end, add a postscript that starts with {0}",
            "Close with a postscript; begin it with {0}",
        ),
        draw=one(("P.S.", "P.P.S")),
        check=checks.postscript,
        conflicts=ENDS | {"paragraph_start"},
    ),
    "two_responses": Kind(
        wordings=(
            "Give two different responses and put six asterisks between them: ******",
            "Write two versions. Separate them by ****** and by nothing else.",
        ),
        draw=no_values,
        check=checks.two_responses,
        conflicts=LAYOUTS | {"repeats", "words_below", "ends_with"},
    ),
}
