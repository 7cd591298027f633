"""Tables of the terminal's /tokens, /topk and /why."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rlhf.chat.introspection import Difference, Position, TokenText
from rlhf.chat.renderer import printable

BAR = 24  # characters of a probability of 1


def token_table(prompt: Sequence[TokenText], answer: Sequence[TokenText]) -> Table:
    """How the text is cut, prompt and answer."""
    table = Table("", "id", "token", box=None, padding=(0, 2))
    for who, tokens in (("prompt", prompt), ("answer", answer)):
        for token in tokens:
            table.add_row(who, str(token.id), shown(token.text))
    return table


def position_table(found: Sequence[Position]) -> Table:
    """Each token with its probability, as a bar too, and what else was likely there."""
    table = Table("token", "p", "", "rank", "likeliest, with p -> drawn with", box=None)
    for one in found:
        others = "   ".join(
            f"{shown(other.token.text)} {other.probability:.3f}->{other.reshaped:.3f}"
            for other in one.likeliest
        )
        bar = Text("█" * round(BAR * one.probability), style="cyan")
        table.add_row(
            shown(one.token.text), f"{one.probability:.3f}", bar, str(one.rank), Text(others)
        )
    return table


def difference_table(
    found: Sequence[Difference], names: Sequence[str], rewards: Sequence[float]
) -> Table:
    """Each token's log-probability under every model, KL, and the reward up to there."""
    table = Table("token", *(f"log p {name}" for name in names), box=None)
    for name in names[1:]:
        table.add_column(f"KL from {name}")
    if rewards:
        table.add_column("reward so far")
    for at, one in enumerate(found):
        cells = [f"{value:.3f}" for value in (*one.logprobs, *one.kl)]
        cells += [f"{rewards[at]:+.3f}"] if rewards else []
        table.add_row(shown(one.token.text), *cells)
    totals = [sum(one.logprobs[n] for one in found) for n in range(len(names))]
    totals += [sum(one.kl[n] for one in found) for n in range(len(names) - 1)]
    last = [f"{rewards[-1]:+.3f}"] if rewards else []
    table.add_row("sum", *(f"{value:.3f}" for value in totals), *last, style="bold")
    return table


def shown(text: str) -> Text:
    """A token's text, its spaces visible."""
    return Text(printable(text.replace("\n", "⏎")).replace(" ", "·") or "∅")
