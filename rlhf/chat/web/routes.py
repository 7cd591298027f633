"""Routes of the chat page in addition to the API: texts, prompts that fit, exports, rewards."""

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from rlhf.chat.introspection import normalised_rewards
from rlhf.chat.policy_info import PolicyInfo
from rlhf.chat.prompt import fit_prompt
from rlhf.chat.votes import as_prompt
from rlhf.chat.web.chat_prompt import request_messages
from rlhf.chat.web.conversation_tree import branch_rows
from rlhf.chat.web.errors import error_param
from rlhf.chat.web.exchange_ids import exchange_ids
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.openai import chat_completion
from rlhf.chat.web.page_schema import (
    BranchBody,
    ContinueBody,
    FitBody,
    MarkdownBody,
    RewardsBody,
)
from rlhf.chat.web.page_state import PageState
from rlhf.chat.web.vote_routes import add_votes
from rlhf.errors import ConfigError
from rlhf.web.markdown import render


def add_page(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    """Add the routes below /page, except those that inspect a response."""
    add_votes(app, pool, page)

    @app.get("/page/models")
    def models() -> dict[str, object]:
        return {
            "models": [_description(name, one.model) for name, one in pool.backends.items()],
            "reward": page.reward_model is not None,
            "store": page.votes.location,
            "max_new_tokens": pool.limits.max_new_tokens,
            "history": page.history is not None,
            "annotator": "" if page.shared else page.votes.voter.name,
        }

    @app.post("/page/markdown")
    def markdown(body: MarkdownBody) -> dict[str, str]:
        return {"html": render(body.text)}

    @app.post("/page/fit")
    def fit(body: FitBody) -> dict[str, int]:
        """How many of the oldest messages to leave out, so that every model can respond."""
        messages = request_messages(body.messages)
        wanted = body.max_tokens or pool.limits.max_new_tokens
        with error_param("messages"):
            dropped = [
                fit_prompt(
                    pool.backend(name).model, messages, wanted, pool.limits.max_prompt_tokens
                )[1]
                for name in body.models
            ]
        return {"dropped": max(dropped)}

    @app.post("/page/go_on")
    async def continue_response(request: Request, body: ContinueBody) -> Response:
        """A chat completion that continues the tokens `ids`, or the tokens of `response`."""
        ids = body.ids
        if ids is None:
            model = pool.backend(body.model).model
            messages = request_messages(body.messages)
            ids = (await run_in_threadpool(exchange_ids, model, messages, body.response, None))[1]
        return await chat_completion(request, pool, body, ids)

    @app.post("/page/export")
    def export(body: BranchBody) -> dict[str, object]:
        return {"rows": branch_rows(body.turns)}

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


def _description(name: str, model: PolicyInfo) -> dict[str, object]:
    return {
        "id": name,
        "facts": list(model.facts),
        "warnings": list(model.warnings),
        "raw": model.chat.raw,
    }
