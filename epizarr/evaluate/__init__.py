"""Evaluation: how well a run's prediction agrees with measured contacts, beside baselines; and the report of it.

``maps`` reads blocks of contacts and tracks, ``baselines`` fits them, ``score`` scores, ``page`` draws and writes the report;
``uncertainty`` calibrates predicted standard deviations and measures how honest they are, ``realism`` asks how much maps look
like measured ones.
"""

from epizarr.evaluate.page import write_report
from epizarr.evaluate.realism import realism_scores
from epizarr.evaluate.score import evaluate_run
from epizarr.evaluate.table import tidy_table, write_csv
from epizarr.evaluate.uncertainty import assess_uncertainty, calibrate_run

__all__ = [
    "assess_uncertainty",
    "calibrate_run",
    "evaluate_run",
    "realism_scores",
    "tidy_table",
    "write_csv",
    "write_report",
]
