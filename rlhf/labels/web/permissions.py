"""Which role may do what: one table of the routes of the pages and of the REST API.

A route that is not in the table is closed to everybody.
"""

from collections.abc import Collection, Mapping

from rlhf.labels.roles import ADJUDICATOR, ADMIN, ANNOTATOR, RESEARCHER

PUBLIC = "public"  # a route of this role needs no login
READ, WRITE = "read", "write"  # roles of programs, which send a token

EVERYBODY = (ANNOTATOR, ADJUDICATOR, RESEARCHER, ADMIN)
LABELLERS = (ANNOTATOR, ADJUDICATOR)
RESEARCHERS = (RESEARCHER, ADMIN)
PROGRAMS = (READ, WRITE)

# Method and path -> roles. A path that ends with /* is that of every page one level below it.
ROLES_OF_ROUTE: Mapping[str, Collection[str]] = {
    "GET /health": (PUBLIC,),
    "GET /login": (PUBLIC,),
    "POST /login": (PUBLIC,),
    "GET /oidc/login": (PUBLIC,),
    "GET /oidc/callback": (PUBLIC,),
    "GET /crowd": (PUBLIC,),
    "POST /crowd": (PUBLIC,),
    "GET /": EVERYBODY,
    "POST /logout": EVERYBODY,
    "GET /pictures/*": EVERYBODY,
    "GET /api/form": LABELLERS,
    "GET /api/guideline": LABELLERS,
    "GET /api/questions": LABELLERS,
    "POST /api/questions": LABELLERS,
    "POST /api/next": (ANNOTATOR,),
    "POST /api/heartbeat": (ANNOTATOR,),
    "POST /api/draft": (ANNOTATOR,),
    "POST /api/submit": (ANNOTATOR,),
    "POST /api/skip": (ANNOTATOR,),
    "POST /api/undo": (ANNOTATOR,),
    "GET /api/completion": (ANNOTATOR,),
    "GET /api/work": (ANNOTATOR,),
    "GET /api/ask": (ANNOTATOR,),
    "POST /api/ask": (ANNOTATOR,),
    "GET /adjudicate": (ADJUDICATOR,),
    "GET /api/adjudicate": (ADJUDICATOR,),
    "POST /api/adjudicate": (ADJUDICATOR,),
    "GET /admin": RESEARCHERS,
    "GET /admin/items": RESEARCHERS,
    "GET /admin/items/*": RESEARCHERS,
    "GET /admin/events": RESEARCHERS,
    "GET /admin/people": RESEARCHERS,
    "GET /admin/guideline": RESEARCHERS,
    "GET /admin/models": RESEARCHERS,
    "GET /admin/export/*": RESEARCHERS,
    "POST /admin/decide": RESEARCHERS,
    "POST /admin/people": RESEARCHERS,
    "POST /admin/guideline": RESEARCHERS,
    "POST /admin/answer": RESEARCHERS,
    "POST /admin/finish": RESEARCHERS,
    # A link logs in as its person: who makes links or sets roles can become anybody.
    "POST /admin/invite": (ADMIN,),
    "POST /admin/access": (ADMIN,),
    "GET /admin/audit": (ADMIN,),
    "GET /admin/audit/export": (ADMIN,),
    "GET /rest/v1/openapi.json": (PUBLIC,),
    "GET /rest/v1/items": PROGRAMS,
    "GET /rest/v1/labels": PROGRAMS,
    "GET /rest/v1/events": PROGRAMS,
    "GET /rest/v1/progress": PROGRAMS,
    "POST /rest/v1/items": (WRITE,),
    "POST /rest/v1/labels": (WRITE,),
}


def roles_of(method: str, path: str) -> Collection[str]:
    """The roles that may use a route; none for a route that is not in the table."""
    exact = ROLES_OF_ROUTE.get(f"{method} {path}")
    if exact is not None:
        return exact
    parent, _, _ = path.rpartition("/")
    return ROLES_OF_ROUTE.get(f"{method} {parent}/*", ())
