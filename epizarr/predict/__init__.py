"""Prediction: the tracks of any cell type in, a band of contacts in the store out. No Hi-C is needed.

A run is a group ``/{cell type}/predictions/{run}/{binsize}``. Read in this order:

- :mod:`~epizarr.predict.settings`: how it is computed, and the memory that this takes;
- :mod:`~epizarr.predict.blocks`: one task, a block of the genome's bins;
- :mod:`~epizarr.predict.plan`: what is to be done, and what is refused before anything is;
- :mod:`~epizarr.predict.run`: lease, ledger and the Dask graph. A run that was killed and started again gives the same bytes
  as one that was not.
"""

from epizarr.predict.run import predict_contacts
from epizarr.predict.settings import prediction_task_bytes

__all__ = ["predict_contacts", "prediction_task_bytes"]
