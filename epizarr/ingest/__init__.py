"""From a manifest to a store.

``manifest.py`` reads the manifest, ``prefetch.py`` fetches its remote inputs, ``plan.py`` inspects them, ``run.py`` writes the
store, ``check.py`` looks whether it is whole, ``qc.py`` how good its inputs are, with ``qc_kinds.py``, ``qc_warnings.py``
and ``qc_page.py``.
"""

from epizarr.ingest.check import check_store, describe_store
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.prefetch import fetch_inputs, missing_inputs
from epizarr.ingest.qc import assess_store
from epizarr.ingest.qc_kinds import input_kinds, judge_kinds
from epizarr.ingest.qc_page import write_quality_page
from epizarr.ingest.run import IngestReport, ingest_manifest

__all__ = [
    "IngestReport",
    "assess_store",
    "check_store",
    "describe_store",
    "fetch_inputs",
    "ingest_manifest",
    "input_kinds",
    "judge_kinds",
    "load_manifest",
    "missing_inputs",
    "plan_ingest",
    "write_quality_page",
]
