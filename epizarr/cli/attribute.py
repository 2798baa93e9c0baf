"""``epizarr attribute``: which track bins made a contact, a stripe, a rectangle or a boundary."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import (
    ClusterOption,
    OverwriteOption,
    TakeOverOption,
    ThreadsOption,
    client_for,
    print_table,
    progress_bar,
    read_pairs,
    stdout,
)
from epizarr.cli.model_options import (
    CheckpointOption,
    OutOption,
    StoreArgument,
    UseOption,
    WithoutOption,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "attribute",
        epilog="Example: epizarr attribute atlas.zarr --checkpoint runs/first/best --cell-type GM12878 "
        "--target boundary:chr8:54,160,000-54,170,000 -o sox17",
    )(command)


def command(
    store: StoreArgument,
    checkpoint: CheckpointOption,
    cell_type: Annotated[str, typer.Option(help="Cell type to explain.")],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to explain; repeat for several: pixel:REGION (its two ends), stripe:REGION, rectangle:REGION:REGION, "
            "boundary:REGION (insulation in its middle)."
        ),
    ] = None,
    targets: Annotated[Path | None, typer.Option(help="File of targets, one a line.")] = None,
    method: Annotated[
        str, typer.Option(help="integrated-gradients, gradient-shap or saliency.")
    ] = "integrated-gradients",
    baseline: Annotated[
        str, typer.Option(help="What the signal is compared with: zero, background, or another cell type.")
    ] = "zero",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for a figure of each of the first twelve targets.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Name of the group.  \\[default: the run folder's name]")] = None,
    use: UseOption = None,
    without: WithoutOption = None,
    out: OutOption = None,
    torch_threads: Annotated[int, typer.Option(min=1, help="Threads of one target.")] = 1,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Attribute contacts to the raw signal of each track bin, effects through the core included. Again = resume."""
    from epizarr.attribute import attribute_contacts
    from epizarr.io.store import open_group

    lines = [] if targets is None else targets.read_text(encoding="utf-8").splitlines()
    with client_for(cluster, threads) as client, progress_bar("attribute") as update:
        group = attribute_contacts(
            store,
            checkpoint,
            cell_type=cell_type,
            targets=[*(target or []), *(line.strip() for line in lines if line.strip())],
            method=method,
            baseline=baseline,
            run=run,
            use=read_pairs(use, "--use"),
            without=without or [],
            out=out,
            torch_threads=torch_threads,
            report=output,
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
        )
    found = open_group(out or store, group, "attributions").isel(target=slice(20))
    numbers = [found[name].values for name in ("value", "baseline_value", "completeness_error")]
    rows = [
        [str(text), *(f"{n:.4g}" for n in own)] for text, *own in zip(found["target"].values, *numbers, strict=True)
    ]
    print_table(["target", "value", "baseline", "completeness error"], rows)
    stdout.print(f"{out or store}: {group}" + (f". Figures: {output}" if output else ""), markup=False)
