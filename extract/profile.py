"""Where the time of a run went, kept in the store's own attributes: beside the embeddings, not in them."""

from __future__ import annotations

from datetime import UTC, datetime

from ..store.layout import update_attributes
from ..store.location import place
from ..store.locks import registration_lock
from ..store.read import open_root
from ..store.schema import ATTRS
from .watch import Watch

KEPT = 20
"""Runs of which the profile is kept."""


def keep_profile(store: str, watch: Watch, worker: tuple[int, int] | None = None) -> None:
    """Add this run's profile to the store's list `runs`, the newest last."""
    entry: dict[str, object] = {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "devices": sorted(watch.devices),
        "seconds": round(watch.elapsed_s, 3),
        "profile": watch.profile(),
    }
    if worker is not None:
        entry["worker"] = f"{worker[0]}/{worker[1]}"
    if not watch.spent:
        return
    with registration_lock(place(store)):
        root = open_root(store, writable=True)
        held = root.attrs.get(ATTRS, {})
        runs = list(held.get("runs", ())) if isinstance(held, dict) else []
        update_attributes(root, {"runs": [*runs, entry][-KEPT:]})
