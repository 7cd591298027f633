"""The ids that are trained on and judged are those of `apply_chat_template`."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rlhf.data.tokenization.chat import (
    encode_response,
    judged_ids,
    prompt_ids,
)
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.template import supplied_template
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.data.tokenization.tokenizer import load_tokenizer
from tests.data.tokenization.conversations import (
    ASK,
    DOG,
    WHY,
    kwargs_of,
    trained_ids,
    transformers_tokenizer,
)
from tests.data.tokenization.templates import NAMES, has_twin, template, write_tokenizer

CONVERSATIONS = [
    ([ASK], "A dog."),
    ([{"role": "user", "content": " Two\n\nlines? "}], "One.\nTwo.\n\n  Three: é 你"),
    ([ASK, DOG, WHY], "Cute."),
]


THOUGHT = "A pet.\nOr two?"


@pytest.mark.parametrize("name", NAMES)
def test_trained_and_judged_ids_are_those_of_apply_chat_template(load, name):
    """For every template, with and without thoughts; decoding returns the response."""
    for kwargs in kwargs_of(name):
        chat = load(name, kwargs)
        thoughts = ["", THOUGHT] if chat.format.renders_thoughts else [""]
        for prompt, text in CONVERSATIONS:
            for thought in thoughts:
                turn = {"role": "assistant", "content": text}
                turn |= {"reasoning_content": thought} if thought else {}
                theirs = transformers_tokenizer(chat).apply_chat_template(
                    [*prompt, turn], return_dict=False, **kwargs
                )
                response = with_thought(thought, text)
                encoded = encode_response(chat, prompt, response)
                assert encoded.ids[: len(theirs)] == theirs
                assert encoded.ids[len(theirs) :] == (
                    [] if chat.writes_end else [chat.end_token_id]
                )
                written = trained_ids(encoded)
                assert written[-1] == chat.end_token_id
                assert decode(chat, written) == response
                assert (thought_length(chat, written) > 0) == bool(thought)
                if not thought:
                    assert judged_ids(chat, prompt, text) == theirs


@pytest.mark.parametrize("name", ["plain", "chatml", "pocket"])
def test_own_templates_are_rendered_as_transformers_does(root, tmp_path, name):
    """The two supplied templates, and the one of the embedded model."""
    folder = root / "data/pocket/model"
    if name != "pocket":
        folder = Path(write_tokenizer(tmp_path, "qwen2_5"))
        (folder / "chat_template.jinja").write_text(supplied_template(name))
    chat, tokenizer = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    for prompt, text in CONVERSATIONS:
        turns = [*prompt, {"role": "assistant", "content": text}]
        theirs = tokenizer.apply_chat_template(turns, return_dict=False)
        encoded = encode_response(chat, prompt, text)
        assert encoded.ids == theirs == judged_ids(chat, prompt, text)
        written = trained_ids(encoded)
        assert written[-1] == chat.end_token_id
        if name != "pocket":  # its vocabulary has no letters for the third text
            assert decode(chat, written) == text
        generated = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_dict=False
        )
        assert prompt_ids(chat, prompt) == generated


@pytest.mark.parametrize("name", NAMES)
def test_prompt_is_the_generation_prompt(load, name):
    for kwargs in kwargs_of(name):
        chat = load(name, kwargs)
        theirs = transformers_tokenizer(chat).apply_chat_template(
            [ASK, DOG, WHY], add_generation_prompt=True, return_dict=False, **kwargs
        )
        assert prompt_ids(chat, [ASK, DOG, WHY]) == theirs


END = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "llama3_1": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "phi3": "<|end|>",
    "phi3_5": "<|end|>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "deepseekv3": "<｜end▁of▁sentence｜>",
    "glm4moe": "<|user|>",
    "gptoss": "<|return|>",
    "muse_glimmer": "<|eot|>",
    **dict.fromkeys(["diffusion_gemma", *(n for n in NAMES if n.startswith("gemma4"))], "<turn|>"),
}


# What the model writes before "A dog." by the template's default, and with enable_thinking false.
EMPTY_THOUGHT = {
    "qwen3": ("<think>\n\n</think>\n\n", ""),
    "qwen3_5_think": ("\n</think>\n\n", ""),
    "qwen3_6": ("\n</think>\n\n", ""),
    "qwen3_8": ("\n</think>\n\n", ""),
    "nemotron_3_nano": ("</think>", ""),
    "nemotron_3_super": ("</think>", ""),
    "nemotron_3_ultra": ("</think>", ""),
    "nemotron_3_5_lightning": ("</think>", ""),
    "glm4moe": ("\n<think></think>\n", "\n"),
    "gptoss": ("<|channel|>final<|message|>",),
    "muse_glimmer": (" to=user<|message|>",),
}


@pytest.mark.parametrize("name", NAMES)
def test_loss_covers_all_tokens_that_the_model_writes(load, name):
    """Literally: the empty thought or header, the response, one end of turn."""
    before = EMPTY_THOUGHT.get(name, ("", ""))
    for kwargs, lead in zip(kwargs_of(name), before, strict=False):
        chat = load(name, kwargs)
        encoded = encode_response(chat, [ASK], "A dog.")
        written = chat.tokenizer.decode(trained_ids(encoded))
        assert written == f"{lead}A dog.{END.get(name, '<|im_end|>')}"


def test_loss_begins_where_ids_differ_from_the_prompt(tmp_path):
    """Two line breaks are one token, as in Qwen's vocabulary, so the prompt's `<think>` and line
    break are not the beginning of the conversation: the prompt ends one token earlier."""
    folder = write_tokenizer(tmp_path, "qwen3_5_think", merged=["\n\n"])
    chat = load_tokenizer(folder)
    encoded = encode_response(chat, [ASK], "A dog.")
    written = chat.tokenizer.decode(trained_ids(encoded))
    assert written == "\n\n</think>\n\nA dog.<|im_end|>"
    assert chat.tokenizer.decode(encoded.ids[: encoded.prompt_length]).endswith(
        "assistant\n<think>"
    )
    assert len(prompt_ids(chat, [ASK])) == encoded.prompt_length + 1
    assert decode(chat, trained_ids(encoded)) == "A dog."


@pytest.mark.parametrize("name", [name for name in NAMES if has_twin(name)])
def test_trained_tokens_are_within_the_marks_of_trl(load, name):
    """TRL's training templates mark a whole turn. The other marked tokens are not the model's: the
    generation prompt, and the template's text after the end of the turn."""
    chat = load(name)
    encoded = encode_response(chat, [ASK], "A dog.")
    marked = transformers_tokenizer(chat).apply_chat_template(
        [ASK, DOG],
        chat_template=template(f"{name}_training"),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert marked["input_ids"] == encoded.ids
    pairs = list(zip(encoded.trained, marked["assistant_masks"], strict=True))
    assert all(mark for trained, mark in pairs if trained)
    last = max(at for at, trained in enumerate(encoded.trained) if trained)
    before = [
        i for i, (trained, mark) in zip(encoded.ids[:last], pairs, strict=False) if mark > trained
    ]
    after = [
        i
        for i, (trained, mark) in zip(encoded.ids[last:], pairs[last:], strict=True)
        if mark > trained
    ]
    assert chat.tokenizer.decode(before) in chat.format.prompt_tail
    assert chat.tokenizer.decode(after) in ("", "\n", "\n<|endoftext|>", "<|END_OF_TURN_TOKEN|>")
