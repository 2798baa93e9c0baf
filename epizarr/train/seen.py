"""What of a prediction a network has seen in training: scores there do not say how it does on new data."""

from collections.abc import Iterable, Sequence
from typing import Any

from epizarr.errors import RegionError
from epizarr.genome import Assembly, Region
from epizarr.train.card import ModelCard


def seen_in_training(card: ModelCard, assembly: Assembly, cell_type: str, regions: Iterable[Region]) -> list[str]:
    """Say which of a prediction's regions, and whether its cell type, were seen in training.

    Parameters
    ----------
    card
        Of the network; what counts is ``trained_on``.
    assembly
        Genome of the prediction. Regions of training on chromosomes that it does not have are passed over, and all of them where
        the network was trained on another assembly.
    cell_type
        Cell type that is predicted.
    regions
        What is predicted.

    Returns
    -------
    One sentence for the training regions, one for the validation regions, one for the cell type; none if all is new.
    """
    predicted = list(regions)
    names = [str(name) for name in card.trained_on["cell_types"]]
    sentences = []
    for split, what in (("train", "training"), ("validation", "the choice of the checkpoint")):
        trained = told_of_training(card, assembly)["splits"].get(split, ())
        seen = _overlapping(assembly, trained, predicted)
        if seen:
            listed = ", ".join(map(str, seen[:3])) + (f" and {len(seen) - 3} more" if len(seen) > 3 else "")
            sentences.append(
                f"the prediction overlaps {listed}, seen in {what} with cell types {', '.join(names)}: a score there does not "
                "say how the model does on new data."
            )
    if cell_type in names:
        sentences.append(
            f"cell type {cell_type!r} was seen in training: a score does not say how the model does on a new cell type."
        )
    return sentences


def told_of_training(card: ModelCard, assembly: Assembly) -> dict[str, Any]:
    """What a prediction on this genome keeps of the training, as its attribute ``trained_on``.

    Of a network that was trained on another assembly the splits are empty, as their coordinates mean other places here, and the
    key ``assembly`` names it.
    """
    if card.assembly == assembly.name:
        return card.trained_on
    return {**card.trained_on, "splits": {name: [] for name in card.trained_on["splits"]}, "assembly": card.assembly}


def _overlapping(assembly: Assembly, texts: Sequence[str], predicted: Sequence[Region]) -> list[Region]:
    """Regions of ``texts`` that share a base with a predicted one."""
    found = []
    for text in texts:
        try:
            region = assembly.region(text)
        except RegionError:  # on a chromosome that the store does not hold
            continue
        if any(region.overlaps(other) for other in predicted):
            found.append(region)
    return found
