"""Screens: one edit at every peak of a track, or at every tile of a region, each on its own.

- :mod:`~epizarr.screen.sites`: the intervals, and the random ones that they are compared with;
- :mod:`~epizarr.screen.scores`: what is scored, p- and q-values;
- :mod:`~epizarr.screen.block`: the intervals of a stretch, predicted from one reference;
- :mod:`~epizarr.screen.run`: the resumable graph of a screen's blocks, its group, table and figure.
"""

from epizarr.screen.block import screen_task_bytes
from epizarr.screen.run import screen_contacts, screen_table
from epizarr.screen.scores import SCORES

__all__ = ["SCORES", "screen_contacts", "screen_table", "screen_task_bytes"]
