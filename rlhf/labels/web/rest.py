"""The REST API of the label server for programs: items, labels, events, progress."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, TypeVar

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rlhf import __version__
from rlhf.data.rows.messages import check_fields
from rlhf.data.rows.parse import parse_prompt
from rlhf.errors import DataError
from rlhf.labels import access, log_queries, validation
from rlhf.labels.api_tokens import api_access
from rlhf.labels.import_rows import is_own_column
from rlhf.labels.program_labels import add_label_of_program
from rlhf.labels.queue import Queue
from rlhf.labels.records import Candidate, Label
from rlhf.labels.schema import items
from rlhf.labels.store import LabelStore
from rlhf.labels.web import rest_schemas as schemas
from rlhf.labels.web.admin import places_left
from rlhf.labels.web.app import printable
from rlhf.labels.web.audit_middleware import AuditMiddleware
from rlhf.labels.web.permissions import PUBLIC, roles_of
from rlhf.web.guard import Rejected, RequestGuard, RequestHeaders

ROOT = "/rest/v1"
SCHEMA = f"{ROOT}/openapi.json"
Found = TypeVar("Found")
DESCRIPTION = (
    "Entries are listed by id: ask again with `after` set to `next`. Events are never changed, so "
    "a program that keeps the last id misses none. Send the token as `Authorization: Bearer TOKEN`."
)


def with_rest(page: ASGIApp, queue: Queue, hosts: Collection[str]) -> ASGIApp:
    """The label page, and the REST API below /rest/."""
    rest = guard_rest(create_rest(queue), queue.store, hosts)

    async def switch(scope: Scope, receive: Receive, send: Send) -> None:
        is_rest = scope["type"] == "http" and scope["path"].startswith("/rest/")
        await (rest if is_rest else page)(scope, receive, send)

    return switch


def guard_rest(app: ASGIApp, store: LabelStore, hosts: Collection[str]) -> ASGIApp:
    """The app behind the checks of host, size and token; its description needs no token."""

    async def authorize(scope: Scope, headers: RequestHeaders) -> None:
        roles = roles_of(scope["method"], scope["path"])
        if PUBLIC in roles:
            return
        scheme, _, token = headers.get("authorization", b"").decode("latin-1").partition(" ")
        known = await run_in_threadpool(api_access, store, token.strip())
        scope["session"] = known
        if scheme.lower() != "bearer" or known is None:
            raise Rejected(401, "missing or wrong token; send it as `Authorization: Bearer TOKEN`")
        if not roles:
            raise Rejected(404, "there is no such route")
        if known.role not in roles:
            raise Rejected(403, f"the token of {known.name} may only {known.role}")

    return RequestGuard(
        app, hosts, authorize=authorize, error_response=_error, origin_required=False
    )


def create_rest(queue: Queue) -> FastAPI:
    """The app without its checks."""
    app = FastAPI(
        title="rlhf label",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=SCHEMA,
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": schemas.Problem} for status in (401, 403, 422)},
        dependencies=[Depends(HTTPBearer(auto_error=False))],  # describes the token
    )
    app.add_exception_handler(DataError, _unusable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(AuditMiddleware, store=queue.store)
    _add_items(app, queue.store)
    _add_labels(app, queue)
    _add_log(app, queue)
    return app


def _add_items(app: FastAPI, store: LabelStore) -> None:
    @app.get(f"{ROOT}/items", operation_id="list_items")
    def list_items(paging: Annotated[schemas.Paging, Query()]) -> schemas.ItemPage:
        found, following = _page(store, log_queries.items_after, paging, lambda item: item.id)
        entries = [schemas.ItemEntry.model_validate(item) for item in found]
        return schemas.ItemPage(items=entries, next=following)

    @app.post(f"{ROOT}/items", operation_id="add_items")
    def add_items(body: schemas.NewItems) -> schemas.ItemIds:
        return schemas.ItemIds(ids=store.add_candidates([_candidate(one) for one in body.items]))


def _add_labels(app: FastAPI, queue: Queue) -> None:
    store = queue.store

    @app.get(f"{ROOT}/labels", operation_id="list_labels")
    def list_labels(paging: Annotated[schemas.Paging, Query()]) -> schemas.LabelPage:
        found, following = _page(store, log_queries.labels_after, paging, lambda one: one.event_id)
        entries = [schemas.LabelEntry.model_validate(label) for label in found]
        return schemas.LabelPage(labels=entries, next=following)

    @app.post(
        f"{ROOT}/labels", operation_id="add_label", responses={409: {"model": schemas.Problem}}
    )
    def add_label(request: Request, body: schemas.NewLabel) -> schemas.LabelId:
        request.scope["audit"]["item_id"] = body.item_id
        access.check_name(body.annotator)
        strength = validation.check_annotation(body.annotator, body.strength)
        label = Label(
            item_id=body.item_id, annotator=body.annotator, ranks=body.ranks, strength=strength
        )
        event_id = add_label_of_program(store, queue.leases, label, f"rest:{body.key}")
        return schemas.LabelId(event_id=event_id)


def _add_log(app: FastAPI, queue: Queue) -> None:
    store = queue.store

    @app.get(f"{ROOT}/events", operation_id="list_events")
    def list_events(paging: Annotated[schemas.Paging, Query()]) -> schemas.EventPage:
        found, following = _page(store, log_queries.events_after, paging, _event_id)
        entries = [schemas.EventEntry.model_validate(event) for event in found]
        return schemas.EventPage(events=entries, next=following)

    @app.get(f"{ROOT}/progress", operation_id="progress")
    def progress() -> schemas.ProgressEntry:
        with store.read() as connection:
            counts = log_queries.counts_by_annotator(connection)
            labelled = log_queries.count_labelled_items(connection)
            count = int(connection.scalar(sa.select(sa.func.count()).select_from(items)) or 0)
            left = places_left(connection, queue.config.overlap)
        annotators = [schemas.AnnotatorEntry.model_validate(one) for one in counts]
        return schemas.ProgressEntry(
            items=count,
            labelled_items=labelled,
            labels=sum(one.labels for one in annotators),
            places_left=left,
            annotators=annotators,
        )


def _event_id(event: Mapping[str, object]) -> int:
    number = event["id"]
    assert isinstance(number, int)
    return number


def _candidate(item: schemas.NewItem) -> Candidate:
    """The item, checked as `LabelStore.add` checks one, and its columns as an import does.

    Raises:
        DataError: a prompt, responses, models or columns that cannot be used.
    """
    if reserved := sorted(filter(is_own_column, item.columns)):
        raise DataError(
            f"columns: exported labels have a column {reserved[0]} of their own, which would "
            "replace this one; rename it.",
            code="bad-row",
        )
    if not isinstance(item.prompt, str):
        check_fields(item.prompt, "prompt")
    prompt = parse_prompt({"prompt": item.prompt}).prompt
    candidate = Candidate(
        prompt=prompt, responses=item.responses, models=item.models, columns=item.columns
    )
    validation.check_arguments(candidate)
    return candidate


def _page(
    store: LabelStore,
    read: Callable[[sa.Connection, int, int], list[Found]],
    paging: schemas.Paging,
    id_of: Callable[[Found], int],
) -> tuple[list[Found], int | None]:
    """Entries after an id, and the id that the following page begins after; None on the last."""
    with store.read() as connection:
        found = read(connection, paging.after, paging.limit)
    return found, id_of(found[-1]) if len(found) == paging.limit else None


def _unusable(request: Request, error: Exception) -> Response:
    """409 for what the state of an item forbids, otherwise 422."""
    assert isinstance(error, DataError)
    status = 409 if error.code == "not-allowed" else 422
    return JSONResponse({"detail": printable(str(error))}, status)


def _invalid(request: Request, error: Exception) -> Response:
    """The problems without the sent values, of which JSON cannot repeat all."""
    assert isinstance(error, RequestValidationError)
    places = (".".join(map(str, one["loc"])) for one in error.errors())
    problems = [f"{place}: {one['msg']}" for place, one in zip(places, error.errors(), strict=True)]
    # FastAPI reads a body of another content type, or of none, as bytes.
    if any(isinstance(one["input"], bytes) for one in error.errors()):
        problems = ["the body is not read as JSON; send it with `Content-Type: application/json`"]
    return JSONResponse({"detail": printable("; ".join(problems)[:1000])}, 422)


def _error(scope: Scope, rejected: Rejected) -> Response:
    headers = {"www-authenticate": "Bearer"} if rejected.status == 401 else None
    return JSONResponse({"detail": str(rejected)}, rejected.status, headers)
