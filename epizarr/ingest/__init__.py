"""From a manifest to a store.

``manifest.py`` reads the manifest, ``plan.py`` inspects its inputs, ``run.py`` writes the store, ``check.py`` looks at it.
"""
