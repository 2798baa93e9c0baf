"""``epizarr config``: the named training configurations."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at the training configurations.")

SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key, e.g. training.epochs=3; repeat for several.", metavar="KEY=VALUE"),
]


@app.command("list")
def list_command() -> None:
    """List the named configurations."""
    from epizarr.train.config import NAMED_CONFIGS

    for name in NAMED_CONFIGS:
        typer.echo(name)


@app.command("show", epilog="Example: epizarr config show small > my.toml")
def show_command(
    name: Annotated[str, typer.Argument(help="Name of a configuration, or a TOML file.")],
    settings: SettingsOption = None,
) -> None:
    """Print a configuration as TOML, with every key and what it means; the output can be given to ``train --config``."""
    import tomli_w

    from epizarr.train.config import config_fields, load_config

    section = ""
    for field in config_fields(load_config(name, settings or [])):
        here, _, key = field.key.partition(".")
        if here != section:
            typer.echo(f"[{here}]" if not section else f"\n[{here}]")
            section = here
        typer.echo(f"# {field.doc} ({field.kind})")
        typer.echo(_one_line(tomli_w.dumps({key: field.value}), section), nl=False)


def _one_line(text: str, section: str) -> str:
    """Tables need their full name, since each key is written on its own."""
    return text.replace("[", f"[{section}.", 1) if text.startswith("[") else text
