"""What a person sees while a command works: each step as it begins, and how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Shows steps, one line each; on a terminal with a clock that runs while a step does.

    Args:
        console: where to; None shows nothing (for tests).
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that a step begins, and at its end how long it took or that it failed."""
        console = self._console
        if console is None:
            yield
            return
        began = time.monotonic()
        if console.is_terminal:
            with console.status(text, spinner="dots"):
                yield from self._timed(text, began, console)
        else:
            console.print(f"{text} ...", highlight=False)
            yield from self._timed(text, began, console)

    def _timed(self, text: str, began: float, console: Console) -> Iterator[None]:
        try:
            yield
        except BaseException:
            console.print(f"[red]✗[/] {text}", highlight=False)
            raise
        console.print(
            f"[green]✓[/] {text} [dim]({time.monotonic() - began:.1f} s)[/]", highlight=False
        )

    def say(self, text: str) -> None:
        """Show a line."""
        if self._console is not None:
            self._console.print(text, highlight=False)


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show on standard error, if that is a terminal, that a command reads or waits.

    Yields:
        Replaces the text.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status(text) as status:
        yield status.update
