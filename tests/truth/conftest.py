"""A grid run by the real command for each kind of split, of classes and of continuous targets."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from jackknife import degrees, expected

from voxcache.cli import app
from voxcache.store import ColumnData, Products, UnitData, create_store, register_clips, register_encoder

from .recomputed import Clips, by_fold, heads, kept, pooled, read_clips, refitted, share

SPLITS = {
    "kfold": "{folds: 4, group: none}",
    "grouped": "{folds: 3}",
    "logo": "{kind: logo}",
    "predefined": "{kind: predefined}",
    "own-folds": "{kind: predefined}",
}
KINDS = {"classes": ("label",), "targets": ("valence", "arousal")}
N = 66
SEEDS = (0, 3)


def command(*arguments: str | Path, cwd: Path) -> str:
    """Run `voxcache …` in this process, which spares the imports of each; return what it prints, 200 columns wide."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "200")
        app([str(argument) for argument in arguments], standalone_mode=False)
    return printed.getvalue()


def write_store(path: Path, split: str) -> None:
    """Write three classes of unequal size, seven speakers, two encoders; some labels lack, and one encoder failed twice."""
    rng = np.random.default_rng(11)
    y = rng.choice(3, size=N, p=[0.5, 0.35, 0.15])
    speaker = np.arange(N) % 7
    label = np.array(["angry", "calm", "sad"], dtype=object)[y]
    label[[5, 40, 41]] = ""
    valence, arousal = y + rng.normal(size=N), rng.normal(size=N) - y
    valence[17] = np.nan
    parts = (
        np.array(["train", "train", "dev", "test"], dtype=object)
        if split == "predefined"
        else np.array(["a", "b", "c"])
    )
    columns = [
        ColumnData("label", "class", label),
        ColumnData("speaker", "group", np.array([f"s{number}" for number in speaker], dtype=object)),
        ColumnData("valence", "target", valence),
        ColumnData("arousal", "target", arousal),
        ColumnData("split", "split", parts[rng.integers(0, len(parts), N)].astype(object)),
    ]
    ids = [f"take-{number:03d}" for number in rng.permutation(N)]
    corpus, _ = register_clips(
        create_store(path),
        "made",
        clip=ids,
        sha256=[f"{i:04x}" for i in range(N)],
        n_samples=[16_000] * N,
        columns=columns,
    )
    for index, name in enumerate(("one", "two")):
        key = {"weights": name, "dtype": "float32"}
        writer = register_encoder(
            corpus,
            name,
            key=key,
            n_layers=2,
            dim=9,
            n_frames=[3] * N,
            products=Products(),
            about={"card": {"name": name}, "weights_origin": "hub:made/up@1"},
        )
        values = (
            rng.normal(size=(N, 2, 9))
            + (1.0 - 0.4 * index) * rng.normal(size=(3, 2, 9))[y]
            + rng.normal(size=(7, 2, 9))[speaker]
        )
        failed = np.isin(np.arange(N), [8, 30]) if index else np.zeros(N, dtype=bool)
        for unit, rows in writer.todo().items():
            status = np.where(failed[rows], 2, 1).astype(np.uint8)
            reason = np.where(failed[rows], "no sound", "").astype(object)
            pooled = np.where(failed[rows][:, None, None], np.nan, values[rows]).astype(np.float32)
            writer.commit(unit, rows, UnitData(status=status, reason=reason, pooled=pooled))


@dataclass(frozen=True)
class Made:
    """What the command made, and the same figures recomputed.

    Attributes:
        folder: of the results; printed: what `voxcache train` printed.
        scores: of each seed and fold, by encoder and head.
        said: what heads that scikit-learn has say of each clip.
        runs: ids and what was said of them, of each seed.
    """

    kind: str
    split: str
    folder: Path
    printed: str
    clips: Clips
    scores: dict[tuple[str, str], list[list[dict[str, float]]]]
    said: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    runs: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)
    memory: dict[tuple[object, ...], tuple[float, float, float, float]] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its scores."""
        return tuple(next(iter(self.scores.values()))[0][0])

    def said_by(self, place: tuple[str, str]) -> list[np.ndarray]:
        """Return what each seed says, in the order of the clips; what is not tested is left as it is true."""
        row = {name: index for index, name in enumerate(self.clips.ids)}
        found = []
        for ids, said in self.runs[place]:
            whole = self.clips.y.copy()
            whole[[row[name] for name in ids]] = said
            found.append(whole)
        return found

    def estimated(self, places: list[tuple[str, str]], metric: str) -> tuple[float, float, float, float]:
        """Return value, low, high and p of a pooled score, or of the first system's minus the second's."""
        key = (*places, metric)
        if key not in self.memory:
            self.memory[key] = self._estimated(places, metric)
        return self.memory[key]

    def _estimated(self, places: list[tuple[str, str]], metric: str) -> tuple[float, float, float, float]:
        tested = np.isin(self.clips.fold, self.clips.folds)
        sides = [self.said_by(place) for place in places]

        def score(kept: np.ndarray) -> float:
            whole = np.zeros(len(tested), dtype=bool)
            whole[tested] = kept
            values = [np.mean([pooled(self.clips, metric, said, whole) for said in side]) for side in sides]
            return float(values[0] if len(values) == 1 else values[0] - values[1])

        return expected(score, share(self.clips, metric), self.clips.speaker[tested], self.clips.fold[tested])

    def refused(self, metric: str) -> bool:
        """Return whether too few speakers, or of one class too few, were tested for an interval."""
        tested = np.isin(self.clips.fold, self.clips.folds)
        y, speaker = self.clips.y[tested], self.clips.speaker[tested]
        rare = (
            self.kind == "classes" and metric != "accuracy" and min(len(set(speaker[y == name])) for name in set(y)) < 5
        )
        return len(set(speaker)) < 6 or rare or degrees(share(self.clips, metric), speaker) < 2

    def of(self, place: tuple[str, str], metric: str) -> np.ndarray:
        """Return a metric, float64 [seed, fold]."""
        return np.array([[fold[metric] for fold in seed] for seed in self.scores[place]])


@pytest.fixture(
    scope="session",
    params=[(kind, split) for kind in KINDS for split in SPLITS if (kind, split) != ("targets", "own-folds")],
    ids="-".join,
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Run the grid once and recompute it once."""
    kind, split = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{split}")
    write_store(folder / "s.zarr", split)
    names = "[logreg, knn, linear]" if kind == "classes" else "[ridge, knn, linear]"
    (folder / "p.yaml").write_text(
        f"store: s.zarr\nresults: out\ntrain: {{target: [{', '.join(KINDS[kind])}], heads: {names}, seeds: {list(SEEDS)}, "
        f"split: {SPLITS[split]}, training: {{epochs: 4}}, device: cpu}}\n".replace("target: [label]", "target: label")
    )
    command("folds", "p.yaml", "--out", "folds.csv", cwd=folder)
    printed = command("train", "p.yaml", "--quiet", cwd=folder)
    clips = read_clips(folder / "s.zarr", "made", folder / "folds.csv", KINDS[kind])
    said = {
        (encoder, name): refitted(clips, encoder, head)
        for encoder in clips.vectors
        for name, head in heads(clips).items()
    }
    tested = np.isin(clips.fold, clips.folds)
    runs = {place: [(clips.ids[tested], values[tested])] for place, values in said.items()}
    for encoder in clips.vectors:
        of_seeds = list(kept(folder / "out", encoder, "linear"))
        assert [seed for seed, _, _ in of_seeds] == list(SEEDS)
        runs[encoder, "linear"] = [(ids, values) for _, ids, values in of_seeds]
    found = {place: [by_fold(clips, *one) for one in seeds] for place, seeds in runs.items()}
    return Made(kind, split, folder / "out", printed, clips, found, said, runs)
