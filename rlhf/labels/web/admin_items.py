"""Pages of items and events: search, filters, all labels of an item, decisions about them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

import jinja2
import sqlalchemy as sa
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import HTMLResponse

from rlhf.errors import DataError
from rlhf.labels import queries
from rlhf.labels.events import LoggedEvent
from rlhf.labels.queue import Queue
from rlhf.labels.records import Item, StoredLabel
from rlhf.labels.review import decisions
from rlhf.labels.review.browse import HAS, STATES, ItemFilter, ItemPage, browse, flags_of, state_of
from rlhf.labels.review.event_rows import event_rows
from rlhf.labels.review.history import Histories, ItemHistory
from rlhf.labels.schema import LATE, SKIP, SUBMIT, UNDO, items
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig
from rlhf.labels.web.request_schemas import DecisionRequest
from rlhf.web.markdown import render

MAX_EVENTS = 200  # on the page of events; the export has all
KINDS = (SUBMIT, SKIP, UNDO, LATE, "exclude", "reopen", "contest")
Word = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
Share = Annotated[float, Query(ge=0, le=1)]
ItemId = Annotated[int, Path(ge=1, le=2**31 - 1)]


def add_item_pages(
    app: FastAPI,
    queue: Queue,
    config: WebConfig,
    pages: jinja2.Environment,
    histories: Histories,
) -> None:
    """Add the routes of items, decisions and events."""
    store, overlap = queue.store, queue.config.overlap

    @app.get("/admin/items", response_class=HTMLResponse)
    def list_items(
        request: Request,
        text: Word = "",
        annotator: Word = "",
        model: Word = "",
        category: Word = "",
        has: Word = "",
        flag: Word = "",
        state: Word = "",
        disagreement: Share = 0.0,
        sort: Word = "newest",
        page: PageNumber = 1,
    ) -> str:
        known = histories.get()
        wanted = ItemFilter(
            text=text.strip(),
            annotator=annotator,
            model=model,
            category=category,
            has=has if has in HAS else "",
            flag=flag,
            state=state if state in STATES else "",
            min_disagreement=disagreement,
            sort=sort,
            page=page,
        )
        shown = browse(store, known, wanted, overlap)
        return pages.get_template("items.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            wanted=wanted,
            shown=shown,
            links_of=page_links(wanted, shown, config.base),
            options=filter_options(store, known.values()),
            has_options=HAS,
            states=STATES,
        )

    @app.get("/admin/items/{item_id}", response_class=HTMLResponse)
    def one_item(request: Request, item_id: ItemId) -> str:
        request.scope["audit"]["item_id"] = item_id
        history = histories.get().get(item_id, ItemHistory())
        row = read_row(store, item_id)
        item, state = queries.item_of(row), state_of(row, history, overlap)
        return pages.get_template("item.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            item=item,
            state=state,
            turns=turns_of(item),
            responses=[render(text) for text in item.responses],
            labels=[label_view(label) for label in history.standing],
            rows=event_rows(history.events, {item.id: item}),
            disagreement=history.disagreement,
            flags=flags_of(history),
        )

    @app.post("/admin/decide")
    def decide(request: Request, body: DecisionRequest) -> Mapping[str, bool]:
        apply_decision(store, body, request.scope["session"].name)
        return {"done": True}

    @app.get("/admin/events", response_class=HTMLResponse)
    def list_events(request: Request, kind: Word = "", annotator: Word = "") -> str:
        log = [event for history in histories.get().values() for event in history.events]
        log = [
            event
            for event in sorted(log, key=lambda event: -event.id)
            if kind in ("", event.kind) and annotator in ("", event.annotator)
        ]
        shown = log[:MAX_EVENTS]
        ids = {event.item_id for event in shown}
        known = {item_id: queries.item_of(read_row(store, item_id)) for item_id in ids}
        return pages.get_template("events.html").render(
            csrf=request.scope["session"].csrf,
            role=request.scope["session"].role,
            rows=event_rows(shown, known),
            total=len(log),
            reasons=skip_reasons(log),
            kinds=KINDS,
            kind=kind,
            annotator=annotator,
            names=sorted({event.annotator for event in log}),
        )


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
        decisions.correct(store, body.id, body.ranks, body.reason, by=by)


def read_row(store: LabelStore, item_id: int) -> sa.RowMapping:
    """The item's row of the table `items`.

    Raises:
        DataError: no such item.
    """
    with store.read() as connection:
        row = connection.execute(items.select().where(items.c.id == item_id)).mappings().first()
    if row is None:
        raise DataError(f"item {item_id} is not in the store.", code="unknown-name")
    return row


def turns_of(item: Item) -> list[dict[str, str]]:
    """The conversation as roles and sanitized HTML."""
    turns = item.prompt if isinstance(item.prompt, list) else None
    if turns is None:
        return [{"role": "user", "html": render(str(item.prompt))}]
    return [{"role": turn["role"], "html": render(turn["content"])} for turn in turns]


def label_view(label: StoredLabel) -> dict[str, object]:
    """A label as the page shows it: one column for each response, in the stored order."""
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
    }


def filter_options(store: LabelStore, known: Collection[ItemHistory]) -> dict[str, list[str]]:
    """The values that the filters offer."""
    names = {label.annotator for history in known for label in history.standing}
    names |= {skip.annotator for history in known for skip in history.skips.values()}
    flags = {flag for history in known for flag in flags_of(history)}
    models, categories = _models_and_categories(store)
    return {
        "annotator": sorted(names),
        "flag": sorted(flags),
        "model": sorted(models),
        "category": sorted(categories),
    }


def _models_and_categories(store: LabelStore) -> tuple[set[str], set[str]]:
    """Names of models, and values of the column `category`; no response is read."""
    models: set[str] = set()
    categories: set[str] = set()
    query = items.select().with_only_columns(items.c.models, items.c.columns)
    with store.read() as connection:
        for row in connection.execute(query):
            models |= set(row.models)
            if isinstance(row.columns.get("category"), str):
                categories.add(row.columns["category"])
    return models, categories


def page_links(wanted: ItemFilter, shown: ItemPage, base: str) -> dict[str, str]:
    """Links to the page before and the next page, with the same filter; "" at an end.

    base: what the paths of the app's pages begin with.
    """
    query = {
        "text": wanted.text,
        "annotator": wanted.annotator,
        "model": wanted.model,
        "category": wanted.category,
        "has": wanted.has,
        "flag": wanted.flag,
        "state": wanted.state,
        "sort": wanted.sort,
    }
    if wanted.min_disagreement:
        query["disagreement"] = str(wanted.min_disagreement)
    query = {name: value for name, value in query.items() if value}

    def link(page: int) -> str:
        if not 1 <= page <= shown.pages:
            return ""
        return f"{base}/admin/items?{urlencode({**query, 'page': str(page)})}"

    return {"before": link(shown.page - 1), "after": link(shown.page + 1)}


def skip_reasons(log: Sequence[LoggedEvent]) -> list[tuple[str, int]]:
    """(reason, number of skips that were not undone), most frequent first."""
    undone = {event.undoes for event in log}
    counts: dict[str, int] = {}
    for event in log:
        if event.kind == SKIP and event.id not in undone:
            reason = str(event.payload.get("reason", ""))
            counts[reason] = counts.get(reason, 0) + 1
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
