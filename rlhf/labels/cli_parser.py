"""The argument parser of `rlhf label`."""

import argparse
from collections.abc import Callable

from rlhf.labels.roles import ROLES
from rlhf.runtime.command_parser import CommandParser, DefaultsFormatter

AddArgument = Callable[..., argparse.Action]
AddCommand = Callable[..., AddArgument]


def parser() -> argparse.ArgumentParser:
    """The parser with its commands."""
    root = CommandParser(
        prog="rlhf label",
        description="Collect, import and export preference labels.",
        allow_abbrev=False,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, sentence: str, *, several: bool = False) -> AddArgument:
        subparser = commands.add_parser(
            name,
            help=sentence,
            description=sentence,
            allow_abbrev=False,
            formatter_class=DefaultsFormatter,
        )
        subparser.add_argument("--store", required=not several, help="SQLite file or database URL.")
        if several:
            subparser.add_argument("--projects", help="YAML file of several stores.")
        return subparser.add_argument

    _add_serve(command("serve", "Serve the page on which annotators rank responses.", several=True))
    _add_import(command("import", "Add candidates, rankings or pairs to the store."))
    _add_export(command("export", "Write the labels as rows for training."))
    _add_stats(command("stats", "Print counts, agreement and biases, and which model won."))
    _add_simulate(command("simulate", "Label the items with simulated annotators."))
    add = command("prioritize", "Give a high priority to items that reward models are unsure of.")
    add(
        "--reward_model",
        nargs="+",
        required=True,
        help="One reward model (the score difference of the two best responses counts) or several "
        "(their variance counts).",
    )
    add = command("prelabel", "Rank the items with a reward model; see `serve --pre_label_share`.")
    add("--reward_model", required=True, help="A reward model, or file.py:function.")
    _add_access(command)
    _add_audit(command)
    return root


def _add_access(command: AddCommand) -> None:
    add = command(
        "invite", "Print a new link for each person; it revokes the old one.", several=True
    )
    add("names", nargs="+", help="People's names, as in the exported rows.")
    _add_settings(add)
    add("--address", default="http://127.0.0.1:8000", help="Address of the label page.")
    add = command("people", "List the people of the store, or change some.")
    add("names", nargs="*", help="Names of invited people; none lists everybody.")
    _add_settings(add)
    add(
        "--add",
        action="store_true",
        help="Add unknown names without a link: they log in by a proxy (`--proxy_user_header`).",
    )
    add("--revoke", action="store_true", help="End their access; their labels stay.")
    add = command("token", "Print a new token for a program that uses the REST API of `serve`.")
    add("name", help="Name of the program; an old token of that name is revoked.")
    add("--role", choices=("read", "write"), default="read", help="What the program may do.")
    add("--revoke", action="store_true", help="Revoke the token instead of making one.")


def _add_audit(command: AddCommand) -> None:
    add = command("audit", "Print or write who saw and who changed what.")
    add("--who", default="", help="Only this person or program.")
    add("--item", type=int, help="Only this item.")
    add("--days", type=float, default=0.0, help="Only the last days; 0 for all.")
    add("--limit", type=int, default=50, help="Newest entries to print.")
    add("--output", help="JSONL file for all entries, instead of printing.")
    add = command(
        "participants", "Write who is who on the crowd platform, with the number of labels."
    )
    add("--output", required=True, help="CSV file to write; only you can read it.")
    add = command(
        "erase",
        "Delete the data of a person; a record with counts and without the name remains.",
    )
    add("name", help="Name of the person.")
    add("--dry_run", action="store_true", help="Only print what would be deleted.")
    add = command("retain", "Delete what people did before the last days, labels included.")
    add("--days", type=float, required=True, help="Days to keep.")
    add("--dry_run", action="store_true", help="Only print what would be deleted.")


def _add_serve(add: AddArgument) -> None:
    _add_address(add)
    _add_logins(add)
    _add_pages(add)
    _add_queue(add)
    _add_study(add)
    _add_models(add)


def _add_address(add: AddArgument) -> None:
    add("--host", default="127.0.0.1", help="Address to bind; a public one needs --public.")
    add("--port", type=int, default=8000, help="Port to bind; 0 takes a free one.")
    add("--public", action="store_true", help="Allow an address that other machines can reach.")
    add("--allowed_hosts", nargs="*", default=[], help="Host names that browsers may use.")
    add("--https", action="store_true", help="Behind a proxy with HTTPS: mark cookies Secure.")


def _add_logins(add: AddArgument) -> None:
    add("--proxy_user_header", help="Header in which a trusted proxy names the user.")
    add(
        "--trusted_proxy",
        nargs="+",
        default=[],
        help="Addresses or networks of the proxies whose header is accepted.",
    )
    add("--oidc_issuer", help="Address of an OpenID Connect provider that logs people in.")
    add("--oidc_client_id", default="", help="Its client; RLHF_OIDC_CLIENT_SECRET is the secret.")
    add("--oidc_name_claim", default="preferred_username", help="Claim with the person's name.")
    add("--oidc_role_claim", help="Claim with roles; without it the store has people and roles.")


def _add_pages(add: AddArgument) -> None:
    add("--annotators", nargs="*", default=[], help="Print an invite link for each new name.")
    add(
        "--form",
        help="YAML file of the form, or a form of the package: helpsteer | safety | reasons.",
    )
    add("--pictures", metavar="FOLDER", help="Show the pictures of this folder that prompts name.")
    add("--new_admin_token", action="store_true", help="Replace the admin link.")


def _add_queue(add: AddArgument) -> None:
    add("--overlap", type=int, default=1, help="Annotators per item.")
    add("--seed", type=int, default=0, help="Seed of the order in which responses are shown.")
    add("--gold_rate", type=float, default=0.0, help="Share of gold items mixed in.")
    add("--repeat_rate", type=float, default=0.0, help="Share of repeated items mixed in.")
    add(
        "--max_overlap",
        type=int,
        help="Add annotators to items whose annotators disagree, up to this number.",
    )
    add(
        "--disagreement",
        type=float,
        default=0.4,
        help="Above this, from 0 to 1, an item gets a further annotator, or an adjudicator.",
    )
    add(
        "--qualification",
        type=int,
        default=0,
        help="Gold items with feedback that an annotator labels first.",
    )
    add("--pass_mark", type=float, default=0.8, help="Share of them to decide correctly.")
    add("--tries", type=int, default=2, help="Rounds of qualification.")
    add(
        "--pre_label_share",
        type=float,
        help="Share of labels after which the ranks of `prelabel` are shown; the others are held "
        "out.",
    )
    add("--active_floor", type=float, help="Draw by priority, with this share drawn at random.")
    add("--lease_minutes", type=float, default=15.0, help="Free an idle item after this time.")
    add("--until", help="Stop after this many labels, or `all` when every item is labelled.")
    add(
        "--webhook",
        metavar="URL",
        help="Send new events to this address; RLHF_WEBHOOK_SECRET signs.",
    )


def _add_study(add: AddArgument) -> None:
    add(
        "--crowd",
        choices=("prolific", "mturk"),
        help="Admit participants of this platform, at /crowd. Their ids are kept apart.",
    )
    add("--completion_code", help="Code that participants get at the end, from the platform.")
    add("--labels_per_person", type=int, help="Items of one participant; default: all items.")


def _add_models(add: AddArgument) -> None:
    add(
        "--model",
        nargs="*",
        default=[],
        help="Models that respond to annotators' prompts: folders or hub ids, or with --server "
        "names that it knows.",
    )
    add(
        "--server",
        metavar="URL",
        help="Address of an OpenAI-compatible API, http://HOST:PORT/v1, whose models respond. Its "
        "key is in OPENAI_API_KEY.",
    )
    add("--num_responses", type=int, default=4, help="Responses of these models to a prompt.")
    add("--max_new_tokens", type=int, default=128, help="Longest of these responses, in tokens.")


def _add_settings(add: AddArgument) -> None:
    add(
        "--role",
        choices=ROLES,
        help="Annotators label, adjudicators decide contested items, researchers see and change "
        "everything but access, admins set access too.",
    )
    add("--tags", nargs="+", help="Languages and skills; items may require them.")
    add("--cap", metavar="N", help="Labels after which they get no more items, or none.")


def _add_import(add: AddArgument) -> None:
    add(
        "files",
        nargs="*",
        help="JSONL, JSON, Parquet or CSV files, or hub ids; none to add a guideline or form.",
    )
    add(
        "--guideline", help="Text file with the annotators' guideline; a new text is a new version."
    )
    add("--form", help="Form that labels in the files were given in: a YAML file, or its name.")
    add("--drop_bad_rows", action="store_true", help="Leave bad rows out instead of stopping.")
    add("--as_gold", action="store_true", help="Import as gold items, which measure annotators.")
    add(
        "--tag_columns",
        nargs="+",
        default=[],
        help="Columns whose texts are the tags that an annotator of the row needs.",
    )
    add("--as_candidates", action="store_true", help="Import without the ranks in the rows.")


def _add_export(add: AddArgument) -> None:
    add(
        "--output",
        required=True,
        help="File to write: .jsonl, .csv or .parquet; .json of argilla and label_studio.",
    )
    kinds = (
        *("rankings", "pairs", "demonstrations", "ratings", "thumbs", "gold", "events", "work"),
        *("argilla", "label_studio"),
    )
    add(
        "--kind",
        choices=kinds,
        default="rankings",
        help="Kind of rows; rankings keep all information; gold are the labels of gold items; "
        "events are the log, with skips and their reasons; work is the time of each annotator by "
        "day; argilla and label_studio are records for these tools.",
    )
    add(
        "--consensus",
        choices=("majority", "mean_rank", "dawid_skene", "reward_weighted"),
        help="Write one ranking of each item, made from those of its annotators.",
    )
    add("--reward_model", help="Weighs the annotators of `--consensus reward_weighted`.")
    add("--consent", default="", help="What the annotators agreed to, for the card of the file.")
    add("--license", default="", help="Licence in the card, such as cc-by-4.0.")
    add("--push_to_hub", help="Hub data set, ORG/NAME, to upload the file and its card to.")
    add("--public", action="store_true", help="Make a new hub data set public instead of private.")


def _add_stats(add: AddArgument) -> None:
    add(
        "--category",
        default="category",
        help="Column of the items by which win rates of models are listed.",
    )
    add("--gold", help="Gold score to compare with: file.py:function or a reward model.")
    add("--output", help="JSON file to write the statistics to, with intervals.")


def _add_simulate(add: AddArgument) -> None:
    add("--annotators", required=True, help="YAML file of annotators, their noise and biases.")
    add("--gold", required=True, help="Gold score of the annotators: file.py:function.")
    add("--overlap", type=int, default=1, help="Annotators per item.")
    add("--seed", type=int, default=0, help="Seed of noise and errors.")
