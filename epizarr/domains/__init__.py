"""Insulation, boundaries and domains of contact maps: band in, scores and calls out.

Everything runs on linear contacts (counts, balanced counts or their ratio to an expectation, not on z-scores or logarithms) and
on the band itself: no square matrix of a chromosome is made. One region, by default a chromosome, is in memory at a time.
"""
