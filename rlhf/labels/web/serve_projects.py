"""`rlhf label serve --projects`: several stores on one server, in one process."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rlhf.errors import ConfigError, DataError
from rlhf.labels.form_config import FormConfig, load_form
from rlhf.labels.project_list import ProjectEntry
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import LabelServerConfig, WebConfig
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.projects import Project, create_projects_app
from rlhf.labels.web.rest import with_rest
from rlhf.labels.web.serve import page_address, print_links, print_missing, web_config
from rlhf.runtime.printing import plain_console
from rlhf.web.server import STOP_NOTE, http_server, listening_socket


def serve_projects(config: LabelServerConfig, queue_config: QueueConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: an option of a single store, another server holds a store, the port is in use,
            or a form or the identity provider is unusable.
        DataError: no such store, or a guideline that cannot be read.
    """
    check_options(config)
    forms = [load_form(one.form) if one.form else FormConfig() for one in config.projects]
    console = plain_console(soft_wrap=True)
    with ExitStack() as stack:
        stores = [
            stack.enter_context(LabelStore(one.store, create=False)) for one in config.projects
        ]
        for store in stores:
            stack.enter_context(store.serving_lock())
        listener = stack.enter_context(listening_socket(config.host, config.port))
        address = page_address(config, listener.getsockname()[1])
        start = web_config(config, address)
        projects = []
        for entry, store, form in zip(config.projects, stores, forms, strict=True):
            project = open_project(entry, store, form, start, queue_config)
            single = replace(config, store=entry.store, projects=())
            print_links(store, single, address + project.config.base, console)
            if entry.pictures is not None:
                print_missing(store, Pictures(entry.pictures), console)
            projects.append(project)
        console.print(f"all projects: {address}", markup=False)
        console.print(STOP_NOTE)
        http_server(create_projects_app(projects, start)).run(sockets=[listener])


def open_project(
    entry: ProjectEntry,
    store: LabelStore,
    form: FormConfig,
    start: WebConfig,
    queue_config: QueueConfig,
) -> Project:
    """The project with its app; its guideline becomes the newest one if its text is new.

    Args:
        entry: of the file.
        store: open.
        form: of its label page.
        start: settings of the start page, which hold for the project too.
        queue_config: of its queue.

    Raises:
        DataError: a guideline that cannot be read.
    """
    if entry.guideline is not None:
        store.add_guideline(_read(entry.guideline))
    config = replace(start, project=entry.name, form=form, pictures=entry.pictures)
    queue = Queue(store, queue_config)
    app = with_rest(create_app(queue, config), queue, config.hosts)
    return Project(title=entry.title, queue=queue, config=config, app=app)


def check_options(config: LabelServerConfig) -> None:
    """Raise ConfigError for an option that belongs to one store."""
    given: dict[str, object] = {
        "--store": config.store,
        "--annotators": config.annotators,
        "--form": config.form,
        "--pictures": config.pictures,
        "--until": config.until,
        "--webhook": config.webhook,
        "--model": config.models,
        "--server": config.server,
        "--crowd": config.crowd,
        "--oidc_role_claim": config.oidc is not None and config.oidc.role_claim,
    }
    used: Sequence[str] = [name for name, value in given.items() if value]
    if used:
        raise ConfigError(
            f"{used[0]} belongs to one store and cannot be used with --projects; leave it out, or "
            "serve the store alone.",
            code="key-conflict",
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"guideline {path} cannot be read: {error}", code="unreadable-file"
        ) from error
