"""Options of the commands that fetch remote inputs, and the cache they stand for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from epizarr.io.remote import Cache

CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Folder of fetched inputs.  \\[default: epizarr in $XDG_CACHE_HOME or ~/.cache]", metavar="DIR"
    ),
]
AnonymousOption = Annotated[
    bool, typer.Option("--anonymous", help="Read s3:// and gs:// without credentials: public data.")
]


def cache_from(folder: Path | None, anonymous: bool = False) -> "Cache":
    """Return the cache of ``--cache``. As with curl, proxies and ``~/.netrc`` are those of the environment."""
    from epizarr.io.remote import Cache
    from epizarr.io.transport import Access

    if folder is None:
        # A relative path there is invalid and to be ignored, says the XDG specification.
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "epizarr"
    return Cache(folder, Access(trust_env=True, anonymous=anonymous))
