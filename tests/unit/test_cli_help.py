"""What --help shows of the text that is written for it."""

from collections.abc import Iterator
from typing import Any

import typer
from rich.text import Text

from epizarr.cli.app import app


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{name} {part}")


def test_help__shows_every_bracket_of_an_option():
    """In rich's markup ``[default: x]`` is a style that nobody knows, and left out; ``\\[default: x]`` is text."""
    lost, n_helps = [], 0
    for name, command in _commands(typer.main.get_command(app), "epizarr"):
        for option in command.params:
            text = getattr(option, "help", None) or ""
            n_helps += 1
            if Text.from_markup(text).plain.count("[") != text.count("["):
                lost.append(f"{name} {option.name}")
    assert not lost
    assert n_helps > 100
