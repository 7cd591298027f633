"""Tables of the terminal's /tokens, /topk and /why."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rlhf.chat.introspection import TokenDifference, TokenPosition, TokenText
from rlhf.chat.renderer import printable

BAR_WIDTH = 24  # characters of a probability of 1


def token_table(prompt: Sequence[TokenText], response: Sequence[TokenText]) -> Table:
    """The tokens of prompt and response with their ids."""
    table = Table("", "id", "token", box=None, padding=(0, 2))
    for part, tokens in (("prompt", prompt), ("response", response)):
        for token in tokens:
            table.add_row(part, str(token.id), visible(token.text))
    return table


def position_table(positions: Sequence[TokenPosition]) -> Table:
    """Each token with its probability, also as a bar, its rank, and the likeliest tokens there."""
    table = Table("token", "p", "", "rank", "likeliest: p -> sampled with", box=None)
    for position in positions:
        likeliest = "   ".join(
            f"{visible(other.token.text)} {other.probability:.3f}->{_three_digits(other.reshaped)}"
            for other in position.likeliest
        )
        table.add_row(
            visible(position.token.text),
            f"{position.probability:.3f}",
            Text("█" * round(BAR_WIDTH * position.probability), style="cyan"),
            str(position.rank),
            Text(likeliest),
        )
    return table


def difference_table(
    differences: Sequence[TokenDifference], names: Sequence[str], rewards: Sequence[float]
) -> Table:
    """Each token's log-probability under every model, its KL, and the reward up to it."""
    table = Table("token", *(f"log p {name}" for name in names), box=None)
    for name in names[1:]:
        table.add_column(f"KL from {name}")
    if rewards:
        table.add_column("reward so far")
    for t, token in enumerate(differences):
        cells = [f"{value:.3f}" for value in (*token.logprobs, *token.kl)]
        cells += [f"{rewards[t]:+.3f}"] if rewards else []
        table.add_row(visible(token.token.text), *cells)
    totals = [sum(token.logprobs[n] for token in differences) for n in range(len(names))]
    totals += [sum(token.kl[n] for token in differences) for n in range(len(names) - 1)]
    last = [f"{rewards[-1]:+.3f}"] if rewards else []
    table.add_row("sum", *(f"{value:.3f}" for value in totals), *last, style="bold")
    return table


def visible(text: str) -> Text:
    """A token's text with visible spaces and line breaks."""
    return Text(printable(text.replace("\n", "⏎")).replace(" ", "·") or "∅")


def _three_digits(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
