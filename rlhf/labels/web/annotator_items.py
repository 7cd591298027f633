"""Routes of the label page: the next item, drafts, labels, skips, undo, prompts to models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fastapi import FastAPI, HTTPException, Request

from rlhf.labels.claiming import StaleClaimError
from rlhf.labels.form_config import FormConfig
from rlhf.labels.queue import Queue
from rlhf.labels.records import Claim, Judgment
from rlhf.labels.replies import feedback_of, second_look_of
from rlhf.labels.review.own_work import own_work
from rlhf.labels.store import LabelStore
from rlhf.labels.web.form import LabelForm, judgment_of
from rlhf.labels.web.item_view import feedback_view, page_state
from rlhf.labels.web.live_sampling import LiveSampling, PromptPending, PromptQueueFull
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.request_schemas import (
    DraftRequest,
    HeartbeatRequest,
    PromptRequest,
    SkipRequest,
    SubmitRequest,
    UndoRequest,
)


@dataclass(frozen=True, kw_only=True)
class ItemRoutes:
    """What the routes of an annotator's items share.

    queue: where the items come from.
    config: the form.
    form_version: its version in the store.
    pictures: those that prompts may show.
    """

    queue: Queue
    config: FormConfig
    form_version: int
    pictures: Pictures

    def state(self, name: str, claim: Claim | None) -> dict[str, object]:
        """What the page shows of the claimed item."""
        return {**page_state(self.queue, name, claim, self.pictures), "form": self.form_version}

    def judgment(self, name: str, body: SubmitRequest) -> Judgment:
        """The submitted form as a judgment.

        Raises:
            StaleClaimError: the item is another annotator's by now, or the form has changed.
            DataError: what was entered does not fit the form.
        """
        order_shown = self.queue.order_shown(name, body.claim)
        if body.form_version not in (None, self.form_version):
            raise StaleClaimError(
                "the form has changed; what you entered is kept: answer what is new and submit it "
                "again."
            )
        marks = self.config.marks_passages
        return judgment_of(
            body.form,
            order_shown,
            self.config,
            seconds=body.seconds,
            guideline_version=body.guideline_version,
            form_version=self.form_version,
            responses=self.queue.responses(name, body.claim) if marks else (),
        )

    def replies(self, name: str, claim: int) -> dict[str, object]:
        """What the page tells the annotator about a submitted label, if anything."""
        found: dict[str, object] = {}
        if (feedback := feedback_of(self.queue, name, claim)) is not None:
            found["feedback"] = feedback_view(feedback)
        if (look := second_look_of(self.queue, name, claim)) is not None:
            found["second_look"] = asdict(look)
        return found


def add_items(app: FastAPI, routes: ItemRoutes) -> None:
    """Add the routes of an annotator's items."""
    _add_claims(app, routes)
    _add_submit(app, routes)
    _add_skip_and_undo(app, routes)


def _add_claims(app: FastAPI, routes: ItemRoutes) -> None:
    queue = routes.queue

    @app.post("/api/next")
    def next_item(request: Request) -> Mapping[str, object]:
        name = _annotator(request)
        return routes.state(name, queue.next(name))

    @app.post("/api/heartbeat")
    def heartbeat(request: Request, body: HeartbeatRequest) -> Mapping[str, bool]:
        holds = queue.heartbeat(_annotator(request), body.claim, seconds=body.seconds)
        return {"holds": holds}

    @app.post("/api/draft")
    def draft(request: Request, body: DraftRequest) -> Mapping[str, bool]:
        form, name = _form_fields(body.form), _annotator(request)
        saved = queue.save_draft(name, body.claim, form, seconds=body.seconds)
        return {"saved": saved}


def _add_submit(app: FastAPI, routes: ItemRoutes) -> None:
    @app.post("/api/submit")
    def submit(request: Request, body: SubmitRequest) -> Mapping[str, object]:
        name = _annotator(request)
        judgment = routes.judgment(name, body)
        kind, following = routes.queue.submit(name, body.claim, judgment, request_key=body.key)
        return {"kind": kind, **routes.state(name, following), **routes.replies(name, body.claim)}


def _add_skip_and_undo(app: FastAPI, routes: ItemRoutes) -> None:
    queue = routes.queue

    @app.post("/api/skip")
    def skip(request: Request, body: SkipRequest) -> Mapping[str, object]:
        name = _annotator(request)
        reason: dict[str, object]
        reason = {"reason": body.reason, "comment": body.comment, "seconds": body.seconds}
        if form := _form_fields(body.form):
            reason["form"] = form
        following = queue.skip(name, body.claim, reason, request_key=body.key)
        return {"kind": "skip", **routes.state(name, following)}

    @app.post("/api/undo")
    def undo(request: Request, body: UndoRequest) -> Mapping[str, object]:
        name = _annotator(request)
        claim = queue.undo(name, request_key=body.key)
        kind = "nothing" if claim is None else "undo"
        return {"kind": kind, **routes.state(name, claim or queue.next(name))}


def add_work(app: FastAPI, store: LabelStore) -> None:
    """Add the route of what the annotator has done."""

    @app.get("/api/work")
    def work(request: Request) -> Mapping[str, object]:
        own = own_work(store, _annotator(request))
        return {
            "days": [{"day": day, **asdict(of)} for day, of in own.by_day.items()],
            "newest": [asdict(one) for one in own.newest],
        }


def add_live(app: FastAPI, queue: Queue, live: LiveSampling) -> None:
    """Add the routes of prompts that annotators send to models."""

    @app.post("/api/ask")
    def submit_prompt(request: Request, body: PromptRequest) -> Mapping[str, str]:
        try:
            live.submit(_annotator(request), body.prompt)
        except PromptPending as error:
            raise HTTPException(409, str(error)) from error
        except PromptQueueFull as error:
            raise HTTPException(503, str(error)) from error
        return {"state": "waiting"}

    @app.get("/api/ask")
    def prompt_state(request: Request) -> Mapping[str, object]:
        name = _annotator(request)
        state = live.take(name)
        if state.item_id is not None:
            queue.claim_item(name, state.item_id)
        return {"state": state.state, "error": state.error}


def _form_fields(form: LabelForm | None) -> dict[str, object]:
    """The fields that were filled in."""
    return {} if form is None else form.model_dump(exclude_defaults=True)


def _annotator(request: Request) -> str:
    name = request.scope["session"].annotator
    assert isinstance(name, str)  # the guard lets only annotators into these routes
    return name
