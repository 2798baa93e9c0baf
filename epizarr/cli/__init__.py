"""The command line: one file per command, each parses, calls one public function and prints.

Results go to stdout, logs and progress to stderr. A failure is one paragraph and a non-zero exit; ``--debug`` adds the
traceback.
"""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence

from epizarr.cli.app import app, state
from epizarr.cli.console import print_error
from epizarr.errors import EpizarrError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 1 on an error of the task, 2 on wrong usage."""
    sys.exit(run(arguments))


def run_each(commands: Iterable[Sequence[str]]) -> None:
    """Print each command as one would type it, and run it; the first that fails ends the program with its status."""
    import typer

    for command in commands:
        typer.echo(f"\n$ epizarr {shlex.join(command)}")
        if status := run(command):
            sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    import typer

    # Threads of torch that wait for each other spin, for seconds if need be: where another program has one of the cores, training
    # took 15 times as long. They spin briefly and then sleep; torch reads this when it is first imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        typer.main.get_command(app).main(args=None if arguments is None else list(arguments), prog_name="epizarr")
    except SystemExit as end:  # wrong usage and Ctrl-C are reported by typer
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (EpizarrError, OSError) as error:
        if state.debug:
            raise
        print_error(str(error) if isinstance(error, EpizarrError) else f"{type(error).__name__}: {error}")
        return 1
    return 0
