"""Which chat template a tokenizer speaks, and the token that ends an answer in it."""

from importlib import resources
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rlhf.errors import ConfigError

QUESTION, ANSWER = "Sample question", "Sample answer"


def choose_template(
    tokenizer: PreTrainedTokenizerBase, chat_template: str, notes: list[str]
) -> str:
    """Set `tokenizer.chat_template`; where it came from: tokenizer, supplied, none or the file.

    Raises:
        ConfigError: the file cannot be read, or the vocabulary cannot spell a supplied template.
    """
    if chat_template == "none":
        tokenizer.chat_template = None
        return "none"
    if chat_template != "auto":
        tokenizer.chat_template = _read_template(Path(chat_template))
        return chat_template
    if tokenizer.chat_template is not None:
        return "tokenizer"
    name = supplied_name(tokenizer)
    tokenizer.chat_template = supplied_template(name)
    notes.append(f"The tokenizer has no chat template; the supplied one `{name}` is used.")
    return "supplied"


def supplied_name(tokenizer: PreTrainedTokenizerBase) -> str:
    """`chatml` where the vocabulary has its tokens, else `plain`, which needs letters and EOS.

    Raises:
        ConfigError: the vocabulary cannot spell even the plain one.
    """
    vocabulary = tokenizer.get_vocab()
    if "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
        return "chatml"
    spelled = "System:\nUser:\nAssistant:\n"
    ids = tokenizer(spelled, add_special_tokens=False)["input_ids"]
    if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
        raise ConfigError(
            "the tokenizer has no chat template, and its vocabulary cannot spell the supplied "
            "one; give chat_template: FILE, or chat_template: none for raw prompts."
        )
    return "plain"


def supplied_template(name: str) -> str:
    """The text of `rlhf/data/templates/NAME.jinja`."""
    return (resources.files("rlhf.data") / "templates" / f"{name}.jinja").read_text("utf-8")


def text_after_answer(tokenizer: PreTrainedTokenizerBase, source: str) -> str:
    """What the template writes after an answer, to the end of the conversation.

    Raises:
        ConfigError: the template fails, or leaves the answer out.
    """
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, ValueError, TypeError) as error:
        raise ConfigError(f"the chat template ({source}) cannot be rendered: {error}") from error
    before, found, after = str(text).rpartition(ANSWER)
    if not before or not found:
        raise ConfigError(f"the chat template ({source}) renders no question and answer: {text!r}")
    return after


def end_of_turn(
    tokenizer: PreTrainedTokenizerBase, eos_ids: tuple[int, ...], after: str
) -> int | None:
    """The id of the token with which `after`, the text after an answer, begins.

    It has to be an EOS or another token that was added to the vocabulary, which then counts as one.
    None: text or nothing follows the answer; a model trained to answer so would never stop.
    """
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
    added = set(tokenizer.added_tokens_decoder)
    return int(ids[0]) if ids and ids[0] in added | set(eos_ids) else None


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"chat_template {path} cannot be read ({error}); use auto, none or a Jinja file."
        ) from error
