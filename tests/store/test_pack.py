"""A pack holds what was chosen and nothing that says where it came from; a folder and a .zip read the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register

from voxcache.errors import IntegrityError, SchemaError, StoreError, UnknownName
from voxcache.store import ColumnData, Products, create_store, open_store, register_clips
from voxcache.store.archive import archive_root
from voxcache.store.layout import update_attributes
from voxcache.store.pack import Selection, open_shared, pack, without_paths
from voxcache.store.verify import verify

MADE = Made()
PRODUCTS = Products(std=True, frames=(2,))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store with every product, in whose attributes absolute paths stand."""
    path = tmp_path_factory.mktemp("made") / "s.zarr"
    fill(register(path, MADE, PRODUCTS), MADE)
    corpus = create_store(path).corpus("corpus")
    update_attributes(
        corpus.group, {"notes": ["2 clips of /home/ann/rec/a.wav differ"], "homepage": "https://a.org/b/c"}
    )
    update_attributes(corpus.encoder("made").group, {"weights_origin": "local:/home/ann/My Models/w.pt"})
    speakers = np.array([f"ann {i % 2}" for i in range(MADE.n)], dtype=object)
    files = np.array([f"/data/ann/{i}.wav" for i in range(MADE.n)], dtype=object)
    register_clips(
        create_store(path),
        "corpus",
        clip=MADE.ids,
        sha256=MADE.hashes,
        n_samples=[16_000 + i for i in range(MADE.n)],
        columns=[ColumnData("speaker", "group", speakers), ColumnData("file", "meta", files)],
    )
    return path


@pytest.mark.parametrize("name", ["out.zarr", "out.zip"])
def test_a_pack_is_sound_and_equal(store: Path, tmp_path: Path, name: str) -> None:
    """Everything packed to a folder or a .zip verifies clean and gives the values of the store, frames included."""
    pack(store, tmp_path / name)
    packed = open_shared(tmp_path / name)
    assert verify(packed) == []
    encoder = packed.corpus("corpus").encoder("made")
    np.testing.assert_array_equal(encoder.pooled_all(), np.stack([MADE.pooled(row) for row in range(MADE.n)]))
    np.testing.assert_array_equal(encoder.pooled_std(1), encoder.pooled(1) * 2)
    np.testing.assert_array_equal(encoder.frames().read([7])[0], MADE.frames(7))
    assert list(encoder.ledger().reason[:4]) == ["", "", "made to fail", ""]
    assert packed.corpus("corpus").attrs["licence"] == "CC0-1.0"
    assert packed.uuid != open_store(store).uuid


def test_no_absolute_path_leaves(store: Path, tmp_path: Path) -> None:
    """Directories of the sender stand in no byte of the pack, addresses do, and what was shortened is named."""
    packed = pack(store, tmp_path / "out.zarr")
    everything = b"".join(file.read_bytes() for file in (tmp_path / "out.zarr").rglob("*") if file.is_file())
    for secret in (b"/home", b"ann/rec", b"My Models", b"/data", str(tmp_path).encode()):
        assert secret not in everything
    assert b"https://a.org/b/c" in everything
    assert open_store(tmp_path / "out.zarr").corpus("corpus").encoder("made").weights_origin == "local:w.pt"
    assert any("made.weights_origin" in line for line in packed.stripped)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/a.wav", "a.wav"),
        (r"C:\Users\ann\a.wav", "a.wav"),
        ("file:///home/ann/a.wav", "a.wav"),
        ("~/audio/a.wav", "a.wav"),
        ("cannot read '/home/ann/a.wav': no such file", "cannot read 'a.wav': no such file"),
        ("hub:facebook/wav2vec2-base@1a2b", "hub:facebook/wav2vec2-base@1a2b"),
        ("https://a.org/b", "https://a.org/b"),
        ("and/or, 1/2", "and/or, 1/2"),
        ("folder/a.wav", "folder/a.wav"),
    ],
)
def test_paths_are_cut_and_other_text_is_not(text: str, expected: str) -> None:
    """An absolute path of any system keeps its last part only; hub ids, addresses and relative ids stay."""
    assert without_paths(text) == expected


def test_a_selection_holds_that_and_no_more(store: Path, tmp_path: Path) -> None:
    """Without frames no frame is in the pack; without encoders only labels are; what is not there is refused by name."""
    pack(store, tmp_path / "pooled.zarr", Selection(corpora=("corpus",), encoders=("made",), frames=False))
    encoder = open_store(tmp_path / "pooled.zarr").corpus("corpus").encoder("made")
    assert (encoder.frame_layers, encoder.has_std) == ((), True)
    assert not (tmp_path / "pooled.zarr/corpus/made/frames").exists()
    pack(store, tmp_path / "labels.zarr", Selection(encoders=()))
    assert open_store(tmp_path / "labels.zarr").corpus("corpus").encoders == ()
    with pytest.raises(UnknownName, match=r"encoder 'mad': unknown, did you mean 'made'"):
        pack(store, tmp_path / "none.zarr", Selection(encoders=("mad",)))
    assert not (tmp_path / "none.zarr").exists()


def test_hashed_ids_can_be_matched_by_who_has_the_audio(store: Path, tmp_path: Path) -> None:
    """Ids, speakers, remarks and free columns name nobody; content hashes stay, and groups stay apart."""
    pack(store, tmp_path / "out.zarr", Selection(hash_ids=True))
    corpus = open_store(tmp_path / "out.zarr").corpus("corpus")
    everything = b"".join(file.read_bytes() for file in (tmp_path / "out.zarr").rglob("*") if file.is_file())
    assert not any(word in everything for word in (b"clip-0", b"ann", b"made to fail"))
    assert list(corpus.sha256) == MADE.hashes
    assert list(corpus.clip) == [hashlib.sha256(sha.encode()).hexdigest()[:16] for sha in MADE.hashes]
    assert sorted(corpus.columns) == ["arousal", "label", "speaker"]
    speakers = list(corpus.columns["speaker"].values)
    assert speakers == [speakers[i % 2] for i in range(MADE.n)]
    assert len(set(speakers)) == 2
    assert verify(open_store(tmp_path / "out.zarr")) == []


def test_the_manifest_lists_every_object(store: Path, tmp_path: Path) -> None:
    """Sizes and checksums of all files but the manifest itself stand in it, as a zip's reader finds them."""
    pack(store, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        content = {name: archive.read(name) for name in archive.namelist()}
    listed = json.loads(content.pop("manifest/zarr.json"))["attributes"]["objects"]
    assert listed == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()
    }


@pytest.mark.filterwarnings("error")
def test_plain_zarr_reads_the_zip(store: Path, tmp_path: Path) -> None:
    """A process that cannot import voxcache reads the .zip with zarr alone, and unzipped it opens as a folder."""
    pack(store, tmp_path / "out.zip")
    expected = open_store(store).corpus("corpus").encoder("made").pooled(1)
    np.save(tmp_path / "expected.npy", expected)
    code = f"""
import sys; sys.modules["voxcache"] = None
import numpy as np, zarr
root = zarr.open_group(zarr.storage.ZipStore({str(tmp_path / "out.zip")!r}, mode="r"), mode="r")
np.testing.assert_array_equal(root["corpus/made/pooled"][:, 1], np.load({str(tmp_path / "expected.npy")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "unzipped.zarr")
    np.testing.assert_array_equal(
        open_store(tmp_path / "unzipped.zarr").corpus("corpus").encoder("made").pooled(1), expected
    )


def test_a_damaged_store_or_a_taken_name_is_refused(store: Path, tmp_path: Path) -> None:
    """Damage is not packed under fresh digests, and nothing is overwritten."""
    fill(register(tmp_path / "s.zarr", MADE), MADE)
    shard = tmp_path / "s.zarr/corpus/made/pooled/c/0/0/0"
    other = tmp_path / "s.zarr/corpus/made/pooled/c/1/0/0"
    shard.write_bytes(other.read_bytes())
    with pytest.raises(IntegrityError, match="unit 0"):
        pack(tmp_path / "s.zarr", tmp_path / "out.zarr")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        pack(store, tmp_path / "taken")


@pytest.mark.parametrize("name", ["../up", "/etc/up", "C:/up", "a\\b"])
def test_a_zip_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    """Entries with parent, absolute or drive paths are named and nothing is read."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(SchemaError, match="lies outside"):
        archive_root(tmp_path / "x.zip")


def test_a_zip_that_could_swell_is_refused(tmp_path: Path) -> None:
    """A compressed entry is refused by name before it is read; so is a file that is no zip at all."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", bytes(10_000_000))
    with pytest.raises(SchemaError, match=r"'zarr.json': expected it stored, got it compressed"):
        archive_root(tmp_path / "x.zip")
    (tmp_path / "y.zip").write_bytes(b"not a zip")
    with pytest.raises(SchemaError, match="File is not a zip file"):
        archive_root(tmp_path / "y.zip")
