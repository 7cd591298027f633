"""Missing settings of a checkpoint get a value and a note, or raise an error."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlamaConfig

from rlhf.data.tokenization.chat import prompt_text, sequence_ids
from rlhf.data.tokenization.tokenizer import check_vocabulary, load_tokenizer
from tests.data.tokenization.small_tokenizers import CHATML, Write, byte_level, sentencepiece
from tests.errors import raises

LLAMA = ["<unk>", "<s>", "</s>"]


def test_base_model_gets_the_plain_template_and_a_note(plain: str):
    chat = load_tokenizer(plain)
    assert chat.template_source == "supplied"
    assert prompt_text(chat, "Hello?") == "User:\nHello?<|end|>Assistant:\n"
    assert chat.eos_token_ids == (1,)
    assert chat.notes == ("The tokenizer has no chat template; the supplied one `plain` is used.",)


def test_chatml_is_supplied_where_its_tokens_are_in_the_vocabulary(write: Write):
    folder = write(
        byte_level, ["<|pad|>", "<|im_start|>", "<|im_end|>"], eos_token="<|pad|>", unk_token=None
    )
    chat = load_tokenizer(folder)
    assert prompt_text(chat, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert chat.end_token_id == 2


def test_end_of_turn_becomes_eos(qwen: str):
    """Qwen2.5's base names <|endoftext|> (id 0), so generation would run past <|im_end|> (id 2)."""
    chat = load_tokenizer(qwen)
    assert chat.template_source == "tokenizer"
    assert chat.eos_token_ids == (2, 0)
    assert chat.tokenizer.eos_token == "<|im_end|>"
    assert chat.pad_token_id not in chat.eos_token_ids
    assert any("<|im_end|>" in note for note in chat.notes)


def test_pad_is_chosen_if_eos_is_the_only_special_token(write: Write, tmp_path: Path):
    """GPT-2: bos, eos and unk are one token. The byte 0x14 pads: no text contains it."""
    folder = write(byte_level, ["<|endoftext|>"], eos_token="<|endoftext|>")
    chat = load_tokenizer(folder)
    assert chat.tokenizer.pad_token == "Ĕ"
    assert chat.pad_token_id != chat.tokenizer.eos_token_id
    chat.tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(str(tmp_path / "saved"))
    assert (again.pad_token_id, len(again.tokenizer)) == (chat.pad_token_id, len(chat.tokenizer))
    assert sequence_ids(again, "Hello", "you") == sequence_ids(chat, "Hello", "you")


def test_pad_that_is_eos_is_replaced_with_a_note(write: Write):
    folder = write(sentencepiece, LLAMA, eos_token="</s>", pad_token="</s>", unk_token="<unk>")
    chat = load_tokenizer(folder)
    assert chat.tokenizer.pad_token == "<unk>"
    assert "Pad is '<unk>': '</s>' is an EOS." in chat.notes


def test_tokenizer_without_eos_is_rejected(write: Write):
    folder = write(byte_level, ["<|pad|>"], pad_token="<|pad|>")
    with raises("not-a-model", "eos_token"):
        load_tokenizer(folder)


def test_eos_of_the_generation_config_is_the_fallback(write: Write):
    folder = write(byte_level, ["<|pad|>", "<|end|>"], pad_token="<|pad|>", generation_eos=[1])
    assert load_tokenizer(folder).eos_token_ids == (1,)


def test_every_eos_of_the_generation_config_counts(write: Write):
    folder = write(
        sentencepiece, LLAMA, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        generation_eos=[1, 2],
    )  # fmt: skip
    chat = load_tokenizer(folder, "none")
    assert chat.eos_token_ids == (2, 1)
    assert chat.end_token_id == 2


@pytest.mark.parametrize("ending", ["", "\\n", "END"])
def test_template_that_ends_no_response_with_eos_is_rejected(
    plain: str, tmp_path: Path, ending: str
):
    template = tmp_path / "template.jinja"
    body = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '" + ending + "' }}"
    template.write_text(body + "{% endfor %}")
    with raises("template-error", "EOS"):
        load_tokenizer(plain, str(template))


def test_template_file_is_used_and_named(qwen: str, tmp_path: Path):
    template = tmp_path / "own.jinja"
    template.write_text(CHATML.replace("'\\n'", "' '"))
    chat = load_tokenizer(qwen, str(template))
    assert chat.template_source == str(template)
    assert prompt_text(chat, "Hi").startswith("<|im_start|>user Hi")


def test_missing_template_file_is_rejected(plain: str):
    with raises("unreadable-file", "chat_template", "nowhere.jinja"):
        load_tokenizer(plain, "nowhere.jinja")


def test_broken_template_is_rejected(plain: str, tmp_path: Path):
    template = tmp_path / "broken.jinja"
    template.write_text("{% for m in messages %}")
    with raises("template-error", "broken.jinja"):
        load_tokenizer(plain, str(template))


def test_template_none_keeps_prompts_raw(qwen: str, tmp_path: Path):
    chat = load_tokenizer(qwen, "none")
    assert chat.raw
    assert prompt_text(chat, "Once upon") == "Once upon"
    chat.tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template is None


def test_folder_without_tokenizer_is_rejected(tmp_path: Path):
    with raises("not-a-model", tmp_path):
        load_tokenizer(str(tmp_path))


def test_missing_folder_is_named_with_the_current_one(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises("not-a-model", "data/pocket/model", tmp_path):
        load_tokenizer("data/pocket/model")


def test_tokenizer_larger_than_the_model_is_rejected(plain: str):
    chat = load_tokenizer(plain)
    size = len(chat.tokenizer)
    check_vocabulary(LlamaConfig(vocab_size=size), chat)
    with raises("tokenizer-mismatch", f"id is {size - 1}", f"has {size - 1}"):
        check_vocabulary(LlamaConfig(vocab_size=size - 1), chat)


def test_real_checkpoint_with_unusual_tokens_is_loaded(shared_dir: Path):
    """Ends stories with <s>, generation EOS [1, 2], pad = unk, no template."""
    chat = load_tokenizer(str(shared_dir / "models" / "stories260K"))
    assert (chat.eos_token_ids, chat.end_token_id, chat.pad_token_id) == ((2, 1), 2, 0)
    assert chat.template_source == "supplied"
    assert len(chat.notes) == 3
    assert chat.tokenizer.unk_token_id not in sequence_ids(chat, "Tell me.", "Once upon a time.")
