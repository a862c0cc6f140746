"""Results that no longer hold: found without a store as far as the file tells, further with the store or the pipeline."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreError
from .keys import CODE_VERSION
from .systems import Run, System

if TYPE_CHECKING:
    from ..store import Store
    from .grid import Plan

Reasons = dict[int, str]
"""Why a run is stale, by its number."""


def stale(systems: Sequence[System], store: Store | None = None, planned: Plan | None = None) -> Reasons:
    """Return the runs that were made from something that is no longer there.

    Args:
        store: compared with the embeddings each run was made from.
        planned: compared with the clips, labels, groups and folds that the pipeline gives today.
    """
    slots, keys = _asked(planned)
    contents: dict[tuple[str, str], str | None] = {}
    newest: dict[str, int] = {}
    reasons: Reasons = {}
    for system in systems:
        why = "" if store is None else _store_reason(system, store, contents)
        for run in system.runs:
            if reason := why or _code_reason(run):
                reasons[run.number] = reason
            else:
                newest[run.slot] = max(run.number, newest.get(run.slot, 0))
    runs = [run for system in systems for run in system.runs if run.number not in reasons]
    reasons |= {run.number: reason for run in runs if (reason := _own_reason(run, newest, slots, keys))}
    return reasons


def _asked(planned: Plan | None) -> tuple[set[str], set[str]]:
    """Return the slots and keys of what is asked for."""
    experiments = () if planned is None else planned.experiments
    return {experiment.slot for experiment in experiments}, {experiment.key for experiment in experiments}


def _code_reason(run: Run) -> str:
    return (
        "" if run.code == CODE_VERSION else f"made by version {run.code} of the experiments' code, now {CODE_VERSION}"
    )


def _own_reason(run: Run, newest: dict[str, int], slots: set[str], keys: set[str]) -> str:
    if run.key in keys:
        return ""
    if run.slot in slots:
        return "clips, labels, groups or folds are no longer those it was made from"
    if newest[run.slot] != run.number:
        return "the same cell was run again, from something else"
    return ""


def _store_reason(system: System, store: Store, contents: dict[tuple[str, str], str | None]) -> str:
    for encoder, was in zip(system.encoders, system.store, strict=True):
        place = (system.corpus, encoder)
        if place not in contents:
            contents[place] = _content(store, *place)
        if contents[place] is None:
            return f"the store no longer holds {system.corpus}/{encoder}"
        if contents[place] != was:
            return f"{system.corpus}/{encoder} is no longer what it was made from"
    return ""


def _content(store: Store, corpus: str, encoder: str) -> str | None:
    if corpus not in store.corpora or encoder not in store.corpus(corpus).encoders:
        return None
    return store.corpus(corpus).encoder(encoder).content_hash()


def not_asked_for(systems: Sequence[System], planned: Plan) -> Reasons:
    """Return the runs of cells that are not in a plan, and whose result it does not take either."""
    slots, keys = _asked(planned)
    return {
        run.number: "the pipeline does not ask for it"
        for system in systems
        for run in system.runs
        if run.slot not in slots and run.key not in keys
    }


def remove(path: Path, numbers: Iterable[int]) -> int:
    """Remove runs with their predictions, and what only they used; return the bytes given back.

    Raises:
        StoreError: the file cannot be written.
    """
    before = path.stat().st_size
    try:
        with closing(sqlite3.connect(path, timeout=30)) as db:
            db.execute("PRAGMA foreign_keys=ON")
            with db:
                db.executemany("DELETE FROM experiments WHERE id = ?", [(number,) for number in numbers])
                db.execute("DELETE FROM splits WHERE id NOT IN (SELECT split FROM experiments)")
                db.execute(
                    "DELETE FROM clips WHERE id NOT IN (SELECT clips FROM experiments) "
                    "AND id NOT IN (SELECT clips FROM splits)"
                )
                db.execute("DELETE FROM meta WHERE name = 'report'")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreError(f"results {path}: could not be written: {error}. End the other writer, then again.") from error
    return max(0, before - path.stat().st_size)
