"""``epizarr evaluate``: a prediction against measured contacts, beside baselines."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from epizarr.cli.console import (
    ClusterOption,
    OverwriteOption,
    TakeOverOption,
    ThreadsOption,
    client_for,
    print_table,
    progress_bar,
    stdout,
)
from epizarr.cli.map_options import takes_map_options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "evaluate", epilog="Example: epizarr evaluate atlas.zarr --run first --cell-type K562 --report first.html"
    )(command)


@takes_map_options
def command(
    store: Annotated[str, typer.Argument(help="Store with the measured contacts and the prediction.")],
    run: Annotated[
        list[str],
        typer.Option(
            help="Name of the prediction; repeat to compare several runs. With --map, the first is the name it gets."
        ),
    ],
    cell_type: Annotated[str, typer.Option(help="Cell type to score.")],
    region: Annotated[
        list[str] | None, typer.Option(help="Region to score; repeat for several.  \\[default: the run's test regions]")
    ] = None,
    sections: Annotated[
        str | None,
        typer.Option(
            help="What to score besides the correlations, comma-separated: published, domains, interactions, loops, similarity, "
            "submatrices, specificity (--other-cell-type), realism (trains classifiers).  "
            "\\[default: all that apply but realism]"
        ),
    ] = None,
    loops: Annotated[
        Path | None,
        typer.Option(help="BEDPE file of loops that count as true.  \\[default: those called in the measured map]"),
    ] = None,
    other_cell_type: Annotated[
        str | None, typer.Option(help="Cell type of the store that the prediction is to be told from.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Folder of a simulated cell type: adds the ceilings.")] = None,
    predictions: Annotated[
        str | None, typer.Option(help="Store that holds the prediction.  \\[default: STORE]")
    ] = None,
    binsize: Annotated[int | None, typer.Option(min=1, help="Bin width in bp, where the run has several.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML report to write, pictures included.  \\[default: RUN.html]")
    ] = None,
    map_file: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="Import this map first, under the name of --run: .cool, .mcool, .hic, .npy (or a folder), .npz, .h5.",
            rich_help_panel="Another program's map",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file of all scores to write.  \\[default: beside the report]")
    ] = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
    *,
    how: dict[str, Any],
) -> None:
    """Score a prediction and the baselines on regions that the model has not seen; print a table, write a report."""
    import numpy as np

    from epizarr.evaluate import evaluate_run, write_csv, write_report
    from epizarr.evaluate.headlines import headlines
    from epizarr.evaluate.intervals import SCORES, advantage_notes, interval_note, score_interval
    from epizarr.map_import import import_map
    from epizarr.report.html import format_interval, format_score

    if map_file is None and how:
        raise typer.BadParameter(f"{', '.join(how)}: only a map that is imported (--map) can be read in another way.")
    if map_file is not None and not region:
        raise typer.BadParameter(
            "--map: say which regions to score (--region); of another program's map none are known."
        )
    if map_file is not None and predictions is not None:
        raise typer.BadParameter("--map is imported into STORE; leave out --predictions.")
    with client_for(cluster, threads) as client, progress_bar("evaluate") as update:
        if map_file is not None:
            import_map(
                map_file,
                store,
                cell_type=cell_type,
                run=run[0],
                binsize=binsize,
                test=region or (),
                client=client,
                n_threads=threads,
                progress=lambda done, total: update(done, total, "import"),
                overwrite=overwrite,
                take_over=take_over,
                **how,
            )
        scores = evaluate_run(
            store,
            run,
            cell_type=cell_type,
            regions=region,
            truth=truth,
            sections=None if sections is None else [name.strip() for name in sections.split(",") if name.strip()],
            loops=loops,
            other_cell_type=other_cell_type,
            predictions=predictions,
            binsize=binsize,
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
        ).load()
    n_pixels = int(scores["n_pixels"].sum())
    rows: list[list[str | int]] = []
    for index, name in enumerate(scores["predictor"].values):
        rows.append([str(name), *(format_score(float(scores[score][index]), 4) for score in SCORES), n_pixels])
        within = [format_interval(*score_interval(scores, score, index)) for score in SCORES]
        if any(within):
            rows.append(["  95 % interval", *within, ""])
    print_table(
        ["predictor", "Pearson", "Spearman", "MSE", "skill", "pixels"],
        rows,
        title=", ".join(json.loads(scores.attrs["regions"])),
    )
    of_sections = [h for h in headlines(scores) if np.isnan(h.low).all()]
    if of_sections:
        print_table(
            ["section", *(str(name) for name in scores["predictor"].values)],
            [
                [h.label + (f" ({h.where})" if h.where else ""), *(format_score(float(v)) for v in h.values)]
                for h in of_sections
            ],
            title="More; all values are in the CSV file",
        )
    for note in (interval_note(scores), *advantage_notes(scores)):
        stdout.print(note, markup=False)
    for name, why in json.loads(scores.attrs["not_scored"]).items():
        stdout.print(f"Section {name}: n/a, {why}.", markup=False)
    for note in json.loads(scores.attrs["notes"]):
        stdout.print(note, markup=False)
    path = write_report(
        store,
        run,
        cell_type=cell_type,
        path=report or Path(f"{'+'.join(run)}.html"),
        truth=truth,
        predictions=predictions,
        binsize=binsize,
    )
    table = write_csv(scores, csv or path.with_suffix(".csv"))
    stdout.print(f"Report: {path}; all scores: {table}")
