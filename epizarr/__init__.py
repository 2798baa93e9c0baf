"""epizarr: Hi-C contact maps from epigenomic tracks, on Zarr, Dask and PyTorch.

Public names are loaded when they are first used, so that opening a store does not wait for torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("epizarr")

if TYPE_CHECKING:
    from epizarr.attribute import attribute_contacts
    from epizarr.bands import band_from_stripes, square_from_band, stripes_from_band
    from epizarr.calibration import contact_interval
    from epizarr.cluster import open_client
    from epizarr.domains.boundaries import boundary_agreement, domain_agreement, score_correlation
    from epizarr.domains.differential import differential_domains, split_conserved
    from epizarr.domains.insulation import insulation, insulation_boundaries
    from epizarr.domains.scores import domain_scores
    from epizarr.domains.separation import tad_boundaries, tad_domains, tad_separation
    from epizarr.domains.topdom import topdom, topdom_boundaries, topdom_domains
    from epizarr.errors import EpizarrError
    from epizarr.evaluate import assess_uncertainty, calibrate_run, evaluate_run, realism_scores, write_report
    from epizarr.genome import Assembly, Region
    from epizarr.ingest import (
        assess_store,
        check_store,
        describe_store,
        ingest_manifest,
        plan_ingest,
        write_quality_page,
    )
    from epizarr.io.export import export_contacts
    from epizarr.io.store import (
        grid_of,
        open_attribution,
        open_contacts,
        open_evaluation,
        open_perturbation,
        open_prediction,
        open_screen,
        open_tracks,
        select,
    )
    from epizarr.map_import import import_map
    from epizarr.metrics.correlation import score_by_distance
    from epizarr.metrics.realism import ClassifierProtocol
    from epizarr.metrics.spectrum import detail_ratio
    from epizarr.perturbed import perturb_contacts
    from epizarr.predict import predict_contacts
    from epizarr.report.figures import contact_figure, distance_figure
    from epizarr.report.uncertainty_figures import uncertainty_figure
    from epizarr.report.variables import variables_figure
    from epizarr.screen import screen_contacts, screen_table
    from epizarr.simulate import open_truth, write_genome
    from epizarr.train import load_checkpoint, load_config, train_model
    from epizarr.view.figure import region_figure

# Name -> module that defines it.
_PUBLIC = {
    "EpizarrError": "epizarr.errors",
    "Assembly": "epizarr.genome",
    "Region": "epizarr.genome",
    "stripes_from_band": "epizarr.bands",
    "band_from_stripes": "epizarr.bands",
    "square_from_band": "epizarr.bands",
    "open_contacts": "epizarr.io.store",
    "open_tracks": "epizarr.io.store",
    "open_prediction": "epizarr.io.store",
    "open_evaluation": "epizarr.io.store",
    "open_perturbation": "epizarr.io.store",
    "open_screen": "epizarr.io.store",
    "open_attribution": "epizarr.io.store",
    "grid_of": "epizarr.io.store",
    "select": "epizarr.io.store",
    "write_genome": "epizarr.simulate",
    "open_truth": "epizarr.simulate",
    "plan_ingest": "epizarr.ingest",
    "ingest_manifest": "epizarr.ingest",
    "describe_store": "epizarr.ingest",
    "assess_store": "epizarr.ingest",
    "check_store": "epizarr.ingest",
    "write_quality_page": "epizarr.ingest",
    "load_config": "epizarr.train",
    "load_checkpoint": "epizarr.train",
    "train_model": "epizarr.train",
    "predict_contacts": "epizarr.predict",
    "perturb_contacts": "epizarr.perturbed",
    "attribute_contacts": "epizarr.attribute",
    "import_map": "epizarr.map_import",
    "screen_contacts": "epizarr.screen",
    "screen_table": "epizarr.screen",
    "evaluate_run": "epizarr.evaluate",
    "write_report": "epizarr.evaluate",
    "realism_scores": "epizarr.evaluate",
    "calibrate_run": "epizarr.evaluate",
    "assess_uncertainty": "epizarr.evaluate",
    "contact_interval": "epizarr.calibration",
    "score_by_distance": "epizarr.metrics.correlation",
    "detail_ratio": "epizarr.metrics.spectrum",
    "ClassifierProtocol": "epizarr.metrics.realism",
    "insulation": "epizarr.domains.insulation",
    "insulation_boundaries": "epizarr.domains.insulation",
    "export_contacts": "epizarr.io.export",
    "tad_separation": "epizarr.domains.separation",
    "tad_boundaries": "epizarr.domains.separation",
    "tad_domains": "epizarr.domains.separation",
    "topdom": "epizarr.domains.topdom",
    "topdom_boundaries": "epizarr.domains.topdom",
    "topdom_domains": "epizarr.domains.topdom",
    "differential_domains": "epizarr.domains.differential",
    "split_conserved": "epizarr.domains.differential",
    "domain_scores": "epizarr.domains.scores",
    "boundary_agreement": "epizarr.domains.boundaries",
    "domain_agreement": "epizarr.domains.boundaries",
    "score_correlation": "epizarr.domains.boundaries",
    "contact_figure": "epizarr.report.figures",
    "distance_figure": "epizarr.report.figures",
    "variables_figure": "epizarr.report.variables",
    "region_figure": "epizarr.view.figure",
    "uncertainty_figure": "epizarr.report.uncertainty_figures",
    "open_client": "epizarr.cluster",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'epizarr' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
