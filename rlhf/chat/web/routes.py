"""What the page asks for beside the API: Markdown, blind pairs, votes, and looks inside."""

import threading
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import Field

from rlhf.chat.detokenizer import Detokenizer
from rlhf.chat.embedding_map import text_plane, token_plane
from rlhf.chat.introspection import (
    as_text,
    differences,
    next_tokens,
    positions,
    reward_growth,
    rewards,
)
from rlhf.chat.loading import ChatModel
from rlhf.chat.sampling import Sampling
from rlhf.chat.votes import Compared, Votes, prompt_of
from rlhf.chat.web.cut import cut
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.openai import chat_answer
from rlhf.chat.web.schema import MOST_TURNS, ChatRequest, Strict, Turn
from rlhf.errors import DataError
from rlhf.rewards.model import RewardModel
from rlhf.web.markdown import render

LONGEST_TEXT = 200_000  # characters
LONGEST_LOOK = 512  # tokens of an answer that is looked into
MOST_LIKELY = 50

Name = Annotated[str, Field(max_length=4096)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Line = Annotated[str, Field(max_length=2000)]
Turns = Annotated[list[Turn], Field(min_length=1, max_length=MOST_TURNS)]
Models = Annotated[list[Name], Field(min_length=1, max_length=8)]
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=LONGEST_LOOK)]
Temperature = Annotated[float, Field(ge=0, le=100)]
TopP = Annotated[float, Field(gt=0, le=1)]
Most = Annotated[int, Field(ge=1, le=MOST_LIKELY)]


class Markdown(Strict):
    """A text to be rendered."""

    text: Text


class Pair(Strict):
    """Models whose names are to be hidden."""

    models: Models


class Vote(Strict):
    """Which answer is better, in the order shown; models by the names that the page knows."""

    messages: Turns
    answers: Annotated[list[Text], Field(min_length=2, max_length=8)]
    models: Models
    vote: Annotated[str, Field(max_length=8)]


class Thumb(Strict):
    """A mark of one answer."""

    messages: Turns
    answer: Text
    model: Name
    up: bool


class Answers(Strict):
    """Answers to be scored."""

    messages: Turns
    answers: Annotated[list[Text], Field(min_length=1, max_length=8)]


class Look(Strict):
    """An answer to look into: its text, or its ids where they are known."""

    model: Name
    messages: Turns
    answer: Text = ""
    ids: Ids | None = None
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    most: Most = 10


class GoOn(ChatRequest):
    """An answer of which these tokens are written already."""

    ids: Ids


class Compare(Look):
    """The same under other models."""

    others: Annotated[list[Name], Field(max_length=8, default_factory=list)]


class Space(Look):
    """A plane of tokens, or of these prompts."""

    texts: Annotated[list[Line], Field(max_length=200, default_factory=list)]


@dataclass(kw_only=True)
class PageState:
    """What the page needs beside models: the label store and a reward model, where there are."""

    votes: Votes
    reward: RewardModel | None


def add_page(app: FastAPI, served: ModelPool, desk: PageState) -> None:
    """Routes below /page."""
    _add_votes(app, served, desk)
    _add_looks(app, served, desk)

    @app.get("/page/models")
    def models() -> dict[str, Any]:
        described = [_described(name, worker.model) for name, worker in served.workers.items()]
        return {
            "models": described,
            "reward": desk.reward is not None,
            "store": desk.votes.location,
            "max_new_tokens": served.limits.max_new_tokens,
        }

    @app.post("/page/markdown")
    def markdown(body: Markdown) -> dict[str, str]:
        return {"html": render(body.text)}


def _add_votes(app: FastAPI, served: ModelPool, desk: PageState) -> None:
    @app.post("/page/blind")
    def blind(body: Pair) -> dict[str, list[str]]:
        return {"names": served.blind(body.models)}

    @app.post("/page/vote")
    def vote(body: Vote) -> dict[str, Any]:
        if len(body.models) != len(body.answers):
            raise DataError(f"{len(body.answers)} answers of {len(body.models)} models.")
        models = [served.worker(name).model.name for name in body.models]
        compared = Compared(
            prompt=prompt_of([turn.plain() for turn in body.messages]),
            answers=body.answers,
            models=models,
            blind=all(name in served.pairs for name in body.models),
        )
        desk.votes.prefer(compared, body.vote)
        return {"models": [served.pairs.get(name, name) for name in body.models]}

    @app.post("/page/thumb")
    def thumb(body: Thumb) -> dict[str, bool]:
        prompt = prompt_of([turn.plain() for turn in body.messages])
        name = served.worker(body.model).model.name
        desk.votes.thumb(prompt, body.answer, name, up=body.up)
        return {"kept": True}


def _add_looks(app: FastAPI, served: ModelPool, desk: PageState) -> None:
    looking = threading.Lock()  # one at a time: the answers that are being written go first

    def at(body: Look) -> tuple[ChatModel, list[int], list[int]]:
        """The model, the prompt's ids and the answer's."""
        model = served.worker(body.model).model
        turns = [turn.plain() for turn in body.messages]
        prompt, answer = cut(model, turns, body.answer, body.ids)
        if len(answer) > LONGEST_LOOK:
            raise DataError(f"the answer has {len(answer)} tokens; {LONGEST_LOOK} are looked into.")
        if answer and max(answer) >= int(model.model.config.get_text_config().vocab_size):
            raise DataError("an id is beyond the model's tokens.")
        served.check_length(model, len(prompt) + len(answer))
        return model, prompt, answer

    @app.post("/page/go_on")
    async def go_on(request: Request, body: GoOn) -> Response:
        """An answer as `/v1/chat/completions` writes it, from its tokens `ids` on."""
        return await chat_answer(request, served, body, body.ids)

    @app.post("/page/tokens")
    def tokens(body: Look) -> dict[str, Any]:
        model, prompt, answer = at(body)
        written = Detokenizer(model.chat, begun=answer)
        return {
            "prompt": [asdict(as_text(model, token)) for token in prompt],
            "answer": [asdict(as_text(model, token)) for token in answer],
            "thought": written.thought,
            "text": written.text,
        }

    @app.post("/page/positions")
    def ranked(body: Look) -> list[Any]:
        model, prompt, answer = at(body)
        sampling = Sampling(temperature=body.temperature, top_p=body.top_p)
        with looking:
            found = positions(model, prompt, answer, sampling, most=body.most)
        return [asdict(one) for one in found]

    @app.post("/page/next")
    def following(body: Look) -> list[Any]:
        model, prompt, answer = at(body)
        sampling = Sampling(temperature=body.temperature, top_p=body.top_p)
        with looking:
            found = next_tokens(model, [*prompt, *answer], sampling, most=body.most)
        return [asdict(one) for one in found]

    @app.post("/page/why")
    def why(body: Compare) -> dict[str, Any]:
        model, prompt, answer = at(body)
        others = [served.worker(name).model for name in body.others]
        with looking:
            found = differences([model, *others], prompt, answer)
            asked = prompt_of([turn.plain() for turn in body.messages])
            grown = reward_growth(desk.reward, model, asked, answer) if desk.reward else []
        return {"tokens": [asdict(one) for one in found], "rewards": grown}

    @app.post("/page/rewards")
    def scored(body: Answers) -> list[float]:
        asked = prompt_of([turn.plain() for turn in body.messages])
        if desk.reward is None:
            raise DataError("no reward model is served; start with --reward_model DIR.")
        with looking:
            return rewards(desk.reward, asked, body.answers)

    @app.post("/page/space")
    def space(body: Space) -> dict[str, Any]:
        model, _, answer = at(body)
        with looking:
            if not body.texts:
                return asdict(token_plane(model, answer))
            question = body.messages[-1].plain()["content"]
            texts = [*(text for text in body.texts if text != question), question]
            return asdict(text_plane(model, texts, answer))


def _described(name: str, model: ChatModel) -> dict[str, Any]:
    return {
        "id": name,
        "facts": list(model.facts),
        "warnings": list(model.warnings),
        "raw": model.chat.raw,
    }
