"""The same MLP on the same features and folds by nkululeko and by voxcache, each from its command line to its report.

    python -m venv nk && nk/bin/pip install nkululeko
    python benchmarks/nkululeko.py --python nk/bin/python [--ours vx/bin/python] [--clips 1085] [--dim 768] [--epochs 20]

nkululeko (MIT) is run as it stands in an environment of its own, once a fold, with features from a CSV file; voxcache once, from a
store. Both: one hidden layer of 256, ReLU, Adam at 1e-3, batches of 32, as many epochs, standardised features. UAR is of the last
epoch: nkululeko chooses its best epoch on the tested clips, which we do not; ours is of the epoch that the inner split
chose. Prints seconds and UAR of both. `--ours` names an environment with voxcache[train] alone: where UMAP is installed, too, the
report draws it beside t-SNE, and compiling it takes longer than everything else.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from voxcache.store import ColumnData, Products, UnitData, create_store, open_store, register_clips, register_encoder
from voxcache.train.config import TrainConfig
from voxcache.train.plan import plan

CLASSES, SPEAKERS = 6, 60
TRAIN = {"heads": ["mlp2"], "seeds": [0], "split": {"kind": "kfold", "folds": 5, "group": "speaker"}, "device": "cpu"}
INI = """
[EXP]
root = {root}
name = fold{fold}
epochs = {epochs}
runs = 1
save = False
[DATA]
databases = ['train', 'test']
train = {root}/train{fold}.csv
train.type = csv
train.split_strategy = train
test = {root}/test{fold}.csv
test.type = csv
test.split_strategy = test
target = label
labels = {labels}
[FEATS]
type = ['import']
import_file = ['{root}/features.csv']
scale = standard
[MODEL]
type = mlp
layers = {{'l1': 256}}
batch_size = 32
learning_rate = 0.001
optimizer = adam
save = False
device = cpu
random_seed = 1
"""


def write(folder: Path, n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Write a store of `n` clips whose class shows weakly; return features and labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, n)
    x = rng.normal(size=(n, dim)).astype(np.float32)
    x += 2.5 / np.sqrt(dim) * rng.normal(size=(CLASSES, dim)).astype(np.float32)[y]
    corpus, _ = register_clips(
        create_store(folder / "s.zarr"),
        "bench",
        clip=[f"{i:05d}" for i in range(n)],
        sha256=["0" * 64] * n,
        n_samples=[16_000] * n,
        columns=[
            ColumnData("label", "class", np.array([f"c{label}" for label in y])),
            ColumnData("speaker", "group", np.array([f"s{i % SPEAKERS}" for i in range(n)])),
        ],
    )
    none, about = np.zeros(n, dtype=np.int64), {"card": {}, "weights_origin": "none"}
    writer = register_encoder(
        corpus, "features", key={}, n_layers=1, dim=dim, n_frames=none, products=Products(), about=about
    )
    for unit, rows in writer.todo().items():
        ok, reason = np.ones(len(rows), np.uint8), np.full(len(rows), "", object)
        writer.commit(unit, rows, UnitData(ok, reason, x[rows][:, None], None, {}))
    return x, y


def write_tables(folder: Path, x: np.ndarray, y: np.ndarray, epochs: int) -> list[Path]:
    """Write nkululeko's tables and configurations for our folds; return the configurations."""
    config = TrainConfig.model_validate(TRAIN)
    split = plan(config, open_store(folder / "s.zarr")).corpora[0].split
    row = [f"/clips/{i:05d}.wav,0 days 00:00:00,0 days 00:00:01" for i in range(len(x))]
    names = ",".join(f"f{i}" for i in range(x.shape[1]))
    lines = [f"{row[i]},{','.join(map(repr, x[i].tolist()))}" for i in range(len(x))]
    (folder / "features.csv").write_text("\n".join([f"file,start,end,{names}", *lines, ""]))
    found = []
    for fold in range(split.n_folds):
        for part, rows in (("train", split.train(fold)), ("test", split.test(fold))):
            lines = [f"{row[i]},c{y[i]}" for i in rows]
            (folder / f"{part}{fold}.csv").write_text("\n".join(["file,start,end,label", *lines, ""]))
        found.append(folder / f"fold{fold}.ini")
        labels = [f"c{label}" for label in range(CLASSES)]
        found[-1].write_text(INI.format(root=folder, fold=fold, epochs=epochs, labels=labels))
    return found


def theirs(python: str, folder: Path, inis: list[Path]) -> float:
    """Run nkululeko fold after fold; return the mean UAR of the last epochs."""
    for ini in inis:
        command = [python, "-m", "nkululeko.nkululeko", "--config", str(ini)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            raise SystemExit(f"nkululeko, {ini.name}: ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = []
    for fold in range(len(inis)):
        (report,) = (folder / f"fold{fold}" / "results").glob("run_0/*_last_*.txt")
        found.append(json.loads(report.read_text().splitlines()[0])["macro avg"]["recall"])
    return float(np.mean(found))


def ours(python: str, folder: Path, epochs: int) -> float:
    """Run `voxcache train`; return the mean UAR."""
    lines = [
        f"store: {folder}/s.zarr",
        f"results: {folder}/ours",
        "train:",
        "  heads: [mlp2]",
        "  seeds: [0]",
        "  device: cpu",
        "  split: {kind: kfold, folds: 5, group: speaker}",
        f"  training: {{epochs: {epochs}, patience: {epochs}}}",
    ]
    (folder / "p.yaml").write_text("\n".join([*lines, ""]))
    command = [python, "-c", "from voxcache.cli import main; main()", "train", str(folder / "p.yaml"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"voxcache train: ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    with sqlite3.connect(folder / "ours" / "results.sqlite") as db:
        return float(db.execute("SELECT avg(uar) FROM experiments").fetchone()[0])


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment in which nkululeko is installed")
    parser.add_argument("--ours", default=sys.executable, help="of an environment in which voxcache is installed")
    parser.add_argument("--clips", type=int, default=1085)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    python, our_python = (str(Path(name).absolute()) for name in (options.python, options.ours))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inis = write_tables(folder, *write(folder, options.clips, options.dim), options.epochs)
        began = time.perf_counter()
        their_uar = theirs(python, folder, inis)
        middle = time.perf_counter()
        our_uar = ours(our_python, folder, options.epochs)
        their_s, our_s = middle - began, time.perf_counter() - middle
    print(f"nkululeko {their_s:.1f} s, UAR {100 * their_uar:.1f}; voxcache {our_s:.1f} s, UAR {100 * our_uar:.1f}")
    print(f"ratio of seconds {their_s / our_s:.1f}")


if __name__ == "__main__":
    main()
