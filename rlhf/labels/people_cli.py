"""`rlhf label invite | people | token`: access to a store."""

import argparse
from contextlib import ExitStack

from rich import box
from rich.console import Console
from rich.table import Table

from rlhf.errors import ConfigError
from rlhf.labels import access
from rlhf.labels.api_tokens import new_api_token, revoke_api_token
from rlhf.labels.audit import record_command
from rlhf.labels.people import MAX_CAP, Person, everyone, revoke, update_person
from rlhf.labels.project_list import load_projects
from rlhf.labels.records import normalized_name
from rlhf.labels.store import LabelStore
from rlhf.runtime.printing import plain_console


def invite(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label invite`: print a link for each name, which opens one store or all projects."""
    if bool(args.store) == bool(args.projects):
        raise ConfigError("invite needs --store FILE or --projects FILE.", code="missing-key")
    entries = load_projects(args.projects) if args.projects else ()
    locations = [entry.store for entry in entries] or [args.store]
    cap, no_cap = _limit(args.cap)
    tokens = {name: access.new_token() for name in args.names}
    with ExitStack() as stack:
        # All or nothing: a rejected name or an unusable store leaves all links as they were, since
        # every transaction is committed after the last change.
        stores = [stack.enter_context(LabelStore(place, create=False)) for place in locations]
        connections = [stack.enter_context(store.write()) for store in stores]
        for connection in connections:
            for name, token in tokens.items():
                access.set_link(connection, name, token)
                update_person(
                    connection,
                    normalized_name(name),
                    role=args.role,
                    cap=cap,
                    no_cap=no_cap,
                    tags=args.tags,
                )
                record_command(connection, "invite", {"name": name, **_settings(args)})
    for name, token in tokens.items():
        console.print(f"{name}: {args.address}/login#{token}", soft_wrap=True)


def people(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label people`: change the named people, then list them; without names list all."""
    names = [normalized_name(name) for name in args.names]
    if not names and _settings(args):
        raise ConfigError("name the people to change; none are named.", code="missing-key")
    cap, no_cap = _limit(args.cap)
    with LabelStore(args.store, create=False) as store:
        known = access.names(store)
        with store.write() as connection:
            for name in names:
                if args.add and name not in known:
                    # The link is not printed: they log in elsewhere.
                    access.set_link(connection, name)
                update_person(
                    connection, name, role=args.role, cap=cap, no_cap=no_cap, tags=args.tags
                )
                if args.revoke:
                    revoke(connection, name)
                if settings := _settings(args):
                    record_command(connection, "people", {"name": name, **settings})
        with store.read() as connection:
            listed = [one for one in everyone(connection) if not names or one.name in names]
    plain_console().print(_table(listed))


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """The settings that the command changes."""
    names = ("role", "tags", "cap", "add", "revoke")
    return {name: value for name in names if (value := getattr(args, name, None))}


def _limit(text: str | None) -> tuple[int | None, bool]:
    """(number of labels, whether to remove the limit) of `--cap`."""
    if text is None or text == "none":
        return None, text is not None
    # Ten digits are above the maximum; int() raises for thousands of them.
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if not is_number or int(text) > MAX_CAP:
        raise ConfigError(
            f"cap={text} is neither a number of labels up to {MAX_CAP} nor none.", code="bad-value"
        )
    return int(text), False


def _table(listed: list[Person]) -> Table:
    table = Table("name", "role", "access", "tags", "cap", "state", box=box.SIMPLE)
    for one in listed:
        has_access = "yes" if one.has_access else "revoked"
        cap = "" if one.cap is None else str(one.cap)
        state = "paused" if one.paused else ""
        table.add_row(one.name, one.role, has_access, ", ".join(one.tags), cap, state)
    return table


def token(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label token`: make or end the token of a program."""
    with LabelStore(args.store, create=False) as store:
        if args.revoke:
            revoke_api_token(store, args.name)
            details = {"name": args.name, "revoke": True}
            console.print(f"the token of {args.name} is revoked")
        else:
            details = {"name": args.name, "role": args.role}
            console.print(f"{args.name}: {new_api_token(store, args.name, args.role)}")
        with store.write() as connection:
            record_command(connection, "token", details)
