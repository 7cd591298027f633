"""The page of an item: all its labels next to each other, its history, decisions about them."""

from collections.abc import Mapping
from typing import Annotated

import jinja2
from fastapi import FastAPI, Path, Request
from fastapi.responses import HTMLResponse

from rlhf.labels import queries
from rlhf.labels.form_config import FormConfig
from rlhf.labels.form_versions import forms_of
from rlhf.labels.queue import Queue
from rlhf.labels.records import StoredLabel
from rlhf.labels.review import decisions
from rlhf.labels.review.browse import flags_of, read_row, state_of
from rlhf.labels.review.correction import CorrectedFields
from rlhf.labels.review.event_rows import event_rows
from rlhf.labels.review.history import Histories, ItemHistory
from rlhf.labels.store import LabelStore
from rlhf.labels.web.answer_view import answer_rows, correction_form
from rlhf.labels.web.item_view import turns_of
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.request_schemas import DecisionRequest
from rlhf.web.markdown import render

ItemId = Annotated[int, Path(ge=1, le=2**31 - 1)]


def add_item_page(
    app: FastAPI,
    queue: Queue,
    pages: jinja2.Environment,
    histories: Histories,
    pictures: Pictures,
) -> None:
    """Add the routes of an item and of decisions."""
    store, overlap = queue.store, queue.config.overlap

    @app.get("/admin/items/{item_id}", response_class=HTMLResponse)
    def one_item(request: Request, item_id: ItemId) -> str:
        request.scope["audit"]["item_id"] = item_id
        history = histories.get().get(item_id, ItemHistory())
        row = read_row(store, item_id)
        item, state = queries.item_of(row), state_of(row, history, overlap)
        with store.read() as connection:
            forms = forms_of(connection)
        return pages.get_template("item.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            item=item,
            state=state,
            turns=turns_of(item, pictures),
            responses=[render(text) for text in item.responses],
            labels=[label_view(label, forms) for label in history.standing],
            rows=event_rows(history.events, {item.id: item}),
            disagreement=history.disagreement,
            flags=flags_of(history),
        )

    @app.post("/admin/decide")
    def decide(request: Request, body: DecisionRequest) -> Mapping[str, bool]:
        apply_decision(store, body, request.scope["session"].name)
        return {"done": True}


def apply_decision(store: LabelStore, body: DecisionRequest, by: str) -> None:
    """Do what the researcher `by` decided.

    Raises:
        DataError: it does not fit the item or label, or has no reason.
    """
    if body.action == "exclude":
        decisions.exclude(store, body.id, body.reason, by=by)
    elif body.action == "reopen":
        decisions.reopen(store, body.id, body.reason, by=by)
    elif body.action == "contest":
        decisions.contest(store, body.id, body.reason, by=by)
    elif body.action == "take_back":
        decisions.take_back(store, body.id, body.reason, by=by)
    else:
        fields = CorrectedFields(answers=body.answers, overall=body.overall, flags=body.flags)
        decisions.correct(store, body.id, body.ranks, body.reason, fields, by=by)


def label_view(label: StoredLabel, forms: Mapping[int, FormConfig]) -> dict[str, object]:
    """A label as the page shows it: one column for each response, in the stored order.

    forms: version -> form, of all versions in the store.
    """
    flags, overall = label.extra.get("flags"), label.extra.get("overall")
    count = len(label.ranks)
    return {
        "label": label,
        "flags": flags if isinstance(flags, list) else [[]] * count,
        "overall": overall if isinstance(overall, list) else [None] * count,
        "comment": label.extra.get("comment", ""),
        "rewrite": label.extra.get("rewrite", ""),
        "corrected": label.extra.get("corrected"),
        "both_bad": label.extra.get("both_bad", False),
        "answers": answer_rows(label, forms),
        "correction": correction_form(label, forms),
    }
