"""A response with a thought, token by token, as a chat streams it."""

from dataclasses import replace

import pytest

from rlhf.chat.detokenizer import Detokenizer
from rlhf.data.tokenization.chat import decode, encode_response
from rlhf.data.tokenization.thoughts import with_thought
from rlhf.data.tokenization.tokenizer import load_tokenizer
from tests.data.tokenization.templates import NAMES, template, write_tokenizer
from tests.tiny_models import make_model

PROMPT = [{"role": "user", "content": "Q?"}]
THOUGHT, TEXT = "Hm, a dog?\n\nYes: 3 < 4.", "A dog € is\n\nhere </b>."
# Templates that render no thoughts, or whose prompt closes one: the tags are the model's.
PROMPT_OPENS = ("deepseek_r1_distill", "deepseekv3")
PROMPT_CLOSES = ("qwen3_5_nothink",)


def written(chat, response: str) -> list[int]:
    """The ids that a model writes for a response, up to the end of its turn."""
    encoded = encode_response(chat, PROMPT, response)
    last = len(encoded.trained) - encoded.trained[::-1].index(True)
    return encoded.ids[encoded.prompt_length : last]


def pieces(writer: Detokenizer, ids: list[int]) -> tuple[list[str], list[str]]:
    """Pieces of the thought and of the text; no piece of the thought follows one of the text."""
    thoughts, texts = [], []
    for at, token in enumerate(ids):
        piece = writer.add(token, last=at == len(ids) - 1)
        assert not (piece.thought and "".join(texts))
        thoughts.append(piece.thought)
        texts.append(piece.text)
    return thoughts, texts


@pytest.mark.parametrize("thought", [THOUGHT, ""])
@pytest.mark.parametrize("name", sorted({*NAMES} - {*PROMPT_OPENS, *PROMPT_CLOSES}))
def test_pieces_are_thought_and_text_without_tags(tmp_path, name, thought):
    """The pieces so far are always the beginning of the whole: no text is retracted."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name))
    ids = written(chat, with_thought(thought, TEXT))
    for stop in ((), ("never",)):
        thoughts, texts = pieces(Detokenizer(chat, stop), ids)
        assert ("".join(thoughts), "".join(texts)) == (thought, TEXT)
        for parts, whole in ((thoughts, thought), (texts, TEXT)):
            for end in range(len(parts)):
                assert whole.startswith("".join(parts[:end]))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "gptoss", "glm4moe", "gemma4_v5"])
def test_thought_is_streamed_and_kept_when_cut_off(tmp_path, name):
    """Most of the 20 or more tokens of the thought give a piece at once."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name))
    ids = written(chat, with_thought(THOUGHT, TEXT))
    end = next(n for n in range(len(ids)) if decode(chat, ids[:n]).endswith("Yes: 3"))
    writer = Detokenizer(chat)
    thoughts, texts = pieces(writer, ids[:end])
    assert ("".join(thoughts), "".join(texts)) == ("Hm, a dog?\n\nYes: 3", "")
    assert len([piece for piece in thoughts if piece]) > 10
    assert (writer.thought, writer.text, writer.in_response) == ("Hm, a dog?\n\nYes: 3", "", False)


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "qwen2_5"])
def test_stop_texts_apply_to_the_response_alone(tmp_path, name):
    """ "dog" is in the thought too."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name))
    writer = Detokenizer(chat, ["dog"])
    thought = text = ""
    for token in written(chat, with_thought(THOUGHT, TEXT)):
        piece = writer.add(token)
        thought, text = thought + piece.thought, text + piece.text
        if writer.stopped:
            break
    assert (thought, text, writer.stopped) == (THOUGHT, "A ", True)


@pytest.mark.parametrize("name", PROMPT_OPENS)
def test_thought_that_is_never_closed_is_the_response(tmp_path, name):
    """DeepSeek's prompt ends with <think>; its tags are content that the model writes."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name))
    ids = chat.tokenizer(f"Hm.\n</think>\n\n{TEXT}", add_special_tokens=False)["input_ids"]
    thoughts, texts = pieces(Detokenizer(chat), [*ids, chat.end_token_id])
    assert ("".join(thoughts), "".join(texts)) == ("Hm.", TEXT)
    writer = Detokenizer(chat)
    thoughts, texts = pieces(writer, written(chat, TEXT))
    assert ("".join(thoughts), "".join(texts)) == (TEXT, TEXT)
    assert (writer.thought, writer.text, writer.retracted) == ("", TEXT, True)


def test_tag_after_text_does_not_change_earlier_pieces(tmp_path):
    """The prompt has already closed the thought, and the model closes it once more."""
    chat = load_tokenizer(write_tokenizer(tmp_path, "qwen3_5_nothink"))
    ids = chat.tokenizer("Hm.</think> A dog.", add_special_tokens=False)["input_ids"]
    writer = Detokenizer(chat)
    thoughts, texts = pieces(writer, ids)
    assert ("".join(thoughts), "".join(texts)) == ("", "Hm. A dog.")


def test_detokenizer_continues_from_earlier_tokens(tmp_path):
    chat = load_tokenizer(write_tokenizer(tmp_path, "qwen3"))
    ids = written(chat, with_thought("One two.", TEXT))
    for start in range(len(ids)):
        writer = Detokenizer(chat, prefix_ids=ids[:start])
        before = (writer.thought, writer.text)
        thoughts, texts = pieces(writer, ids[start:])
        assert before[0] + "".join(thoughts) == "One two."
        assert before[1] + "".join(texts) == TEXT


def test_raw_text_has_no_thoughts(tmp_path):
    chat = load_tokenizer(write_tokenizer(tmp_path, "qwen3"))
    raw = replace(chat, template_source="none")
    ids = chat.tokenizer("<think>Hm.</think> A dog.", add_special_tokens=False)["input_ids"]
    thoughts, texts = pieces(Detokenizer(raw), ids)
    assert ("".join(thoughts), "".join(texts)) == ("", "<think>Hm.</think> A dog.")


@pytest.mark.parametrize("thought", [THOUGHT, ""])
def test_tags_in_letters_are_recognized(tmp_path, thought):
    """Qwen3's template for a base model that has no token for its tags."""
    folder = make_model(tmp_path / "model", "qwen2")
    (tmp_path / "qwen3.jinja").write_text(template("qwen3"), encoding="utf-8")
    chat = load_tokenizer(str(folder), str(tmp_path / "qwen3.jinja"))
    ids = written(chat, with_thought(thought, TEXT))
    assert decode(chat, ids) == with_thought(thought, TEXT)
    thoughts, texts = pieces(Detokenizer(chat), ids)
    assert ("".join(thoughts), "".join(texts)) == (thought, TEXT)
