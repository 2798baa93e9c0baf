"""``epizarr simulate``: a genome with known rules, as real files."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import OverwriteOption, progress_bar, stdout
from epizarr.errors import ConfigError, nearest_match


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate", epilog="Example: epizarr simulate genome --size small --seed 1")(command)


def command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    size: Annotated[str, typer.Option(help="tiny (10 Mb), small (320 Mb) or human (3.1 Gb).")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another genome.")] = 1,
    binsize: Annotated[int, typer.Option(min=1, help="Bin width of the contacts in bp.")] = 10_000,
    cell_type: Annotated[
        list[str] | None, typer.Option(help="Name of a cell type; repeat for several.  \\[default: SIM1]")
    ] = None,
    rules: Annotated[
        str, typer.Option(help="default, or strandless: no track but a motif track tells the strand of a CTCF site.")
    ] = "default",
    motifs: Annotated[bool, typer.Option("--motifs", help="Add CTCF motif tracks, one a strand.")] = False,
    redraws: Annotated[
        int,
        typer.Option(min=0, help="Redraws given the tracks that the track ceiling is made of, such as 32; 0: none."),
    ] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Simulate tracks (bigWig), Hi-C (.cool) and the noise-free truth of a genome with known rules."""
    from epizarr.simulate import RULES, MotifRule, write_genome

    if rules not in RULES:
        raise ConfigError(f"--rules {rules!r} is not one of {', '.join(RULES)}.{nearest_match(rules, list(RULES))}")
    config = replace(RULES[rules], binsize=binsize)
    with progress_bar("simulate") as update:
        manifest = write_genome(
            out,
            size=size,
            seed=seed,
            cell_types=cell_type or ["SIM1"],
            config=replace(config, motifs=MotifRule()) if motifs else config,
            redraws=redraws,
            overwrite=overwrite,
            progress=lambda what, share: update(round(1000 * share), 1000, what),
        )
    stdout.print(f"SIMULATED genome in {out}. Next: epizarr ingest {manifest} -o atlas.zarr")
