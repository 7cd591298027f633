"""Episodes by a scripted engine: which ids, masks and rewards they have, and how they end."""

import asyncio
from dataclasses import dataclass, field

import pytest
import torch

from rlhf.data.collate import right_pad
from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.generation.decoder import Generated
from rlhf.models.generation.generate import prompt_batch
from rlhf.rollouts.environment import parse_environment
from rlhf.rollouts.play import Player, environment_seed, turn_seed
from tests.data.tokenization.templates import write_tokenizer
from tests.errors import raises

PROMPT = "Guess."


class Guess:
    """The number is 3; a wrong guess costs 0.25."""

    def reset(self, prompt):
        pass

    def step(self, messages):
        guess = messages[-1]["content"]
        if guess == "3":
            return [], 1.0, True
        return [{"role": "user", "content": "lower" if guess > "3" else "higher"}], -0.25, False


def added(arguments):
    return str(sum(arguments.values()))


class Calculator:
    """Adds the numbers of a call, and ends with the right sum."""

    tools = (
        {
            "type": "function",
            "function": {
                "name": "add",
                "description": "Adds two numbers.",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                },
            },
        },
    )

    def reset(self, prompt, answer):
        self.answer = answer

    def step(self, messages):
        turn = messages[-1]
        results = [
            {
                "role": "tool",
                "name": "add",
                "content": str(sum(call["function"]["arguments"].values())),
            }
            for call in turn.get("tool_calls", [])
        ]
        return results, float(turn["content"] == self.answer), not results


@dataclass
class Script:
    """Gives the texts of each turn, row by row; `{}` ends a turn, a text without it is cut off."""

    chat: object
    turns: list[list[str]]
    asked: list[tuple] = field(default_factory=list)

    def __call__(self, batch, seed, limits):
        texts = self.turns[len(self.asked)]
        self.asked.append((batch, seed, list(limits)))
        end = self.chat.tokenizer.convert_ids_to_tokens(self.chat.end_token_id)
        ids = [
            self.chat.tokenizer(text.replace("{}", end), add_special_tokens=False)["input_ids"]
            for text in texts
        ]
        ids = [row[:limit] for row, limit in zip(ids, limits, strict=True)]
        response_ids, mask = right_pad(ids, self.chat.pad_token_id)
        return Generated(
            response_ids=response_ids,
            response_mask=mask,
            logprobs=torch.where(mask, -0.5, 0.0),
            entropies=torch.where(mask, 0.25, 0.0),
            ended_with_eos=torch.tensor([row[-1] == self.chat.end_token_id for row in ids]),
        )


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("chat"), "qwen2_5"))


def play(chat, turns, environment=Guess, columns=None, prompts=1, **changes):
    """(what was played, the script) of `turns`; a list of texts for each turn."""
    rows = len(turns[0])
    batch = prompt_batch(
        [prompt_ids(chat, PROMPT)] * prompts, [PROMPT] * prompts,
        prompt_indices=range(4, 4 + prompts), num_responses=rows // prompts,
        pad_token_id=chat.pad_token_id, device=torch.device("cpu"), columns=columns,
    )  # fmt: skip
    limits = {"max_turns": 3, "max_prompt_length": 2048, "max_completion_length": 1024}
    script = Script(chat, turns)
    player = Player(parse_environment(environment), chat, **({**limits, "stops": True} | changes))
    try:
        return player.play(batch, script, seed=5, iteration=2), script
    finally:
        player.close()


def test_turns_and_messages_are_one_response(chat):
    """The ids are those of the conversation; rewards are at the end of the model's turns."""
    played, script = play(chat, [["5{}"], ["3{}"]])
    between = "\n<|im_start|>user\nlower<|im_end|>\n<|im_start|>assistant\n"
    ids = played.generated.response_ids[0]
    assert chat.tokenizer.decode(ids) == f"5<|im_end|>{between}3<|im_end|>"
    width = len(chat.tokenizer(between, add_special_tokens=False)["input_ids"])
    mask = [True] * 2 + [False] * width + [True] * 2
    assert played.action_mask[0].tolist() == mask
    assert played.episodes.rewards[0].tolist() == [0, -0.25, *[0] * width, 0, 1]
    assert played.generated.logprobs[0].tolist() == [-0.5 * written for written in mask]
    assert played.generated.entropies[0].tolist() == [0.25 * written for written in mask]
    assert played.generated.ended_with_eos.tolist() == [True]
    assert played.episodes.num_turns.tolist() == [2]
    assert played.texts == ["5\n\n[user]\nlower\n\n[assistant]\n3"]
    assert played.episodes.last_turns == ["3"]
    roles = [message["role"] for message in played.episodes.last_prompts[0]]
    assert roles == ["user", "assistant", "user"]
    second = script.asked[1][0]
    assert second.input_ids[0].tolist() == [*prompt_ids(chat, PROMPT), *ids[: 2 + width].tolist()]


def test_ids_of_the_model_are_never_tokenised_again(chat):
    """A text written letter by letter keeps its letters, where the tokenizer would merge them."""
    text = "short"
    letters = [chat.tokenizer.convert_tokens_to_ids(letter) for letter in text]
    assert chat.tokenizer(text, add_special_tokens=False)["input_ids"] != letters

    def spelled(batch, seed, limits):
        ids = torch.tensor([[*letters, chat.end_token_id]])
        return Generated(
            response_ids=ids,
            response_mask=torch.ones_like(ids, dtype=torch.bool),
            logprobs=torch.zeros(ids.shape),
            entropies=None,
            ended_with_eos=torch.tensor([True]),
        )

    script = Script(chat, [])
    batch = prompt_batch(
        [prompt_ids(chat, PROMPT)], [PROMPT], prompt_indices=[0], num_responses=1,
        pad_token_id=chat.pad_token_id, device=torch.device("cpu"),
    )  # fmt: skip
    player = Player(
        parse_environment(Guess), script.chat,
        max_turns=2, max_prompt_length=2048, max_completion_length=999, stops=True,
    )  # fmt: skip
    played = player.play(batch, spelled, seed=0, iteration=1)
    ids = played.generated.response_ids[0].tolist()
    assert ids[: len(letters)] == letters
    assert ids[-len(letters) - 1 : -1] == letters
    assert played.texts[0].count(text) == 2
    assert played.generated.entropies is None


def test_finished_episodes_leave_the_batch(chat):
    """Rows 0 and 2 need one turn, row 1 three; noise is keyed by the row and the turn."""
    played, script = play(chat, [["3{}", "5{}", "3{}"], ["4{}"], ["3{}"]])
    assert played.episodes.num_turns.tolist() == [1, 3, 1]
    assert [batch.row_ids.tolist() for batch, _, _ in script.asked] == [[12, 13, 14], [13], [13]]
    seeds = [seed for _, seed, _ in script.asked]
    assert seeds == [5, turn_seed(5, 1), turn_seed(5, 2)]
    assert len(set(seeds)) == 3
    groups = script.asked[0][0].group_ids.tolist()
    assert len(set(groups)) == 1  # one prompt, read once
    assert played.batch.row_ids.tolist() == [12, 13, 14]


def test_limit_of_turns_cuts_an_episode_off(chat):
    """The last turn is answered and rewarded, and nothing follows it."""
    played, _ = play(chat, [["5{}"], ["4{}"]], max_turns=2)
    assert played.generated.ended_with_eos.tolist() == [False]
    assert float(played.episodes.rewards.sum()) == -0.5
    assert played.action_mask[0, -1]


def test_message_that_does_not_fit_ends_the_episode(chat):
    """The model's turn has 2 tokens; the message and one more token would need the width + 1."""
    between = "\n<|im_start|>user\nlower<|im_end|>\n<|im_start|>assistant\n"
    width = len(chat.tokenizer(between, add_special_tokens=False)["input_ids"])
    played, script = play(chat, [["5{}"], ["3{}"]], max_completion_length=2 + width)
    assert len(script.asked) == 1
    assert played.generated.response_ids.shape[1] == 2
    assert played.generated.ended_with_eos.tolist() == [False]
    played, script = play(chat, [["5{}"], ["3{}"]], max_completion_length=2 + width + 1)
    assert script.asked[1][2] == [1]
    assert played.generated.response_ids.shape[1] == 2 + width + 1


def test_unfinished_turn_is_rewarded_and_ends_the_episode(chat):
    """`3` without its end: the environment is content, but the episode did not end by itself."""
    played, _ = play(chat, [["3", "3{}"]], max_completion_length=1)
    assert played.episodes.rewards.sum(1).tolist() == [1.0, 1.0]
    assert played.generated.ended_with_eos.tolist() == [False, False]
    played, _ = play(chat, [["3", "3{}"]])
    assert played.generated.ended_with_eos.tolist() == [False, True]


def test_calculator_is_called_and_its_result_read(chat):
    """The optimum: call, then copy the result. Prompt, call and result are one token sequence."""
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 19, "b": 23}}\n</tool_call>{}'
    played, script = play(
        chat, [[call, "41{}"], ["42{}"]], Calculator, [{"answer": "42"}], max_turns=4
    )
    assert played.episodes.rewards.sum(1).tolist() == [1.0, 0.0]
    assert played.episodes.num_calls.tolist() == [1, 0]
    assert played.generated.ended_with_eos.tolist() == [True, True]
    assert "<tool_response>\n42\n</tool_response>" in chat.tokenizer.decode(
        script.asked[1][0].input_ids[0]
    )
    assert '"name": "add"' in chat.tokenizer.decode(script.asked[0][0].input_ids[0])
    assert "[tool]\n42" in played.texts[0]


class Seeded:
    """Begins with a number that its seed determines."""

    def reset(self, prompt, seed):
        return [{"role": "user", "content": f"{prompt} {seed}"}]

    def step(self, messages):
        return [], 0.0, True


def test_environments_of_a_group_have_the_same_seed(chat):
    played, script = play(chat, [["a{}"] * 4], Seeded, prompts=2)
    contents = [prompt[0]["content"] for prompt in played.batch.prompts]
    assert contents == [f"Guess. {environment_seed(5, 2, group)}" for group in (4, 4, 5, 5)]
    assert len(set(contents)) == 2
    assert script.asked[0][0].group_ids.tolist() == [1, 1, 2, 2]


class Waiting:
    """Async: each step waits for all others, which one after the other could not end."""

    waiting = 0
    closed = 0

    async def reset(self, prompt):
        await asyncio.sleep(0)

    async def step(self, messages):
        Waiting.waiting += 1
        while Waiting.waiting < 3:
            await asyncio.sleep(0.001)
        return [], 1.0, True

    async def close(self):
        Waiting.closed += 1


def test_async_environments_step_together_and_are_closed(chat):
    played, _ = play(chat, [["a{}"] * 3], Waiting)
    assert played.episodes.rewards.sum(1).tolist() == [1.0] * 3
    assert Waiting.closed == 3


class Broken(Guess):
    """Raises on `x`, returns NaN on `n`, ends a message's role on `r`."""

    def step(self, messages):
        text = messages[-1]["content"]
        if text == "x":
            raise KeyError("no such door")
        if text == "n":
            return [], float("nan"), True
        if text == "r":
            return [{"role": "ipython", "content": "4"}], 0.0, False
        return super().step(messages)


@pytest.mark.parametrize(("text", "words"), [("x", "KeyError"), ("n", "finite"), ("r", "ipython")])
def test_broken_step_stops_the_run(chat, text, words):
    with raises("no-reward", "Broken", "turn 1", PROMPT, words):
        play(chat, [[f"{text}{{}}"]], Broken)


def test_broken_step_is_skipped_if_asked_for(chat):
    """The other rows go on; the failed one has a reason."""
    played, _ = play(chat, [["x{}", "5{}"], ["3{}"]], Broken, stops=False)
    assert "no such door" in played.episodes.failures[0]
    assert played.episodes.failures[1] == ""
    assert float(played.episodes.rewards[1].sum()) == 0.75


def test_message_of_a_role_without_a_form_is_a_failure(tmp_path):
    """Gemma's template alternates user and model."""
    chat = load_tokenizer(write_tokenizer(tmp_path, "gemma3"))

    class Tool(Guess):
        def step(self, messages):
            return [{"role": "tool", "content": "4"}], 0.0, False

    with raises("no-reward", "Tool"):
        play(chat, [["5{}"]], Tool)


@pytest.mark.parametrize("method", ["__init__", "reset", "close"])
def test_method_that_raises_names_the_environment(chat, method):
    def fail(self, *arguments, prompt=None):
        raise RuntimeError("no door")

    broken = type("Doors", (Guess,), {method: fail})
    with raises("bad-environment", "Doors", method, "no door"):
        play(chat, [["3{}"]], broken)


def test_conversation_that_is_too_long_at_the_start_is_rejected(chat):
    with raises("too-long", "max_prompt_length", 3):
        play(chat, [["3{}"]], max_prompt_length=3)
