"""Attribution: which bins of which tracks made a contact, a stripe, a rectangle or a boundary, in the raw signal.

- :mod:`~epizarr.attribute.targets`: what is explained, from its text to weights of the network's stripes;
- :mod:`~epizarr.attribute.function`: that number as a differentiable function of the raw tracks, transforms included;
- :mod:`~epizarr.attribute.methods`: saliency, integrated gradients and gradient SHAP of such a function;
- :mod:`~epizarr.attribute.run`: many targets, each a task, into a group of the store.
"""

from epizarr.attribute.methods import METHODS
from epizarr.attribute.run import attribute_contacts, attribution_task_bytes

__all__ = ["METHODS", "attribute_contacts", "attribution_task_bytes"]
