"""Routes of votes and thumbs: blind names, and what is stored in the label store."""

from fastapi import FastAPI, Request

from rlhf.chat.model_names import names_in_store
from rlhf.chat.votes import ComparedResponses, Voter, as_prompt
from rlhf.chat.web.errors import BadRequest
from rlhf.chat.web.model_pool import MAX_BLIND_NAMES, ModelPool
from rlhf.chat.web.page_schema import BlindBody, RatedBody, ThumbBody, VoteBody
from rlhf.chat.web.page_state import PageState, browser_key
from rlhf.errors import DataError
from rlhf.runtime.printing import counted


def add_votes(app: FastAPI, pool: ModelPool, page: PageState) -> None:
    """Add the routes of votes and thumbs."""
    paths = {name: backend.model.name for name, backend in pool.backends.items()}
    stored = names_in_store(paths, page.given_names)

    @app.post("/page/blind")
    def blind(body: BlindBody) -> dict[str, list[str]]:
        names = pool.add_blind_names(body.models)
        if page.history is not None:
            added = {name: pool.blind_names[name] for name in names}
            page.history.add_blind_names(added, keep=MAX_BLIND_NAMES)
        return {"names": names}

    @app.post("/page/vote")
    def vote(request: Request, body: VoteBody) -> dict[str, object]:
        if len(body.models) != len(body.responses):
            raise DataError(
                f"{counted(len(body.responses), 'response')} for "
                f"{counted(len(body.models), 'model')}; give one for each.",
                code="bad-label",
            )
        compared = ComparedResponses(
            prompt=as_prompt([message.as_message() for message in body.messages]),
            responses=body.responses,
            models=[stored[pool.served_name(name)] for name in body.models],
            blind=all(name in pool.blind_names for name in body.models),
            origins=[origin.as_origin() for origin in body.origins],
        )
        page.votes.vote(compared, body.vote, _voter(page, request, body))
        return {"models": [pool.served_name(name) for name in body.models]}

    @app.post("/page/thumb")
    def thumb(request: Request, body: ThumbBody) -> dict[str, bool]:
        page.votes.thumb(
            as_prompt([message.as_message() for message in body.messages]),
            body.response,
            stored[pool.served_name(body.model)],
            up=body.up,
            origin=body.origin.as_origin(),
            voter=_voter(page, request, body),
        )
        return {"kept": True}


def _voter(page: PageState, request: Request, body: RatedBody) -> Voter:
    """Whose vote it is.

    Raises:
        BadRequest: the page is shared, and the vote names nobody.
        DataError: a name that cannot be stored.
    """
    name = body.annotator.strip()
    if not name and page.shared:
        raise BadRequest("enter your name in the settings; votes are stored under it")
    browser = browser_key(request)
    return Voter(name=name, browser=browser) if name else page.votes.voter
