"""The chat templates that TRL ships, each on a small tokenizer that has its control tokens."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import trl
from transformers import PreTrainedTokenizerFast

from tests.data.tokenization.small_tokenizers import byte_level

FOLDER = Path(trl.__file__).parent / "chat_templates"
# Templates of vision models: they read content as a list of parts and do not render a string.
VISION = {"idefics3", "llava_next", "smolvlm"}
NAMES = sorted(
    path.stem
    for path in FOLDER.glob("*.jinja")
    if not path.stem.endswith("_training") and path.stem not in VISION
)
# The texts that a template writes as single tokens; those of the second line are content.
_CONTROL = re.compile(
    r"<\|[^<>|\s]+\|?>|<[a-z_]+\|>|<｜[^<>]+｜>|<(?:start|end)_of_turn>|\[gMASK\]|<sop>"
    r"|</?think>|</?tool_call>|</?tool_response>"
)
_CONTENT = re.compile(r"</?(think|tool_call|tool_response)>")


def template(name: str) -> str:
    """The text of one of TRL's templates."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def has_twin(name: str) -> bool:
    """Whether TRL ships its training template, with `{% generation %}` marks."""
    return (FOLDER / f"{name}_training.jinja").is_file()


def write_tokenizer(
    folder: Path, name: str, *, merged: Sequence[str] = (), eos: Sequence[str] = ()
) -> str:
    """A byte-level tokenizer with the template NAME and its control tokens, saved in `folder`.

    merged: further texts that are one token. eos: the tokens that generation_config.json names.
    """
    tokens = {match.group() for match in _CONTROL.finditer(template(name))}
    content = sorted(token for token in tokens if _CONTENT.fullmatch(token))
    control = sorted(tokens - {*content, "<|endoftext|>"})
    fast = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(["<|endoftext|>", "<bos>", *control]),
        eos_token="<|endoftext|>",
        bos_token="<bos>",
    )
    fast.add_tokens([*content, *merged])
    fast.chat_template = template(name)
    fast.save_pretrained(folder)
    if eos:
        config = {"eos_token_id": fast.convert_tokens_to_ids(list(eos))}
        (folder / "generation_config.json").write_text(json.dumps(config))
    return str(folder)
