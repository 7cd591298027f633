"""Routes of the chat page in addition to the API: Markdown, blind names, votes, rewards."""

import threading
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rlhf.chat.introspection import normalised_rewards
from rlhf.chat.loading import LoadedModel
from rlhf.chat.votes import ComparedResponses, Votes, as_prompt
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.openai import chat_completion
from rlhf.chat.web.page_schema import (
    BlindBody,
    ContinueBody,
    MarkdownBody,
    RewardsBody,
    ThumbBody,
    VoteBody,
)
from rlhf.errors import ConfigError, DataError
from rlhf.rewards.model import RewardModel
from rlhf.runtime.printing import counted
from rlhf.web.markdown import render


@dataclass(kw_only=True)
class PageState:
    """What the page needs in addition to the models: the votes, and a reward model if any."""

    votes: Votes
    reward_model: RewardModel | None
    # One forward pass at a time for inspection and rewards: running responses take precedence.
    inspection_lock: threading.Lock = field(default_factory=threading.Lock)


def add_page(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    """Add the routes below /page, except those that inspect a response."""
    _add_votes(app, pool, page)

    @app.get("/page/models")
    def models() -> dict[str, object]:
        return {
            "models": [_description(name, one.model) for name, one in pool.schedulers.items()],
            "reward": page.reward_model is not None,
            "store": page.votes.location,
            "max_new_tokens": pool.limits.max_new_tokens,
        }

    @app.post("/page/markdown")
    def markdown(body: MarkdownBody) -> dict[str, str]:
        return {"html": render(body.text)}

    @app.post("/page/go_on")
    async def continue_response(request: Request, body: ContinueBody) -> Response:
        """A chat completion that continues the tokens `ids`."""
        return await chat_completion(request, pool, body, body.ids)

    @app.post("/page/rewards")
    def rewards(body: RewardsBody) -> list[float]:
        prompt = as_prompt([message.as_message() for message in body.messages])
        if page.reward_model is None:
            raise ConfigError(
                "this server has no reward model; start it with --reward_model DIR.",
                code="missing-key",
            )
        with page.inspection_lock:
            return normalised_rewards(page.reward_model, prompt, body.responses)


def _add_votes(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    @app.post("/page/blind")
    def blind(body: BlindBody) -> dict[str, list[str]]:
        return {"names": pool.add_blind_names(body.models)}

    @app.post("/page/vote")
    def vote(body: VoteBody) -> dict[str, object]:
        if len(body.models) != len(body.responses):
            raise DataError(
                f"{counted(len(body.responses), 'response')} for "
                f"{counted(len(body.models), 'model')}; give one for each.",
                code="bad-label",
            )
        compared = ComparedResponses(
            prompt=as_prompt([message.as_message() for message in body.messages]),
            responses=body.responses,
            models=[pool.scheduler(name).model.name for name in body.models],
            blind=all(name in pool.blind_names for name in body.models),
        )
        page.votes.vote(compared, body.vote)
        return {"models": [pool.blind_names.get(name, name) for name in body.models]}

    @app.post("/page/thumb")
    def thumb(body: ThumbBody) -> dict[str, bool]:
        prompt = as_prompt([message.as_message() for message in body.messages])
        name = pool.scheduler(body.model).model.name
        page.votes.thumb(prompt, body.response, name, up=body.up)
        return {"kept": True}


def _description(name: str, model: LoadedModel) -> dict[str, object]:
    return {
        "id": name,
        "facts": list(model.facts),
        "warnings": list(model.warnings),
        "raw": model.chat.raw,
    }
