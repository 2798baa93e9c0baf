"""Evaluation: how well a run's prediction agrees with measured contacts, beside baselines; and the report of it.

``maps`` reads blocks of contacts and tracks, ``score`` fits the baselines and scores, ``page`` draws and writes the report.
"""

from epizarr.evaluate.page import write_report
from epizarr.evaluate.score import evaluate_run
from epizarr.evaluate.table import tidy_table, write_csv

__all__ = ["evaluate_run", "tidy_table", "write_csv", "write_report"]
