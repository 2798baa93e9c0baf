"""``epizarr config``: the named training configurations."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at the training configurations.")

SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key, e.g. training.epochs=3; repeat for several.", metavar="KEY=VALUE"),
]


@app.command("list")
def list_command() -> None:
    """List the named configurations: what each is for, and the memory that training takes at most on a CPU."""
    from epizarr.train.named_configs import ABOUT

    for name, about in ABOUT.items():
        typer.echo(f"{name:22} {about}")


@app.command("show", epilog="Example: epizarr config show small > my.toml")
def show_command(
    name: Annotated[str, typer.Argument(help="Name of a configuration, or a TOML file.")],
    settings: SettingsOption = None,
) -> None:
    """Print a configuration as TOML, with every key and what it means; the output can be given to ``train --config``."""
    import tomli_w

    from epizarr.train.config import config_fields
    from epizarr.train.config_text import load_config

    section = ""
    for field in config_fields(load_config(name, settings or [])):
        here, _, key = field.key.partition(".")
        if here != section:
            typer.echo(f"[{here}]" if not section else f"\n[{here}]")
            section = here
        typer.echo(f"# {field.doc} ({field.kind})")
        typer.echo(_one_line(tomli_w.dumps({key: field.value}), section), nl=False)


@app.command("leave-one-out", epilog="Example: epizarr config leave-one-out small --cell-type GM12878,K562,H1 -o folds")
def leave_one_out_command(
    name: Annotated[str, typer.Argument(help="Name of a configuration, or a TOML file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the configurations, without-NAME.toml each.")],
    cell_type: Annotated[
        str | None, typer.Option(help="Cell types, separated by commas.  \\[default: those of the config]")
    ] = None,
    settings: SettingsOption = None,
) -> None:
    """Write a configuration for each cell type that trains on all the others and never sees it."""
    from epizarr.io.files import replace_file
    from epizarr.train import config_toml, leave_one_out, load_config

    names = [text.strip() for text in cell_type.split(",")] if cell_type else []
    folds = leave_one_out(load_config(name, settings or []), names)
    out.mkdir(parents=True, exist_ok=True)
    for held_out, config in folds.items():
        path = out / f"without-{held_out}.toml"
        replace_file(path, config_toml(config).encode())
        typer.echo(f"epizarr train STORE --config {path} -o RUNS/without-{held_out}")


def _one_line(text: str, section: str) -> str:
    """Tables need their full name, since each key is written on its own."""
    return text.replace("[", f"[{section}.", 1) if text.startswith("[") else text
