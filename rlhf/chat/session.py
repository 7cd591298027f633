"""A conversation in the terminal: prompts and commands, a line each."""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.chat.conversation import ChatResponse, Conversation, ResponsePiece
from rlhf.chat.introspection import (
    normalised_rewards,
    prefix_rewards,
    token_differences,
    token_positions,
    token_text,
)
from rlhf.chat.loading import LoadedModel
from rlhf.chat.model_names import short_names, stored_names
from rlhf.chat.prompt import encode_prompt
from rlhf.chat.renderer import Renderer
from rlhf.chat.sampling import Sampling
from rlhf.chat.tables import difference_table, position_table, token_table
from rlhf.chat.transcripts import load_conversation, save_conversation
from rlhf.chat.votes import (
    BOTH_BAD,
    TIE,
    ComparedResponses,
    ResponseOrigin,
    Votes,
    as_prompt,
)
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import ConfigError, DataError
from rlhf.rewards.model import RewardModel

HELP = """/help           list the commands
/quit           leave; Ctrl-D does the same
/reset          start a new conversation
/system TEXT    start a new conversation with TEXT as the system message
/regen          generate another response to the last prompt
/undo           remove the last prompt and its response
/edit [TEXT]    change the last prompt and send it again; with TEXT, send TEXT instead
/temp X         temperature; 0 is greedy
/topp X         top-p: sample from the likeliest tokens whose probabilities reach X
/max N          maximum length of a response, in tokens
/seed N         seed of the sampling
/save [FILE]    append the conversation to FILE (chats.jsonl), as a row that SFT reads
/load FILE [N]  continue the conversation in row N of FILE, by default the last row
/compare DIR    add the model in DIR, with the same prompts and seed; /compare off removes it
/1 /2 /tie /bad vote for the better response; the conversation continues with it
/up [N] /down [N]  rate the last response, or that in column N
/tokens         the tokens of the last prompt and its response
/topk [K]       each token's probability, and the K likeliest tokens at its position
/why            each token under every model: KL where they differ, and the reward so far
A line that ends with \\ continues on the next; \"\"\" begins and ends a text of several lines.
Ctrl-C stops a response and not the program."""

SETTINGS: dict[str, tuple[str, type]] = {
    "/temp": ("temperature", float),
    "/topp": ("top_p", float),
    "/max": ("max_new_tokens", int),
    "/seed": ("seed", int),
}
TRANSCRIPT = "chats.jsonl"
MAX_LIKELIEST = 50  # tokens in a row of /topk
VOTES = {"/tie": TIE, "/bad": BOTH_BAD}


@dataclass(kw_only=True)
class TerminalSession:
    """Commands and prompts of one conversation."""

    conversation: Conversation
    renderer: Renderer
    load_model: Callable[[str], LoadedModel]
    votes: Votes
    load_reward_model: Callable[[], RewardModel | None] = lambda: None
    blind: bool = False
    prefilled: str = ""  # text that the next input line begins with

    def __post_init__(self) -> None:
        self._order = list(range(len(self.conversation.models)))  # the model of each column
        self._random = random.SystemRandom()
        self._names_hidden = False  # whether the last responses wait for a blind vote

    def handle_line(self, line: str) -> bool:
        """Carry out one line, a command or a prompt; False if it ends the session."""
        command, _, arguments = line.partition(" ")
        if line and not line.startswith("/"):
            self.send(line)
        elif command in ("/quit", "/exit"):
            return False
        elif line:
            self._run_command(command, arguments.strip())
        return True

    def send(self, text: str) -> None:
        """Send a prompt and show the responses."""
        self._show(self.conversation.send(text))

    def _run_command(self, command: str, arguments: str) -> None:
        match command:
            case "/help":
                self.renderer.console.print(HELP, markup=False)
            case "/regen":
                self._show(self.conversation.regenerate())
            case "/undo":
                prompt = self.conversation.undo()
                self.renderer.note("nothing to undo" if prompt is None else f"removed: {prompt}")
            case "/edit":
                self._edit(arguments)
            case "/reset" | "/system":
                system = arguments if command == "/system" and arguments else None
                self.conversation.reset(system)
                self.renderer.note("new conversation")
            case "/save":
                path = Path(arguments or TRANSCRIPT)
                made = "" if path.parent.is_dir() else f", in the new folder {path.parent}"
                save_conversation(path, self.conversation.messages)
                self.renderer.note(f"saved to {path}{made}")
            case "/load":
                self._load(arguments)
            case "/compare":
                self._compare(arguments)
            case "/up" | "/down":
                self._thumb(arguments, up=command == "/up")
            case "/tokens" | "/topk" | "/why":
                self._inspect(command, arguments)
            case _ if command in SETTINGS:
                sampling = _changed_sampling(self.conversation.sampling, command, arguments)
                self.conversation.sampling = sampling
                names = [name for name, _ in SETTINGS.values()]
                self.renderer.note(", ".join(f"{name} {getattr(sampling, name)}" for name in names))
            case _ if command in VOTES or command[1:].isdecimal():
                self._vote(VOTES.get(command, command[1:]))
            case _:
                raise ConfigError(
                    f"unknown command {command}; /help lists the commands.", code="unknown-key"
                )

    def _edit(self, text: str) -> None:
        prompt = self.conversation.undo()
        if prompt is None:
            raise DataError("there is no prompt to edit.", code="unknown-name")
        if text:
            self.send(text)
        else:
            self.prefilled = prompt

    def _load(self, arguments: str) -> None:
        path, _, number = arguments.rpartition(" ")
        if not path or not number.isdecimal():
            path, number = arguments, ""
        if not path:
            raise ConfigError("/load needs a file: /load FILE [ROW].", code="missing-key")
        messages = load_conversation(path, int(number) if number else None)
        self.conversation.reset()
        self.conversation.messages = messages
        for message in messages:
            thought, text = split_thought(message["content"])
            note = f"thought: {thought}\n" if thought else ""
            self.renderer.note(f"{note}{message['role']}: {text}")

    def _compare(self, arguments: str) -> None:
        models = list(self.conversation.models)
        if arguments == "off":
            models = models[:1]
        elif arguments:
            models += [self.load_model(arguments)]
        else:
            raise ConfigError(
                "/compare needs the folder of another model, or off.", code="missing-key"
            )
        self.conversation.models = models
        # The first model's response can still be inspected: /why shows it under the other model.
        self.conversation.responses = self.conversation.responses[:1]
        self._order, self._names_hidden = list(range(len(models))), False
        self.renderer.note("chatting with " + ", ".join(model.name for model in models))

    def _vote(self, vote: str) -> None:
        responses, models = self.conversation.responses, self.conversation.models
        if len(responses) < 2:
            raise DataError(
                "there are no responses to compare; /compare DIR adds a second model.",
                code="unknown-name",
            )
        names = [models[index].name for index in self._order]
        stored = stored_names([model.name for model in models])
        compared = ComparedResponses(
            prompt=as_prompt(self.conversation.messages[:-1]),
            responses=[responses[index].full_text for index in self._order],
            models=[stored[index] for index in self._order],
            blind=self.blind,
            origins=[ResponseOrigin(ending=responses[index].ending) for index in self._order],
        )
        self.votes.vote(compared, vote)
        self._names_hidden = False
        revealed = "; " + ", ".join(f"{n} is {name}" for n, name in enumerate(names, 1))
        self.renderer.note(f"stored in {self.votes.location}{revealed if self.blind else ''}")
        if vote.isdecimal():
            self.conversation.continue_with(self._order[int(vote) - 1])

    def _thumb(self, arguments: str, *, up: bool) -> None:
        responses = self.conversation.responses
        number = arguments or "1"
        if not number.isdecimal() or not 1 <= int(number) <= len(responses):
            raise DataError(f"there is no response {number} to rate.", code="unknown-name")
        index = self._order[int(number) - 1]
        prompt = as_prompt(self.conversation.messages[:-1])
        names = stored_names([model.name for model in self.conversation.models])
        origin = ResponseOrigin(ending=responses[index].ending)
        self.votes.thumb(prompt, responses[index].full_text, names[index], up=up, origin=origin)
        self.renderer.note(f"stored in {self.votes.location}")

    def _inspect(self, command: str, arguments: str) -> None:
        model, console = self.conversation.models[0], self.renderer.console
        prompt, response = self._last_exchange()
        if command == "/tokens":
            texts = [[token_text(model, i) for i in ids] for ids in (prompt, response.ids)]
            console.print(token_table(*texts))
        elif command == "/topk":
            if not (arguments or "5").isdecimal() or not 1 <= int(arguments or 5) <= MAX_LIKELIEST:
                raise ConfigError(
                    f"/topk needs a number from 1 to {MAX_LIKELIEST}, not {arguments!r}.",
                    code="bad-value",
                )
            sampling, most = self.conversation.sampling, int(arguments or 5)
            positions = token_positions(model, prompt, response.ids, sampling, most=most)
            console.print(position_table(positions))
        else:
            self._why(prompt, response)

    def _why(self, prompt: list[int], response: ChatResponse) -> None:
        models, reward_model = self.conversation.models, self.load_reward_model()
        differences = token_differences(models, prompt, response.ids)
        messages = as_prompt(self.conversation.messages[:-1])
        rewards = (
            prefix_rewards(reward_model, models[0], messages, response.ids) if reward_model else []
        )
        names = short_names([model.name for model in models])
        self.renderer.console.print(difference_table(differences, names, rewards))
        responses = self.conversation.responses
        if reward_model and len(responses) > 1:
            texts = [one.full_text for one in responses]
            of_model = normalised_rewards(reward_model, messages, texts)
            columns = [f"{n} {names[i]} {of_model[i]:+.3f}" for n, i in enumerate(self._order, 1)]
            self.renderer.note("reward of each response: " + ", ".join(columns))
        if len(models) == 1:
            self.renderer.note("/compare DIR shows what changed from the checkpoint in DIR")
        if reward_model is None:
            self.renderer.note("start with --reward_model DIR to see the reward token by token")

    def _last_exchange(self) -> tuple[list[int], ChatResponse]:
        """Ids of the last prompt, and the first model's response to it.

        Raises:
            DataError: there is no response yet, or the blind vote is still open.
        """
        if self._names_hidden:
            raise DataError(
                "inspecting a response would reveal its model; vote first.", code="not-allowed"
            )
        if not self.conversation.responses or not self.conversation.responses[0].ids:
            raise DataError("there is no response to inspect.", code="unknown-name")
        prompt = encode_prompt(self.conversation.models[0], self.conversation.messages[:-1])
        return prompt, self.conversation.responses[0]

    def _show(self, pieces: Generator[ResponsePiece]) -> None:
        """Show responses as they are generated. Ctrl-C stops them; what was generated is kept."""
        models = self.conversation.models
        self._order = list(range(len(models)))
        self._names_hidden = self.blind and len(models) > 1
        if self.blind:
            self._random.shuffle(self._order)
        if len(models) == 1:
            finished = self.renderer.stream(pieces)
        else:
            titles = [
                f"{n}" if self.blind else f"{n} {models[index].name}"
                for n, index in enumerate(self._order, 1)
            ]
            finished = self.renderer.side_by_side(pieces, titles, self._order)
        self._note_outcome(finished)

    def _note_outcome(self, finished: bool) -> None:
        if self.conversation.dropped_turns:
            dropped = self.conversation.dropped_turns
            self.renderer.note(f"left out the {dropped} oldest turns, which no longer fit")
        if not finished:
            self.renderer.note("(stopped)")
        elif any(response.cut_off for response in self.conversation.responses):
            self.renderer.note("(reached the maximum length; /max N allows more)")
        if len(self.conversation.models) > 1:
            self.renderer.note("vote: /1, /2, /tie or /bad")


def _changed_sampling(sampling: Sampling, command: str, text: str) -> Sampling:
    name, kind = SETTINGS[command]
    try:
        changes = {name: kind(text)}
    except ValueError:
        raise ConfigError(f"{command} needs a number, not {text!r}.", code="bad-value") from None
    return replace(sampling, **changes)
