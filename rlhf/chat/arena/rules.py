"""When a vote is possible, and when it does not count: the rules that the arena's page lists."""

import re
from collections.abc import Collection, Sequence

CHARACTERS_PER_SECOND = 50.0
"""Speed of a fast reader: twice that of silent reading, 238 words a minute of English
(Brysbaert 2019, https://doi.org/10.1016/j.jml.2019.104047), at 6 characters a word."""
SHORTEST, LONGEST = 1.0, 30.0  # seconds from the complete answers until a vote is possible
MIN_NAME = 4  # characters of a served name; shorter ones are ordinary words
SAME_SIDE = 12  # votes in a row; by chance 1 of 2,048 visitors has as many, as sides are drawn

EARLY, REPEATED, NAMES, ONE_SIDED = "early", "repeated", "names", "one_sided"
RULES = {
    EARLY: "A vote was sent before voting was possible, which the page itself does not do.",
    REPEATED: "The same address has voted on the same question before.",
    NAMES: "The question asks for the model's name, or an answer tells it.",
    ONE_SIDED: f"The last {SAME_SIDE} votes of the address that preferred an answer were all for "
    "the same side.",
}

# Names by which models and their makers are known, in addition to those that are served.
_FAMILIES = (
    *("chatgpt", "gpt", "claude", "gemini", "gemma", "llama", "mistral", "mixtral", "qwen"),
    *("deepseek", "phi", "smollm", "olmo", "grok", "command r", "falcon", "pythia"),
    *("openai", "anthropic", "google", "deepmind", "meta ai", "alibaba", "microsoft", "xai"),
)
_QUESTIONS = (
    r"\bwho\s+(?:are|r)\s+(?:you|u)\b",
    r"\bwhat\s+are\s+you\s*(?:[?.!]|$|called\b|named\b)",
    r"\b(?:what|which)\b[^.?!]{0,40}\b(?:model|llm|ai|assistant|chatbot)\b[^.?!]{0,20}\b(?:are|r)\s"
    r"+(?:you|u)\b",
    r"\byour\s+(?:real\s+|own\s+|actual\s+)?(?:model\s+)?name\b",
    r"\bwho\s+(?:has\s+)?(?:made|created|built|trained|developed)\s+you\b",
)
# A name goes on with its version: gpt-4, qwen2.5.
_ASKS = r"\bare\s+you\s+(?:really\s+)?(?:NAMES)[\d.-]*(?![a-z])"
_TELLS = (
    r"\b(?:I\s+am|I['’]m|my\s+name\s+is|call\s+me)\b(?:[^.?!\n]{0,60}\b(?:named|called))?"
    r"\s+(?:the\s+|an?\s+)?(?:NAMES)[\d.-]*(?![a-z])",
    r"\bI\b[^.?!\n]{0,80}\b(?:made|created|built|trained|developed)\s+by\s+(?:NAMES)(?![a-z])",
)


class Reader:
    """A fast reader who reads along: when they reach the end of the texts shown so far."""

    def __init__(self) -> None:
        self._done = 0.0  # seconds, on the clock of the caller

    def read(self, characters: int, now: float) -> None:
        """Show more characters; they are read after those before them."""
        self._done = max(self._done, now) + characters / CHARACTERS_PER_SECOND

    def opens_at(self, complete: float) -> float:
        """When a vote becomes possible, if the answers are complete at `complete`."""
        return min(max(self._done, complete + SHORTEST), complete + LONGEST)


def same_question(question: str) -> str:
    """What two questions share that count as the same: their words, whatever case and space."""
    return " ".join(question.casefold().split())


def names_are_asked_for(question: str, answers: Collection[str], served: Collection[str]) -> bool:
    """Whether the question asks for the model's name, or an answer tells it.

    Args:
        question: the prompt.
        answers: the texts that were shown.
        served: names of the models; short ones, such as `a`, are ordinary words and do not count.
    """
    telling = {name for name in served if len(name) >= MIN_NAME}
    names = "|".join(re.escape(name) for name in sorted({*telling, *_FAMILIES}))

    def matches(pattern: str, text: str) -> bool:
        return re.search(pattern.replace("NAMES", names), text, re.IGNORECASE) is not None

    if any(matches(pattern, question) for pattern in (*_QUESTIONS, _ASKS)):
        return True
    return any(matches(pattern, text) for pattern in _TELLS for text in answers)


def is_one_sided(sides: Sequence[int]) -> bool:
    """Whether the last votes, 1 for the left answer and 2 for the right one, are all the same."""
    last = sides[-SAME_SIDE:]
    return len(last) == SAME_SIDE and len(set(last)) == 1
