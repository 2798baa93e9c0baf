"""From a manifest to a store.

``manifest.py`` reads the manifest, ``plan.py`` inspects its inputs, ``run.py`` writes the store, ``check.py`` looks at it.
"""

from epizarr.ingest.check import check_store, describe_store
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.run import ingest_manifest

__all__ = ["check_store", "describe_store", "ingest_manifest", "load_manifest", "plan_ingest"]
