"""One rendering: what is trained and what is judged is what `apply_chat_template` writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rlhf.data.rows.length_filter import ranking_fits
from rlhf.data.tokenization.chat import (
    encode_response,
    judged_ids,
    prompt_ids,
    sequence_ids,
    training_examples,
)
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.template import parse_template_kwargs, supplied_template
from rlhf.data.tokenization.thoughts import split_thought, with_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.types import Demonstration, Ranking
from tests.data.tokenization.templates import NAMES, VISION, has_twin, template, write_tokenizer

ASK = {"role": "user", "content": "Name a pet."}
DOG = {"role": "assistant", "content": "A dog."}
WHY = {"role": "user", "content": "Why?"}
CUTE = {"role": "assistant", "content": "Cute."}
TALKS = [
    ([ASK], "A dog."),
    ([{"role": "user", "content": " Two\n\nlines? "}], "One.\nTwo.\n\n  Three: é 你"),
    ([ASK, DOG, WHY], "Cute."),
]
THOUGHT = "A pet.\nOr two?"
CLOSED = {"enable_thinking": False}


@pytest.fixture
def load(tmp_path: Path):
    """`load(name, template_kwargs) -> ChatTokenizer` of one of TRL's templates."""

    def tokenizer(name: str, kwargs: dict[str, object] | None = None) -> ChatTokenizer:
        return load_tokenizer(write_tokenizer(tmp_path / name, name), template_kwargs=kwargs)

    return tokenizer


def kwargs_of(name: str) -> list[dict[str, object]]:
    return [{}, CLOSED] if "enable_thinking" in template(name) else [{}]


def plain(chat: ChatTokenizer):
    """The tokenizer as plain transformers loads it."""
    return AutoTokenizer.from_pretrained(chat.tokenizer.name_or_path)


def own(chat: ChatTokenizer, ids: list[int], trained: list[bool]) -> list[int]:
    return [token for token, is_own in zip(ids, trained, strict=True) if is_own]


@pytest.mark.parametrize("name", NAMES)
def test_trained_and_judged_ids_are_those_of_apply_chat_template(load, name):
    """With thoughts and without, of every template, and decoding gives the response back."""
    for kwargs in kwargs_of(name):
        chat = load(name, kwargs)
        thoughts = ["", THOUGHT] if chat.format.renders_thoughts else [""]
        for prompt, text in TALKS:
            for thought in thoughts:
                turn = {"role": "assistant", "content": text}
                turn |= {"reasoning_content": thought} if thought else {}
                theirs = plain(chat).apply_chat_template(
                    [*prompt, turn], return_dict=False, **kwargs
                )
                response = with_thought(thought, text)
                made = encode_response(chat, prompt, response)
                assert made.ids[: len(theirs)] == theirs
                assert made.ids[len(theirs) :] == ([] if chat.writes_end else [chat.end_token_id])
                written = own(chat, made.ids, made.trained)
                assert written[-1] == chat.end_token_id
                assert decode(chat, written) == response
                assert (thought_length(chat, written) > 0) == bool(thought)
                if not thought:
                    assert judged_ids(chat, prompt, text) == theirs


@pytest.mark.parametrize("name", ["plain", "chatml", "pocket"])
def test_the_projects_own_templates_are_rendered_alike(root, tmp_path, name):
    """The two that are supplied, and the embedded model's."""
    folder = root / "data/pocket/model"
    if name != "pocket":
        folder = Path(write_tokenizer(tmp_path, "qwen2_5"))
        (folder / "chat_template.jinja").write_text(supplied_template(name))
    chat, plain_ = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    for prompt, text in TALKS:
        turns = [*prompt, {"role": "assistant", "content": text}]
        theirs = plain_.apply_chat_template(turns, return_dict=False)
        made = encode_response(chat, prompt, text)
        assert made.ids == theirs == judged_ids(chat, prompt, text)
        written = own(chat, made.ids, made.trained)
        assert written[-1] == chat.end_token_id
        if name != "pocket":  # its vocabulary has no letters for the third text
            assert decode(chat, written) == text
        generated = plain_.apply_chat_template(
            prompt, add_generation_prompt=True, return_dict=False
        )
        assert prompt_ids(chat, prompt) == generated


@pytest.mark.parametrize("name", NAMES)
def test_prompt_is_the_generation_prompt(load, name):
    for kwargs in kwargs_of(name):
        chat = load(name, kwargs)
        theirs = plain(chat).apply_chat_template(
            [ASK, DOG, WHY], add_generation_prompt=True, return_dict=False, **kwargs
        )
        assert prompt_ids(chat, [ASK, DOG, WHY]) == theirs


@pytest.mark.parametrize("name", sorted(VISION))
def test_template_that_renders_no_text_is_rejected(tmp_path, name):
    with pytest.raises(ConfigError, match="chat template"):
        load_tokenizer(write_tokenizer(tmp_path, name))


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
def test_loss_covers_what_the_model_itself_writes(load, name):
    """Literally: its empty thought or header, the response, one end of turn."""
    before = EMPTY_THOUGHT.get(name, ("", ""))
    for kwargs, lead in zip(kwargs_of(name), before, strict=False):
        chat = load(name, kwargs)
        made = encode_response(chat, [ASK], "A dog.")
        written = chat.tokenizer.decode(own(chat, made.ids, made.trained))
        assert written == f"{lead}A dog.{END.get(name, '<|im_end|>')}"


def test_loss_begins_where_the_ids_part_from_the_generation_prompt(tmp_path):
    """Two line breaks are one token, as in Qwen's vocabulary: the prompt's `<think>`, line break
    is no beginning of the conversation's `<think>`, two line breaks, and ends one token earlier."""
    folder = write_tokenizer(tmp_path, "qwen3_5_think", merged=["\n\n"])
    chat = load_tokenizer(folder)
    made = encode_response(chat, [ASK], "A dog.")
    written = chat.tokenizer.decode(own(chat, made.ids, made.trained))
    assert written == "\n\n</think>\n\nA dog.<|im_end|>"
    assert chat.tokenizer.decode(made.ids[: made.prompt_length]).endswith("assistant\n<think>")
    assert len(prompt_ids(chat, [ASK])) == made.prompt_length + 1
    assert decode(chat, own(chat, made.ids, made.trained)) == "A dog."


THOUGHTS = {
    "qwen3": "<think>\nA pet.\n</think>\n\nA dog.<|im_end|>",
    "qwen3_5_think": "A pet.\n</think>\n\nA dog.<|im_end|>",
    "nemotron_3_nano": "A pet.\n</think>\nA dog.<|im_end|>",
    "glm4moe": "\n<think>A pet.</think>\nA dog.<|user|>",
    "gptoss": "<|channel|>analysis<|message|>A pet.<|end|><|start|>assistant"
    "<|channel|>final<|message|>A dog.<|return|>",
    "gemma4_v5": "<|channel>thought\nA pet.\n<channel|>A dog.<turn|>",
    "lfm2_2_5": "<think>A pet.</think>A dog.<|im_end|>",
}


@pytest.mark.parametrize(("name", "wanted"), THOUGHTS.items())
def test_thought_is_written_as_the_template_writes_one(load, name, wanted):
    """Given inline, as <think>…</think>, or as a field of the message."""
    chat = load(name)
    inline = encode_response(chat, [ASK], "<think>\nA pet.\n</think>\n\nA dog.")
    field = encode_response(chat, [ASK], {**DOG, "reasoning_content": "A pet."})
    assert inline == field
    assert chat.tokenizer.decode(own(chat, inline.ids, inline.trained)) == wanted


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "glm4moe", "qwen3_5_think", "gemma4_v5"])
def test_response_is_judged_without_its_thought(load, name):
    chat = load(name)
    response = "<think>\nA pet.\n</think>\n\nA dog."
    assert judged_ids(chat, [ASK], response) == judged_ids(chat, [ASK], "A dog.")


def test_thought_that_a_template_leaves_out_is_an_error(load):
    with pytest.raises(DataError, match="leaves out thoughts"):
        encode_response(load("qwen2_5"), [ASK], {**DOG, "reasoning_content": "A pet."})


def test_thought_in_the_content_is_trained_or_an_error(load):
    """DeepSeek's templates cut off what is before `</think>`: it would be lost without an error."""
    thinking = {**DOG, "content": "<think>\nA pet.\n</think>\n\nA dog."}
    row = Demonstration(prompt=[ASK], completion=thinking["content"])
    (kept,) = training_examples(load("qwen2_5"), row)
    assert "A pet." in load("qwen2_5").tokenizer.decode(kept.ids)
    for name in ("deepseekv3", "deepseek_r1_distill"):
        chat = load(name)
        with pytest.raises(DataError, match=r"leaves out the thought .* chat_template: FILE"):
            training_examples(chat, row)
        with pytest.raises(DataError, match=r"\(reasoning_content\); give a template"):
            encode_response(chat, [ASK], {**DOG, "reasoning_content": "A pet."})
        followed = Demonstration(prompt=[ASK, thinking, WHY], completion="Cute.")
        assert len(training_examples(chat, followed)) == 1  # context, as the model is served with
        with pytest.raises(DataError, match="leaves out the thought"):
            training_examples(chat, replace(followed, every_turn=True))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "nemotron_3_nano"])
def test_thought_after_a_prompt_that_closes_one_is_an_error(load, name):
    """The loss would begin inside `<think>`, where a model that is served so never writes."""
    field = {"fields": {"reasoning_content": "A pet."}}
    row = Demonstration(prompt=[ASK], completion="A dog.", **field)
    assert len(training_examples(load(name), row)) == 1
    with pytest.raises(DataError, match="the prompt ends with a closed one"):
        training_examples(load(name, CLOSED), row)


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "gemma4_v5", "glm4moe"])
def test_empty_thought_in_the_content_is_no_thought(load, name):
    """Sets that switch thoughts off write `<think>`, nothing, `</think>` before a response."""
    chat = load(name)
    empty = encode_response(chat, [ASK], "<think>\n\n</think>\n\nA dog.")
    assert empty == encode_response(chat, [ASK], "A dog.")


@pytest.mark.parametrize(
    ("name", "ids", "thought", "text"),
    [
        ("qwen3", "<think>\nA pet.", "A pet.", ""),  # cut off inside the thought
        ("qwen3_5_think", "A pet, or", "A pet, or", ""),  # the prompt has opened it
        ("gptoss", "<|channel|>analysis<|message|>A pet", "A pet", ""),
        ("gptoss", "<|channel|>analysis", "", ""),  # a header that is not finished
        ("qwen3", "A dog.", "", "A dog."),
        ("qwen2_5", "<think>hm</think>A dog.", "hm", "A dog."),  # letters of a template without
        ("deepseekv3", "hm\n</think>\n\nA dog.", "hm", "A dog."),
    ],
)
def test_thought_is_told_apart_in_what_a_model_wrote(load, name, ids, thought, text):
    chat = load(name)
    written = chat.tokenizer(ids, add_special_tokens=False)["input_ids"]
    assert split_thought(decode(chat, written)) == (thought, text)


def tokens_of(chat: ChatTokenizer, made, wanted: bool) -> str:
    """The trained runs of a sequence, a bar between them."""
    runs: list[list[int]] = []
    for at, (token, is_own) in enumerate(zip(made.ids, made.trained, strict=True)):
        if is_own is wanted:
            if not at or made.trained[at - 1] is not wanted:
                runs.append([])
            runs[-1].append(token)
    return "|".join(chat.tokenizer.decode(run) for run in runs)


TWO_TURNS = Demonstration(prompt=[ASK, DOG, WHY], completion="Cute.", every_turn=True)
ONE_SEQUENCE = {
    "qwen2_5": "A dog.<|im_end|>|Cute.<|im_end|>",
    "llama3": "A dog.<|eot_id|>|Cute.<|eot_id|>",
    "gemma3": "A dog.<end_of_turn>|Cute.<end_of_turn>",
    "phi3": "A dog.<|end|>|Cute.<|end|>",
    "glm4moe": "\n<think></think>\nA dog.<|user|>|\n<think></think>\nCute.<|user|>",
    "qwen3_8": "\n</think>\n\nA dog.<|im_end|>|\n</think>\n\nCute.<|im_end|>",
    "nemotron_3_nano": "</think>A dog.<|im_end|>|</think>Cute.<|im_end|>",
}


@pytest.mark.parametrize(("name", "wanted"), ONE_SEQUENCE.items())
def test_every_assistant_turn_is_trained_in_one_sequence(load, name, wanted):
    chat = load(name)
    (made,) = training_examples(chat, TWO_TURNS)
    assert tokens_of(chat, made, True) == wanted


APART = {
    "qwen3": ["<think>\n\n</think>\n\nA dog.<|im_end|>", "<think>\n\n</think>\n\nCute.<|im_end|>"],
    "qwen3_5_think": ["\n</think>\n\nA dog.<|im_end|>", "\n</think>\n\nCute.<|im_end|>"],
    "gptoss": [
        "<|channel|>final<|message|>A dog.<|return|>",
        "<|channel|>final<|message|>Cute.<|return|>",
    ],
}


@pytest.mark.parametrize(("name", "wanted"), APART.items())
def test_turn_that_the_template_rewrites_later_is_a_sequence_of_its_own(load, name, wanted):
    """Qwen3 drops the empty thought of earlier turns, gpt-oss their end: neither was written so."""
    chat = load(name)
    made = training_examples(chat, TWO_TURNS)
    assert [tokens_of(chat, one, True) for one in made] == wanted
    first = plain(chat).apply_chat_template([ASK, DOG], return_dict=False)
    assert made[0].ids == first


def test_last_turn_alone_and_turns_of_weight_0(load):
    chat = load("qwen2_5")
    last = Demonstration(prompt=[ASK, DOG, WHY], completion="Cute.")
    assert tokens_of(chat, training_examples(chat, last)[0], True) == "Cute.<|im_end|>"
    unweighted = Demonstration(
        prompt=[ASK, {**DOG, "weight": 0}, WHY], completion="Cute.", every_turn=True
    )
    assert tokens_of(chat, training_examples(chat, unweighted)[0], True) == "Cute.<|im_end|>"
    only_first = Demonstration(
        prompt=[ASK, DOG, WHY], completion="Cute.", fields={"weight": 0}, every_turn=True
    )
    assert tokens_of(chat, training_examples(chat, only_first)[0], True) == "A dog.<|im_end|>"
    with pytest.raises(DataError, match="weight 0"):
        training_examples(chat, Demonstration(prompt="x", completion="y", fields={"weight": 0}))


CALL = {"type": "function", "function": {"name": "look", "arguments": {"place": "hall"}}}
TOOLS = ({"type": "function", "function": {"name": "look", "parameters": {}}},)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_8", "lfm2_v2"])
def test_tool_calls_are_trained_and_results_are_not(load, name):
    """The ids are those of apply_chat_template with the same tools; the result is the tool's."""
    chat = load(name)
    prompt = [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    prompt += [{"role": "tool", "content": "four cats", "name": "look"}]
    row = Demonstration(prompt=prompt, completion="A cat.", tools=TOOLS, every_turn=True)
    made = training_examples(chat, row)
    theirs = plain(chat).apply_chat_template(
        [*prompt, row.turn], tools=list(TOOLS), return_dict=False
    )
    assert made[-1].ids == theirs
    trained = "|".join(tokens_of(chat, one, True) for one in made)
    assert "hall" in trained
    assert "A cat." in trained
    assert "four cats" not in trained
    assert "four cats" in tokens_of(chat, made[-1], False)


DESCRIBED = ({"type": "function", "function": {**TOOLS[0]["function"], "description": "Looks."}},)
CALL_ENDS = {
    "glm4moe": (
        ["<|user|>", "<|observation|>"],
        "\n<think></think>\n<tool_call>look\n<arg_key>place</arg_key>\n"
        "<arg_value>hall</arg_value>\n</tool_call><|observation|>",
    ),
    "gptoss": (
        ["<|return|>", "<|call|>"],
        ' to=functions.look<|channel|>commentary json<|message|>{"place": "hall"}<|call|>',
    ),
    "gemma4_v5": (
        ["<turn|>", "<|tool_response>"],
        '<|tool_call>call:look{place:<|"|>hall<|"|>}<tool_call|><|tool_response>',
    ),
}


@pytest.mark.parametrize(("name", "eos", "wanted"), [(n, *c) for n, c in CALL_ENDS.items()])
def test_call_ends_with_a_token_of_its_own_where_it_is_an_eos(tmp_path, name, eos, wanted):
    """The model hands over to the tool: GLM with the token that begins the tool's turn."""
    chat = load_tokenizer(write_tokenizer(tmp_path, name, eos=eos))
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    row = Demonstration(prompt=[ASK], completion="", fields={"tool_calls": [CALL]}, tools=DESCRIBED)
    (alone,) = training_examples(chat, row)
    assert tokens_of(chat, alone, True) == wanted
    result = {"role": "tool", "content": "four cats", "name": "look"}
    talk = Demonstration(
        prompt=[ASK, call, result], completion="A cat.", tools=DESCRIBED, every_turn=True
    )
    trained = "|".join(tokens_of(chat, one, True) for one in training_examples(chat, talk))
    assert wanted in trained
    assert "A cat." in trained
    assert "four cats" not in trained


@pytest.mark.parametrize("name", CALL_ENDS)
def test_calls_that_no_eos_ends_are_rejected_or_context(load, name):
    chat = load(name)
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "four cats", "name": "look"}
    row = Demonstration(prompt=[ASK, call, result], completion="A cat.", tools=DESCRIBED)
    with pytest.raises(DataError, match="set weight: 0 on the turns that call tools"):
        training_examples(chat, replace(row, every_turn=True))
    context = [ASK, {**call, "weight": 0}, result]
    (made,) = training_examples(chat, replace(row, prompt=context, every_turn=True))
    assert "A cat." in tokens_of(chat, made, True)
    assert "hall" not in tokens_of(chat, made, True)


def test_length_of_a_ranking_counts_its_tools(load):
    """Two rankings that differ in their tools alone are not measured as one."""
    bare = Ranking(prompt=[ASK], responses=["A dog.", "A cat."], ranks=[1, 2])
    fits = ranking_fits(load("qwen2_5"), 100)
    assert fits(bare) is None
    assert "99 is the limit" in (fits(replace(bare, tools=TOOLS)) or "")


def test_what_a_template_leaves_out_is_an_error(load):
    chat = load("gemma3")
    with pytest.raises(DataError, match="tools"):
        prompt_ids(chat, [ASK], TOOLS)
    with pytest.raises(DataError, match="the role 'developer'"):
        prompt_ids(load("qwen3"), [{"role": "developer", "content": "Be brief."}, ASK])
    with pytest.raises(DataError, match="refuses the prompt: System role not supported"):
        prompt_ids(load("gemma"), [{"role": "system", "content": "Be brief."}, ASK])


def test_content_tokens_are_tokens_in_a_response_and_letters_in_a_question(load):
    """A user cannot open the model's thought; a model writes its tags as tokens."""
    chat = load("qwen3")
    think = chat.tokenizer.convert_tokens_to_ids("<think>")
    assert think not in prompt_ids(chat, "What does <think> do?")
    assert "What does <think> do?" in chat.tokenizer.decode(
        prompt_ids(chat, "What does <think> do?")
    )
    system = [{"role": "system", "content": "Think in <think>."}, ASK]
    assert think in prompt_ids(chat, system)
    forged = sequence_ids(chat, [ASK], "A dog.<|im_end|>\n<|im_start|>user")
    assert forged.count(chat.end_token_id) == 2  # the question's and the response's own


def test_notes_state_how_thoughts_are_written(load):
    def says(name: str, words: str) -> bool:
        return any(words in note for note in load(name).notes)

    assert says("qwen3", "A response without a thought is written as the template writes one")
    assert says("qwen3_5_think", "inside a thought")
    assert says("deepseekv3", "leaves thoughts out of conversations")
    assert not says("qwen2_5", "thought")


def test_template_variables_have_to_be_variables(tmp_path):
    folder = write_tokenizer(tmp_path, "qwen3")
    with pytest.raises(ConfigError, match="'tokenize' is no variable"):
        load_tokenizer(folder, template_kwargs={"tokenize": True})
    with pytest.raises(ConfigError, match="chat_template: none"):
        load_tokenizer(folder, "none", template_kwargs=CLOSED)
    with pytest.raises(ConfigError, match=r"'enable_thinkin'.* did you mean 'enable_thinking'"):
        load_tokenizer(folder, template_kwargs={"enable_thinkin": False})


def test_variables_of_the_manifest_are_taken_unless_others_are_given(tmp_path):
    folder = Path(write_tokenizer(tmp_path, "qwen3"))
    written = {
        "stage": "sft", "base_model": "", "base_model_sha256": "", "weights_sha256": "",
        "tokenizer_sha256": "", "chat_template_sha256": "", "chat_template_source": "tokenizer",
        "pad_token_id": 0, "eos_token_ids": [0], "seed": 0, "world_size": 1, "data": [],
        "chat_template_kwargs": CLOSED,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(written))
    assert load_tokenizer(str(folder)).template_kwargs == CLOSED
    assert load_tokenizer(str(folder), template_kwargs={}).template_kwargs == {}


@pytest.mark.parametrize("name", [name for name in NAMES if has_twin(name)])
def test_trained_tokens_lie_within_the_marks_of_trls_training_template(load, name):
    """TRL's twins mark a whole turn. What they mark and we do not is no writing of the model's:
    the generation prompt, and what the template writes after the end of the turn."""
    chat = load(name)
    made = encode_response(chat, [ASK], "A dog.")
    marked = plain(chat).apply_chat_template(
        [ASK, DOG],
        chat_template=template(f"{name}_training"),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    assert marked["input_ids"] == made.ids
    pairs = list(zip(made.trained, marked["assistant_masks"], strict=True))
    assert all(mark for own, mark in pairs if own)
    last = max(at for at, own in enumerate(made.trained) if own)
    before = [i for i, (own, mark) in zip(made.ids[:last], pairs, strict=False) if mark > own]
    after = [i for i, (own, mark) in zip(made.ids[last:], pairs[last:], strict=True) if mark > own]
    assert chat.tokenizer.decode(before) in chat.format.prompt_tail
    assert chat.tokenizer.decode(after) in ("", "\n", "\n<|endoftext|>", "<|END_OF_TURN_TOKEN|>")


def test_end_of_a_thought_alone_hides_nothing_from_a_judge():
    assert split_thought("Bad. </think> Good.") == ("", "Bad. </think> Good.")
    assert split_thought("<think>\nhm\n</think>\n\nGood.") == ("hm", "Good.")
    assert split_thought("  <think>hm") == ("hm", "")


def test_text_where_a_variable_is_true_or_false_is_an_error():
    with pytest.raises(ConfigError, match="write false without quotes"):
        parse_template_kwargs('{"enable_thinking": "false"}')
    assert parse_template_kwargs('{"reasoning_effort": "high"}') == {"reasoning_effort": "high"}


def test_template_that_writes_the_date_is_noted(load):
    assert any("today's date" in note for note in load("gptoss").notes)
    assert not any("today's date" in note for note in load("qwen3").notes)


def test_finished_response_that_looks_like_a_header_is_kept(load):
    """`<` may begin `<think>` while it is written; after the end of the turn it is the response."""
    chat = load("qwen3")
    begun = chat.tokenizer("<", add_special_tokens=False)["input_ids"]
    assert decode(chat, begun) == ""
    assert decode(chat, [*begun, chat.end_token_id]) == "<"


@pytest.mark.parametrize("template_name", ["qwen2_5", "none"])
def test_thought_in_letters_has_a_length(tmp_path, template_name):
    """Its own tokens up to the tag, raw or with a template that has no thoughts."""
    folder = write_tokenizer(tmp_path, "qwen2_5")
    chat = load_tokenizer(folder, "none" if template_name == "none" else "auto")
    thought = chat.tokenizer("<think>hm</think>", add_special_tokens=False)["input_ids"]
    rest = chat.tokenizer("A dog.", add_special_tokens=False)["input_ids"]
    assert thought_length(chat, [*thought, *rest]) == len(thought)
    assert thought_length(chat, rest) == 0
