from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import voxcache
from made_store import Made, fill, register
from servers import Server, put, web_server

from voxcache.errors import ConfigError
from voxcache.store import create_store, open_store
from voxcache.store.merge import merge
from voxcache.store.pack import pack
from voxcache.store.verify import verify

pytest.importorskip("obstore")

SECRET = "wJalrXUtnFEMI-K7MDENG"
STORE = "s3://bucket/commands/cries.zarr"
PIPELINE = f"""
store: {STORE}
corpora:
  bursts: {{adapter: synthetic, n_speakers: 4, clips_per_class_per_speaker: 1, seed: 0}}
encoders: [logmel]
train: {{heads: [logreg], split: {{folds: 2, group: speaker}}, seeds: [0]}}
"""


def test_extract_to_a_bucket_and_train_from_it(s3: Server, tmp_path: Path) -> None:
    """Both stages run on S3; a second training fetches next to nothing; no key lands in any file or line."""
    (tmp_path / "p.yaml").write_text(PIPELINE)
    said = [voxcache("extract", "p.yaml", cwd=tmp_path).stdout]
    assert "24 of 24 ok" in voxcache("store", "status", STORE, cwd=tmp_path).stdout
    said += [voxcache("train", "p.yaml", cwd=tmp_path).stdout]
    (tmp_path / "cries.results").rename(tmp_path / "first.results")
    s3.traffic.clear()
    said += [voxcache("train", "p.yaml", cwd=tmp_path).stdout]
    fetched = [path for _, path in s3.traffic.requests if path != "/bucket"]
    assert set(fetched) == {"/bucket/commands/cries.zarr/zarr.json"}
    assert "nothing damaged" in voxcache("store", "verify", STORE, cwd=tmp_path).stdout
    assert SECRET not in "".join(said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_copies_are_written_to_this_machine(tmp_path: Path) -> None:
    """`pack` and `merge` into a URL are refused before anything is read."""
    with pytest.raises(ConfigError, match="expected a folder or file on this machine"):
        pack(tmp_path / "nothing.zarr", "s3://bucket/out.zarr")
    with pytest.raises(ConfigError, match="expected a folder or file on this machine"):
        merge([tmp_path / "nothing.zarr"], "s3://bucket/out.zarr")


def flip(s3: Server, key: str) -> None:
    """Change one bit of an object in the bucket with a client that is not ours."""
    boto3 = pytest.importorskip("boto3")
    raw = bytearray(boto3.client("s3", endpoint_url=s3.url).get_object(Bucket="bucket", Key=key)["Body"].read())
    raw[5] ^= 1
    put(s3, key, bytes(raw))


def keys(s3: Server) -> list[str]:
    """Return the names of all objects in the bucket, each behind a slash."""
    boto3 = pytest.importorskip("boto3")
    found = boto3.client("s3", endpoint_url=s3.url).get_paginator("list_objects_v2").paginate(Bucket="bucket")
    return [f"/{item['Key']}" for page in found for item in page.get("Contents", ())]


def test_labels_and_foreign_embeddings_go_into_a_bucket(s3: Server, tmp_path: Path) -> None:
    """`store label` and `store import` write to S3 what they write to a folder, and leave no lock."""
    where, made = "s3://bucket/labelled/s.zarr", Made()
    fill(register(where, made), made)  # type: ignore[arg-type]
    rows = [f"{clip},{'ab'[i % 2]},{i / 4}" for i, clip in enumerate(made.ids)]
    (tmp_path / "moods.csv").write_text("\n".join(["clip,mood,level", *rows]))
    voxcache("store", "label", where, "corpus", "moods.csv", "--class", "mood", "--target", "level", cwd=tmp_path)
    values = np.random.default_rng(0).normal(size=(made.n, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    (tmp_path / "ids.txt").write_text("\n".join(made.ids))
    voxcache("store", "import", where, "corpus", "old", "x.npy", "--ids", "ids.txt", cwd=tmp_path)
    corpus = open_store(where).corpus("corpus")
    assert list(corpus.columns["mood"].values) == ["ab"[i % 2] for i in range(made.n)]
    np.testing.assert_array_equal(corpus.columns["level"].values, np.arange(made.n) / 4)
    np.testing.assert_array_equal(corpus.encoder("old").pooled(), values)
    np.testing.assert_array_equal(corpus.encoder("made").pooled(1)[10], made.pooled(10)[1])
    assert "nothing damaged" in voxcache("store", "verify", where, cwd=tmp_path).stdout
    assert "/labelled/.s.zarr.lock" not in keys(s3)


def test_damage_in_a_bucket_is_repaired(s3: Server, tmp_path: Path) -> None:
    """`verify --repair` computes a damaged unit in S3 again, fills a damaged column again, and nothing else is done."""
    where = "s3://bucket/repaired/cries.zarr"
    (tmp_path / "p.yaml").write_text(PIPELINE.replace(STORE, where) + "extract: {unit_clips: 8}\n")
    voxcache("extract", "p.yaml", cwd=tmp_path)
    before = open_store(where).corpus("bursts")
    pooled, labels = before.encoder("logmel").pooled(), list(before.columns["label"].values)
    flip(s3, "repaired/cries.zarr/bursts/logmel/pooled/c/1/0/0")
    flip(s3, "repaired/cries.zarr/bursts/label/c/0")
    done = voxcache("store", "verify", where, "--repair", "p.yaml", cwd=tmp_path)
    assert f"{where}: 2 damaged" in done.stdout
    assert f"{where}: repaired; every object read, nothing damaged" in done.stdout
    assert "bursts x logmel: 8 of 24 clips to embed" in done.stderr
    after = open_store(where).corpus("bursts")
    np.testing.assert_array_equal(after.encoder("logmel").pooled(), pooled)
    assert list(after.columns["label"].values) == labels
    assert "/repaired/.cries.zarr.lock" not in keys(s3)


def test_what_cannot_be_written_to_is_refused(s3: Server, tmp_path: Path) -> None:
    """Label, import and repair of a store behind a web server or in a remote .zip end with a sentence, code 2 or 3."""
    made = Made()
    fill(register(tmp_path / "w" / "s.zarr", made), made)
    pack(tmp_path / "w" / "s.zarr", tmp_path / "w" / "s.zip")
    put(s3, "refused/s.zip", (tmp_path / "w" / "s.zip").read_bytes())
    shard = tmp_path / "w/s.zarr/corpus/made/pooled/c/1/0/0"
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    (tmp_path / "l.csv").write_text(f"clip,mood\n{made.ids[0]},a")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    np.save(tmp_path / "x.npy", np.zeros((made.n, 5), np.float32))
    (tmp_path / "ids.txt").write_text("\n".join(made.ids))
    into = ("x.npy", "--ids", "ids.txt")
    with web_server(tmp_path / "w") as web:
        folder = f"{web.url}/s.zarr"
        said = [
            voxcache("store", "label", folder, "corpus", "l.csv", cwd=tmp_path, code=3),
            voxcache("store", "import", folder, "corpus", "old", *into, cwd=tmp_path, code=3),
            voxcache("store", "verify", folder, "--repair", "p.yaml", cwd=tmp_path, code=3),
            voxcache("store", "label", "s3://bucket/refused/s.zip", "corpus", "l.csv", cwd=tmp_path, code=3),
            voxcache("store", "import", "s3://bucket/refused/s.zip", "corpus", "old", *into, cwd=tmp_path, code=2),
        ]
    assert all("can be read, not written to. " in done.stderr for done in said[:4])
    assert "one file cannot be added to" in said[4].stderr
    assert "/refused/.s.zip.lock" not in keys(s3)


def test_a_pack_in_a_bucket_that_is_written_to_is_a_pack_no_more(s3: Server, tmp_path: Path) -> None:
    """Opening a packed store on S3 for writing removes its manifest, which would call every addition damage."""
    made, where = Made(), "s3://bucket/packed/s.zarr"
    fill(register(tmp_path / "s.zarr", made), made)
    pack(tmp_path / "s.zarr", tmp_path / "pack")
    for file in (tmp_path / "pack").rglob("*"):
        if file.is_file():
            put(s3, f"packed/s.zarr/{file.relative_to(tmp_path / 'pack').as_posix()}", file.read_bytes())
    store = open_store(where)
    assert "manifest" in store.group
    assert verify(store) == []
    create_store(where)
    assert not any("/packed/s.zarr/manifest" in key for key in keys(s3))
    fill(register(where, replace(made, n=made.n + 3)), replace(made, n=made.n + 3))  # type: ignore[arg-type]
    assert verify(open_store(where)) == []


def test_without_obstore_a_url_is_refused_with_what_to_install(tmp_path: Path) -> None:
    """Where the package is absent, reading and writing say which extra brings it, with code 3 and without a traceback."""
    (tmp_path / "without" / "obstore").mkdir(parents=True)
    (tmp_path / "without" / "obstore" / "__init__.py").write_text("raise ImportError('absent')")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    for command in (("store", "status", STORE), ("extract", "p.yaml"), ("train", "p.yaml")):
        done = voxcache(*command, cwd=tmp_path, code=3, PYTHONPATH=str(tmp_path / "without"))
        assert "needs obstore, which is not installed. `pip install 'voxcache[remote]'` brings it." in done.stderr
        assert "Traceback" not in done.stderr
