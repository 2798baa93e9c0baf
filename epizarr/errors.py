"""The exceptions that epizarr raises on purpose.

Each class is an :class:`EpizarrError` and also the builtin that a caller would expect, so that both
``except EpizarrError`` and ``except ValueError`` work. Messages say which object, what it has, what
was needed and what to do; the command line prints them as one paragraph without a traceback.
"""

from collections.abc import Sequence
from difflib import get_close_matches


class EpizarrError(Exception):
    """Base class of all errors that epizarr raises on purpose."""


class AssemblyMismatchError(EpizarrError, ValueError):
    """A file or store belongs to another assembly, or names its chromosomes differently."""


class RegionError(EpizarrError, ValueError):
    """A region cannot be read, or does not lie on the assembly."""


class SchemaError(EpizarrError, ValueError):
    """A dataset does not have the variables, dims or attributes that the store format asks for."""


class InputFileError(EpizarrError, ValueError):
    """An input file is not what its name or the manifest says."""


class InputNotFoundError(EpizarrError, FileNotFoundError):
    """An input file, store or run folder does not exist."""


class RemoteError(EpizarrError, OSError):
    """A remote input is not named properly, or cannot be fetched."""


class OfflineError(RemoteError, ConnectionError):
    """There is no connection to a remote host, so that other files will not come either."""


class OutputExistsError(EpizarrError, FileExistsError):
    """A file to be written exists already, and nobody asked to replace it."""


class ManifestError(EpizarrError, ValueError):
    """A store manifest cannot be used; the message lists every problem found in it."""


class ConfigError(EpizarrError, ValueError):
    """A training or prediction setting is unknown, of the wrong type or out of range."""


class SplitError(EpizarrError, ValueError):
    """Training, validation and test regions overlap or lie too close together."""


class TransformError(EpizarrError, ValueError):
    """A transform is unknown, not fitted, has no inverse, or cannot be applied to these values."""


class LiftoverError(EpizarrError, ValueError):
    """A position, region or map has no counterpart in another assembly."""


class PerturbationError(EpizarrError, ValueError):
    """An edit of tracks cannot be read, or cannot be made on these tracks."""


class AttributionError(EpizarrError, ValueError):
    """A target of an attribution cannot be read, or a method is not valid for a network."""


class BalancingError(EpizarrError, ArithmeticError):
    """A map cannot be balanced: it is too sparse, or the iterations do not converge."""


class StoreError(EpizarrError, ValueError):
    """A store cannot be opened or written as asked."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no such store or group; the message lists what is there."""


class IncompleteStoreError(StoreError):
    """A group is still being written, or its writer was killed."""


class LeaseError(EpizarrError, RuntimeError):
    """Another process is writing to the same group."""


class CheckpointError(EpizarrError, ValueError):
    """A checkpoint is incomplete, or does not fit the store or the configuration."""


class CalibrationError(EpizarrError, ValueError):
    """Factors of predicted standard deviations cannot be fitted or read, or belong to another predictor."""


class TrainingError(EpizarrError, ArithmeticError):
    """Training cannot go on: the loss is no longer a finite number."""


class LostRankError(EpizarrError, ConnectionError):
    """Another process of a training run has ended, so this one cannot go on; the other's error says why."""


class TensorShapeError(EpizarrError, ValueError):
    """A tensor does not have the dims, channels or length that the network needs."""


class NormalizationError(EpizarrError, ValueError):
    """Counts, covariates or settings that a normalisation cannot use."""


class FitError(EpizarrError, ArithmeticError):
    """A statistical model has no fit to these data, or its iterations do not converge."""


class FigureError(EpizarrError, ValueError):
    """A figure cannot be drawn or written as asked."""


class BandReachError(EpizarrError, ValueError):
    """A measure needs contacts farther from the diagonal than the band stores."""


class MemoryBoundError(EpizarrError, MemoryError):
    """A task would need more memory than it was allowed."""


def nearest_match(name: str, known: Sequence[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of ``known``, or the empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def raise_all(error: type[EpizarrError], heading: str, problems: Sequence[str]) -> None:
    """Raise ``error`` once with every problem on a line of its own; do nothing if there is none."""
    if not problems:
        return
    if len(problems) == 1:
        raise error(f"{heading}: {problems[0]}")
    raise error(f"{heading}: {len(problems)} problems\n" + "\n".join(f"  - {problem}" for problem in problems))
