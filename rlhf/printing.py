"""The terminal as this project prints to it."""

from rich.console import Console


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints every text as it is.

    rich takes `[…]` in a text for markup and `:name:` for an emoji, and both stand in the names
    of folders and people. Colours come from styles, which are given apart from the text.
    """
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr, soft_wrap=soft_wrap)
