"""Routes of participants from a crowd platform: the entrance, and the completion code."""

from typing import Annotated

import jinja2
import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import Field

from rlhf.errors import DataError
from rlhf.labels import access
from rlhf.labels.crowd import PLATFORMS, CrowdConfig, platform_ids
from rlhf.labels.people import update_person
from rlhf.labels.queue import Queue
from rlhf.labels.schema import people
from rlhf.labels.web.config import CrowdStudy, WebConfig
from rlhf.labels.web.login import LoginSite, by_token, home_of, set_cookies
from rlhf.labels.web.request_schemas import RequestBody
from rlhf.runtime.printing import counted
from rlhf.web.rate_limit import RateLimit

# New participants of one address in a time window. Behind a proxy all have one address.
MAX_NEW, NEW_SECONDS = 200, 60.0


class EntranceRequest(RequestBody):
    """The query of the platform's link."""

    query: Annotated[dict[str, str], Field(max_length=20)]


def add_crowd(app: FastAPI, queue: Queue, config: WebConfig, pages: jinja2.Environment) -> None:
    """Add the entrance and the completion code of a study; without one they return 404."""
    rate_limit = RateLimit(MAX_NEW, NEW_SECONDS)
    site = LoginSite(store=queue.store, config=config)

    @app.get("/crowd", response_class=HTMLResponse)
    def entrance(request: Request) -> str:
        crowd = _required(config.crowd).config
        problem = ""
        try:
            platform_ids(crowd.platform, request.query_params)
        except DataError as error:
            problem = str(error)
        return pages.get_template("crowd.html").render(
            platform=PLATFORMS[crowd.platform].name,
            problem=problem,
            num_labels=counted(quota, "item") if (quota := crowd.labels_per_person) else "",
        )

    @app.post("/crowd")
    def enter(request: Request, body: EntranceRequest) -> Response:
        study = _required(config.crowd)
        address = request.client.host if request.client else ""
        ids = platform_ids(study.config.platform, body.query)
        if not study.participants.knows(study.config.platform, ids):
            if rate_limit.is_exceeded(address):
                raise HTTPException(429, "too many new participants; try again in a minute")
            rate_limit.count(address)
        name = study.participants.enter(study.config.platform, ids)
        token = _new_token(queue, study.config, name)
        opened = by_token(site, token, action="POST /crowd")
        assert opened is not None  # the token is a new one
        response = JSONResponse({"to": home_of([opened])})
        set_cookies(response, [opened], access.SESSION_SECONDS)
        return response

    @app.get("/api/completion")
    def completion(request: Request) -> dict[str, object]:
        """The completion code, once the participant has finished."""
        study = _required(config.crowd)
        name = str(request.scope["session"].annotator)
        if not study.participants.is_participant(name) or not _has_finished(queue, name):
            return {"complete": False}
        code, link = study.config.completion_code, study.config.completion_link
        return {"complete": True, "code": code, "link": link}


def _required(study: CrowdStudy | None) -> CrowdStudy:
    if study is None:
        raise HTTPException(404, "this server has no study on a crowd platform")
    return study


def _new_token(queue: Queue, crowd: CrowdConfig, name: str) -> str:
    """A token of the participant, which ends their earlier sessions.

    Raises:
        HTTPException: the researcher has revoked the participant's access.
    """
    with queue.store.write() as connection:
        query = sa.select(people.c.invite_sha256).where(people.c.name == name)
        known = connection.execute(query).first()
        if known is not None and known.invite_sha256 is None:
            raise HTTPException(403, "the researcher has ended your part in the study")
        token = access.set_link(connection, name)
        if known is None:
            update_person(connection, name, cap=crowd.labels_per_person)
    return token


def _has_finished(queue: Queue, name: str) -> bool:
    """Whether the participant has given all their labels, or no item is left for them."""
    match queue.obstacle(name):
        case "cap":
            return True
        case "failed" | "role":
            return False
    progress = queue.progress(name)
    return progress.left == 0 and progress.done > 0
