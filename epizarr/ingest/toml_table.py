"""Tables of a manifest: values handed out by type, problems noted instead of raised, so that all are found in one reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epizarr.errors import StoreError, nearest_match
from epizarr.io.store import check_name


@dataclass(frozen=True)
class InputFile:
    """A file named in a manifest.

    Parameters
    ----------
    path
        Where it is on this machine, for a remote file in the cache. For contacts without the group.
    uri
        As the manifest writes it: this is what the store records.
    group
        Group inside an HDF5 file (``"resolutions/10000"``), or empty.
    sha256
        What its content must hash to, or None if the manifest does not say.
    origin
        Free text: where the file came from and what it is.
    url
        Address of a remote file, empty for a local one.
    """

    path: Path
    uri: str
    group: str = ""
    sha256: str | None = None
    origin: str = ""
    url: str = ""


class Table:
    """One table of the manifest: hands out its values, notes what is wrong with them.

    A value that cannot be used is replaced by an empty one of its type, so that reading goes on and finds the rest.
    """

    def __init__(self, content: Any, where: str, known: Sequence[str], problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            self.problem(f"is {type(content).__name__}, a table is needed")
        for key in self.content:
            if key not in known:
                self.problem(f"has an unknown key {key!r}.{nearest_match(key, known)} Known keys: {', '.join(known)}")

    def problem(self, text: str) -> None:
        """Note what is wrong."""
        self.problems.append(f"{self.where} {text}")

    def text(self, key: str, default: str | None = None) -> str:
        """Text; required if there is no default."""
        value = self.content.get(key, default)
        if isinstance(value, str):
            return value
        self.problem(f"needs {key!r}" if value is None else f"{key!r} is {value!r}, text is needed")
        return ""

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of some texts."""
        value = self.text(key, default)
        if value not in allowed and (value or key in self.content):
            self.problem(f"{key!r} is {value!r}; it is one of {', '.join(map(repr, allowed))}")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        """Whole number above 0."""
        value = self.content.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self.problem(f"needs {key!r}" if value is None else f"{key!r} is {value!r}, a positive whole number is needed")
        return 0

    def whole(self, key: str, default: int) -> int:
        """Whole number, not negative."""
        value = self.content.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.problem(f"{key!r} is {value!r}, a whole number of 0 or more is needed")
        return default

    def flag(self, key: str) -> bool:
        """True or false; false if it is not there."""
        value = self.content.get(key, False)
        if isinstance(value, bool):
            return value
        self.problem(f"{key!r} is {value!r}, true or false is needed")
        return False

    def names(self, key: str) -> tuple[str, ...]:
        """List of texts, each once; empty if it is not there."""
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.problem(f'{key!r} is {value!r}, a list of names such as ["a", "b"] is needed')
            return ()
        if len(set(value)) < len(value):
            self.problem(f"{key!r} names {sorted({v for v in value if value.count(v) > 1})} more than once")
        return tuple(dict.fromkeys(value))

    def texts(self, key: str) -> dict[str, str]:
        """Table of text to text, empty if it is not there."""
        value = self.content.get(key, {})
        if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            return dict(value)
        self.problem(f'{key!r} is {value!r}, a table of names such as {{ a = "b" }} is needed')
        return {}

    def tables(self, key: str) -> list[Any]:
        """List of tables, empty if it is not there."""
        value = self.content.get(key, [])
        if isinstance(value, list):
            return value
        self.problem(f"{key!r} is to be written with double brackets: [[{key}]]")
        return []

    def name(self, key: str) -> str:
        """Text that may name a folder of the store."""
        value = self.text(key)
        if value:
            try:
                check_name(value, key)
            except StoreError as error:
                self.problem(f"has {error}".rstrip("."))
        return value
