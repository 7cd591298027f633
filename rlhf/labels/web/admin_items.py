"""The page of all items: search and filters."""

from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlencode

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from rlhf.labels.queue import Queue
from rlhf.labels.review.browse import HAS, STATES, ItemFilter, ItemPage, browse, flags_of
from rlhf.labels.review.history import Histories, ItemHistory
from rlhf.labels.schema import items
from rlhf.labels.store import LabelStore
from rlhf.labels.web.config import WebConfig

Word = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
Share = Annotated[float, Query(ge=0, le=1)]


def add_item_list(
    app: FastAPI,
    queue: Queue,
    config: WebConfig,
    pages: jinja2.Environment,
    histories: Histories,
) -> None:
    """Add the route of the list."""
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
