"""From a manifest to a store.

``manifest.py`` reads the manifest, ``plan.py`` inspects its inputs, ``run.py`` writes the store, ``check.py`` looks whether it is
whole, ``qc.py`` how good its inputs are, with ``qc_warnings.py`` and ``qc_page.py``.
"""

from epizarr.ingest.check import check_store, describe_store
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.qc import assess_store
from epizarr.ingest.qc_page import write_quality_page
from epizarr.ingest.run import ingest_manifest

__all__ = [
    "assess_store",
    "check_store",
    "describe_store",
    "ingest_manifest",
    "load_manifest",
    "plan_ingest",
    "write_quality_page",
]
