"""Every error a caller may want to treat apart.

    VoxcacheError
    +-- ConfigError          pipeline.yaml, options, manifests; carries every problem found, not just the first
    |   +-- UnknownName      a name that no registry holds
    +-- AudioError           one clip cannot be used: becomes a line in the ledger, never the end of a run
    +-- EncoderError         an encoder cannot be built as asked
    |   +-- CheckpointError  weights that do not fit their architecture
    +-- StoreError
    |   +-- SchemaError      not a store, or one of a schema this version cannot read
    |   +-- KeyMismatch      embeddings that were made from something else than what is asked for
    |   +-- IntegrityError   what is on disk is not what was written
    |   +-- StoreBusy        another process is writing
    |   +-- StoreUnreachable a store behind a network does not answer
    +-- InstallError         packages that are installed do not fit or do not load
    +-- RunError             some units of work could not be done; all others are
    +-- TrainError           an experiment cannot be run as asked
        +-- Diverged         networks whose losses or outputs are no finite numbers

Messages have one form: *object, where: expected X, got Y. Next step.*
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class VoxcacheError(Exception):
    """Base of every error raised on purpose; the command line prints its text and exits with `exit_code`."""

    exit_code = 1


class ConfigError(VoxcacheError):
    """What the user wrote cannot be carried out. `problems` holds one sentence each."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownName(ConfigError):
    """A name that no registry holds; names the nearest and the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"{kind} {name!r}: unknown{nearest(name, known)} Known: {', '.join(known)}.")


class AudioError(VoxcacheError):
    """One clip cannot be used; the text is what the ledger keeps as its reason."""


class EncoderError(VoxcacheError):
    """An encoder cannot be built as asked."""


class CheckpointError(EncoderError):
    """Weights that do not fit the architecture they were offered to."""


class StoreError(VoxcacheError):
    """Base of everything that can be wrong with a store."""

    exit_code = 3


class SchemaError(StoreError):
    """Not a store, or one of a schema this version cannot read."""


class KeyMismatch(StoreError):
    """The store holds embeddings under this name that were made from something else."""


class IntegrityError(StoreError):
    """What is on disk is not what was written."""


class StoreBusy(StoreError):
    """Another process holds the store for writing."""


class StoreUnreachable(StoreError):
    """A store behind a network does not answer; what is written is whole, and the same command goes on later."""


class InstallError(VoxcacheError):
    """Packages that are installed do not fit or do not load; the text says which and what to type."""

    exit_code = 2


class RunError(VoxcacheError):
    """Some units of work could not be done, though each was tried several times; what is done is kept."""


class TrainError(VoxcacheError):
    """An experiment cannot be run as asked."""

    exit_code = 4


class Diverged(TrainError):
    """Networks that learned nothing, of `seeds`: NaN or infinite losses from the first epoch on, or such outputs."""

    def __init__(self, text: str, seeds: Iterable[int] = ()) -> None:
        super().__init__(text)
        self.seeds = frozenset(seeds)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest known name, or a full stop."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else "."
