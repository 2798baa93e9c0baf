"""Scores of contact maps and the baselines they are held against: bands in, numbers out."""
