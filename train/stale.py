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
    newest = {run.slot: run.number for system in systems for run in sorted(system.runs, key=lambda run: run.number)}
    now = {} if planned is None else {e.slot: e.key for e in planned.experiments}
    contents: dict[tuple[str, str], str | None] = {}
    reasons: Reasons = {}
    for system in systems:
        why = "" if store is None else _store_reason(system, store, contents)
        for run in system.runs:
            reason = why or _own_reason(run, newest, now)
            if reason:
                reasons[run.number] = reason
    return reasons


def _own_reason(run: Run, newest: dict[str, int], now: dict[str, str]) -> str:
    if run.code != CODE_VERSION:
        return f"made by version {run.code} of the experiments' code, now {CODE_VERSION}"
    if newest[run.slot] != run.number:
        return "the same cell was run again, from something else"
    if now.get(run.slot, run.key) != run.key:
        return "clips, labels, groups or folds are no longer those it was made from"
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
    """Return the runs of cells that are not in a plan."""
    asked = {experiment.slot for experiment in planned.experiments}
    return {
        run.number: "the pipeline does not ask for it"
        for system in systems
        for run in system.runs
        if run.slot not in asked
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
