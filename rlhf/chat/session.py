"""A conversation in the terminal: what each line does."""

import random
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rlhf.chat import transcripts as saved
from rlhf.chat.conversation import Answer, Conversation, Piece, encode
from rlhf.chat.introspection import as_text, differences, positions, reward_growth, rewards
from rlhf.chat.loading import ChatModel, short_names
from rlhf.chat.renderer import Renderer
from rlhf.chat.sampling import Sampling
from rlhf.chat.tables import difference_table, position_table, token_table
from rlhf.chat.votes import BOTH_BAD, TIE, Compared, Votes, prompt_of
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.errors import ConfigError, DataError
from rlhf.rewards.model import RewardModel

HELP = """/help           this
/quit           leave; so does Ctrl-D
/reset          forget the conversation
/system TEXT    begin anew, with TEXT as the system message
/regen          another answer to the last question
/undo           take the last question and its answer back
/edit           change the last question and ask it anew; /edit TEXT asks TEXT in its place
/temp X         temperature; 0 takes the likeliest token
/topp X         keep the likeliest tokens that have probability X together
/max N          longest answer, in tokens
/seed N         seed of the sampling
/save [FILE]    append the conversation to FILE, as a row that SFT reads (chats.jsonl)
/load FILE [N]  go on with row N of FILE, or with its last one
/compare DIR    ask DIR beside the model, with the same seed; /compare off leaves it
/1 /2 /tie /bad which of the answers side by side is better; the talk goes on with it
/up [N] /down [N]  a thumb for the last answer, or for column N
/tokens         how the last question and its answer are cut into tokens
/topk [K]       each token's probability, and the K likeliest ones at its place
/why            the answer under every model: where the first moved; the reward as it grows
A line that ends with \\ goes on with the next; \"\"\" begins and ends a text of several lines.
Ctrl-C stops an answer and leaves the program running."""

SETTINGS: dict[str, tuple[str, type]] = {
    "/temp": ("temperature", float),
    "/topp": ("top_p", float),
    "/max": ("max_new_tokens", int),
    "/seed": ("seed", int),
}
SAVED = "chats.jsonl"
MOST_LIKELY = 50  # tokens in a row of /topk
VOTES = {"/tie": TIE, "/bad": BOTH_BAD}


@dataclass(kw_only=True)
class Session:
    """Commands and questions over one conversation."""

    conversation: Conversation
    screen: Renderer
    load_model: Callable[[str], ChatModel]
    votes: Votes
    load_reward: Callable[[], RewardModel | None] = lambda: None
    blind: bool = False
    prefilled: str = ""  # what the next line begins with

    def __post_init__(self) -> None:
        self._order = list(range(len(self.conversation.models)))
        self._draw = random.SystemRandom()
        self._hidden = False  # whether whose the last answers are is not told yet

    def take(self, line: str) -> bool:
        """Carry out one line, a command or a question; False where it ends the session."""
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        if line and not line.startswith("/"):
            self.ask(line)
        elif command in ("/quit", "/exit"):
            return False
        elif line:
            self._command(command, rest)
        return True

    def ask(self, text: str) -> None:
        """Ask, and show what comes."""
        self._show(self.conversation.ask(text))

    def _command(self, command: str, rest: str) -> None:
        match command:
            case "/help":
                self.screen.console.print(HELP, markup=False)
            case "/regen":
                self._show(self.conversation.regenerate())
            case "/undo":
                question = self.conversation.undo()
                said = "nothing to take back" if question is None else f"taken back: {question}"
                self.screen.note(said)
            case "/edit":
                self._edit(rest)
            case "/reset" | "/system":
                self.conversation.reset(rest if command == "/system" and rest else None)
                self.screen.note("a new conversation")
            case "/save":
                saved.save(Path(rest or SAVED), self.conversation.messages)
                self.screen.note(f"saved to {rest or SAVED}")
            case "/load":
                self._load(rest)
            case "/compare":
                self._compare(rest)
            case "/up" | "/down":
                self._thumb(rest, up=command == "/up")
            case "/tokens" | "/topk" | "/why":
                self._look_inside(command, rest)
            case _ if command in SETTINGS:
                self.conversation.sampling = _changed(self.conversation.sampling, command, rest)
                settings = asdict(self.conversation.sampling).items()
                self.screen.note(", ".join(f"{key} {value}" for key, value in settings))
            case _ if command in VOTES or command[1:].isdecimal():
                self._vote(VOTES.get(command, command[1:]))
            case _:
                raise ConfigError(f"no command {command}; /help lists them.")

    def _edit(self, text: str) -> None:
        question = self.conversation.undo()
        if question is None:
            raise DataError("there is no question to edit; ask something first.")
        if text:
            self.ask(text)
        else:
            self.prefilled = question

    def _load(self, rest: str) -> None:
        path, _, number = rest.rpartition(" ")
        if not path or not number.isdecimal():
            path, number = rest, ""
        if not path:
            raise ConfigError("/load takes a file, and the number of a row if not the last one.")
        messages = saved.load(path, int(number) if number else None)
        self.conversation.reset()
        self.conversation.messages = messages
        for turn in messages:
            thought, text = split_thought(turn["content"])
            self.screen.note(f"thought: {thought}\n" * bool(thought) + f"{turn['role']}: {text}")

    def _compare(self, rest: str) -> None:
        models = list(self.conversation.models)
        if rest == "off":
            models = models[:1]
        elif rest:
            models += [self.load_model(rest)]
        else:
            raise ConfigError("/compare takes the folder of another model, or off.")
        self.conversation.models = models
        # The first model's stays, to be looked into: /why says what another makes of it.
        self.conversation.answers = self.conversation.answers[:1]
        self._order, self._hidden = list(range(len(models))), False
        self.screen.note("talking to " + ", ".join(model.name for model in models))

    def _vote(self, vote: str) -> None:
        answers, models = self.conversation.answers, self.conversation.models
        if len(answers) < 2:
            raise DataError("nothing stands side by side; /compare DIR asks a second model.")
        names = [models[index].name for index in self._order]
        compared = Compared(
            prompt=prompt_of(self.conversation.messages[:-1]),
            answers=[answers[index].whole for index in self._order],
            models=names,
            blind=self.blind,
        )
        self.votes.prefer(compared, vote)
        self._hidden = False
        who = f"; {', '.join(f'{n} is {name}' for n, name in enumerate(names, 1))}"
        self.screen.note(f"kept in {self.votes.location}{who if self.blind else ''}")
        if vote.isdecimal():
            self.conversation.prefer(self._order[int(vote) - 1])

    def _thumb(self, rest: str, *, up: bool) -> None:
        answers = self.conversation.answers
        number = rest or "1"
        if not number.isdecimal() or not 1 <= int(number) <= len(answers):
            raise DataError(f"there is no answer {number} to mark; ask something first.")
        index = self._order[int(number) - 1]
        prompt = prompt_of(self.conversation.messages[:-1])
        self.votes.thumb(prompt, answers[index].whole, self.conversation.models[index].name, up=up)
        self.screen.note(f"kept in {self.votes.location}")

    def _look_inside(self, command: str, rest: str) -> None:
        model, console = self.conversation.models[0], self.screen.console
        prompt, answer = self._last()
        if command == "/tokens":
            cut = [[as_text(model, i) for i in ids] for ids in (prompt, answer.ids)]
            console.print(token_table(*cut))
        elif command == "/topk":
            if not (rest or "5").isdecimal() or not 1 <= int(rest or 5) <= MOST_LIKELY:
                raise ConfigError(f"/topk takes a number from 1 to {MOST_LIKELY}, not {rest!r}.")
            sampling = self.conversation.sampling
            found = positions(model, prompt, answer.ids, sampling, most=int(rest or 5))
            console.print(position_table(found))
        else:
            self._why(prompt, answer)

    def _why(self, prompt: list[int], answer: Answer) -> None:
        models, reward = self.conversation.models, self.load_reward()
        found = differences(models, prompt, answer.ids)
        asked = prompt_of(self.conversation.messages[:-1])
        grown = reward_growth(reward, models[0], asked, answer.ids) if reward else []
        names = short_names([model.name for model in models])
        self.screen.console.print(difference_table(found, names, grown))
        answers = self.conversation.answers
        if reward and len(answers) > 1:
            given = rewards(reward, asked, [one.whole for one in answers])
            each = [f"{n} {names[at]} {given[at]:+.3f}" for n, at in enumerate(self._order, 1)]
            self.screen.note("reward of each answer: " + ", ".join(each))
        if len(models) == 1:
            self.screen.note("/compare DIR shows what changed from that checkpoint to this one")
        if reward is None:
            self.screen.note("start with --reward_model DIR to see the reward grow")

    def _last(self) -> tuple[list[int], Answer]:
        """The prompt of the last question, and the first model's answer to it.

        Raises:
            DataError: nothing was answered yet, or whose answer it is has to stay hidden.
        """
        if self._hidden:
            raise DataError("looking inside tells whose an answer is; vote first.")
        if not self.conversation.answers or not self.conversation.answers[0].ids:
            raise DataError("there is no answer to look into; ask something first.")
        model = self.conversation.models[0]
        return encode(model, self.conversation.messages[:-1]), self.conversation.answers[0]

    def _show(self, pieces: Generator[Piece]) -> None:
        """Show answers as they come. Ctrl-C ends them; what was said stays said."""
        models = self.conversation.models
        self._order = list(range(len(models)))
        self._hidden = self.blind and len(models) > 1
        if self.blind:
            self._draw.shuffle(self._order)
        if len(models) == 1:
            finished = self.screen.one(pieces)
        else:
            names = [
                f"{n}" if self.blind else f"{n} {models[index].name}"
                for n, index in enumerate(self._order, 1)
            ]
            finished = self.screen.side_by_side(pieces, names, self._order)
        self._notes(finished)

    def _notes(self, finished: bool) -> None:
        if self.conversation.forgotten:
            left_out = self.conversation.forgotten
            self.screen.note(f"the {left_out} oldest turns no longer fit and are left out")
        if not finished:
            self.screen.note("(stopped)")
        elif any(answer.cut_off for answer in self.conversation.answers):
            self.screen.note("(cut off at its longest; /max N allows more)")
        if len(self.conversation.models) > 1:
            self.screen.note("better: /1, /2, /tie or /bad")


def _changed(sampling: Sampling, command: str, text: str) -> Sampling:
    name, kind = SETTINGS[command]
    try:
        value: Any = kind(text)
    except ValueError:
        raise ConfigError(f"{command} takes a number, not {text!r}.") from None
    changes: dict[str, Any] = {name: value}
    return replace(sampling, **changes)
