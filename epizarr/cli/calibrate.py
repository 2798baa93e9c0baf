"""``epizarr calibrate``: what predicted standard deviations have to be multiplied by, and how honest they are then."""

import json
from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import print_table, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "calibrate", epilog="Example: epizarr calibrate atlas.zarr --run first --cell-type GM12878 -o first.json"
    )(command)


def command(
    store: Annotated[str, typer.Argument(help="Store with the prediction and the measured contacts.")],
    run: Annotated[str, typer.Option(help="Prediction made with --mc-dropout, --ensemble or a variance head.")],
    cell_type: Annotated[str, typer.Option(help="Cell type of the prediction; it needs contacts.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, for epizarr predict --calibration.")],
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region to fit on; repeat for several.  \\[default: the validation regions]"),
    ] = None,
    test_region: Annotated[
        list[str] | None, typer.Option(help="Region to measure on; repeat for several.  \\[default: the test regions]")
    ] = None,
    predictions: Annotated[
        str | None, typer.Option(help="Store that holds the prediction.  \\[default: STORE]")
    ] = None,
    binsize: Annotated[int | None, typer.Option(min=1, help="Bin width in bp, where the run has several.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture of what was measured to write, PNG.")] = None,
) -> None:
    """Fit conformal factors of the predicted standard deviation on validation regions; measure coverage on test regions."""
    from epizarr.errors import CalibrationError, SplitError
    from epizarr.evaluate import assess_uncertainty, calibrate_run
    from epizarr.io.calibration_file import write_calibration
    from epizarr.report.figures import figure_png
    from epizarr.report.uncertainty_figures import uncertainty_figure

    calibration = calibrate_run(
        store, run, cell_type=cell_type, regions=region, predictions=predictions, binsize=binsize
    )
    write_calibration(calibration, out)
    stdout.print(
        f"{out}: fitted on {calibration.fitted_on}: {int(calibration.n_pixels.sum()):,} pixels, worth about "
        f"{int(calibration.n_effective.sum()):,} independent ones. Next: epizarr predict {store} … --calibration {out}",
        markup=False,
    )
    try:
        found = assess_uncertainty(
            store,
            run,
            cell_type=cell_type,
            calibration=calibration,
            regions=test_region,
            predictions=predictions,
            binsize=binsize,
        )
    except (SplitError, CalibrationError) as error:
        if test_region or figure:
            raise
        stdout.print(f"Not measured on test regions: {error}", markup=False)
        return
    rows = [
        [f"{wanted:.0%}", *(f"{float(found[name].sel(kind=kind, wanted=wanted)):.3f}" for name, kind in _COLUMNS)]
        for wanted in calibration.coverages
    ]
    heads = ["wanted", "as predicted", "conformal", "half-width as predicted", "half-width conformal"]
    print_table(heads, rows, title=f"coverage of {', '.join(json.loads(found.attrs['regions']))}")
    if figure is not None:
        figure.write_bytes(figure_png(uncertainty_figure({run: found}, title=f"{cell_type}, run {run}")))
        stdout.print(f"Figure: {figure}")


_COLUMNS = (
    ("mean_coverage", "normal"),
    ("mean_coverage", "conformal"),
    ("half_width", "normal"),
    ("half_width", "conformal"),
)
