"""Counts in, normalised contacts out: each normalisation of the store as pure functions on NumPy arrays."""
