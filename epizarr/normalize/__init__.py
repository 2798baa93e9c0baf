"""Counts in, normalised contacts out: pure functions on arrays and tables, one module a normalisation."""
