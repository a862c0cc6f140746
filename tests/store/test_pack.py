"""A pack holds what was chosen and nothing that says where it came from; a folder and a .zip read the same."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_store import Made, fill, register
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from voxcache.errors import ConfigError, IntegrityError, KeyMismatch, SchemaError, StoreError, UnknownName
from voxcache.store import ColumnData, Products, create_store, open_store, register_clips
from voxcache.store.archive import archive_root
from voxcache.store.checksums import read_manifest
from voxcache.store.labels import label
from voxcache.store.layout import update_attributes
from voxcache.store.merge import merge
from voxcache.store.pack import Selection, pack, parse_layers, without_paths
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


@pytest.mark.parametrize("name", ["out.zarr", "out.zip", "out.h5"])
def test_a_pack_is_sound_and_equal(store: Path, tmp_path: Path, name: str) -> None:
    """Everything packed to a folder, a .zip or an .h5 verifies clean and gives the values of the store, frames included."""
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    pack(store, tmp_path / name)
    packed = open_store(tmp_path / name)
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
    """Sizes and checksums of all files but the manifest's own stand in it, as a zip's reader finds them."""
    pack(store, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        content = {name: archive.read(name) for name in archive.namelist() if not name.startswith("manifest/")}
        text = archive.read("manifest/sha256sums/c/0").decode()
    listed = read_manifest(open_store(tmp_path / "out.zip").group)
    assert listed is not None
    assert listed.names == tuple(sorted(content))
    assert listed.n_bytes == tuple(len(content[name]) for name in listed.names)
    assert text == "".join(f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in listed.names)


def test_sha256sum_and_verify_find_what_changed_on_the_way(store: Path, tmp_path: Path) -> None:
    """Both say a pack is whole, and name the one file of which a byte, even an unread one, is another."""
    packed = pack(store, tmp_path / "out.zarr")
    (tmp_path / "out.zarr/corpus/label/c/0").write_bytes(b"")
    done = subprocess.run(
        ["sha256sum", "--quiet", "-c", packed.sums.relative_to(tmp_path / "out.zarr")],
        cwd=tmp_path / "out.zarr",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "corpus/label/c/0: FAILED\n"
    assert any(
        line.startswith("manifest, corpus/label/c/0") for line in map(str, verify(open_store(tmp_path / "out.zarr")))
    )
    for name in ("out.zip", "out.h5"):
        one = pack(store, tmp_path / name)
        assert subprocess.run(["sha256sum", "-c", one.sums.name], cwd=tmp_path, check=True, capture_output=True).stdout
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"x")
        assert subprocess.run(
            ["sha256sum", "-c", one.sums.name], cwd=tmp_path, check=False, capture_output=True
        ).returncode


def test_a_pack_that_is_added_to_is_one_no_more(store: Path, tmp_path: Path) -> None:
    """Labels written into a packed folder are not damage: its manifest goes when it is opened for writing."""
    pack(store, tmp_path / "out.zarr")
    (tmp_path / "labels.csv").write_text("clip,mood\nclip-000.wav,sad\n")
    label(tmp_path / "out.zarr", "corpus", tmp_path / "labels.csv")
    assert not (tmp_path / "out.zarr/manifest").exists()
    assert verify(open_store(tmp_path / "out.zarr")) == []


@pytest.mark.parametrize("name", ["out.zarr", "out.h5"])
def test_some_layers_keep_their_numbers(store: Path, tmp_path: Path, name: str) -> None:
    """Layers 0 and 2 of three are read as 0, 2 and last; layer 1 is refused by name; key, digests and frames are true."""
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    pack(store, tmp_path / name, Selection(layers={"": (0, -1)}))
    packed = open_store(tmp_path / name)
    assert verify(packed) == []
    whole, cut = (one.corpus("corpus").encoder("made") for one in (open_store(store), packed))
    assert (cut.layers, cut.n_layers, cut.key_hash) == ((0, 2), 3, whole.key_hash)
    assert list(cut._read("layer")) == [0, 2]
    for layer in (0, 2, -1):
        np.testing.assert_array_equal(cut.pooled(layer), whole.pooled(layer))
        np.testing.assert_array_equal(cut.pooled_std(layer), whole.pooled_std(layer))
    np.testing.assert_array_equal(cut.pooled_all(), whole.pooled_all()[:, [0, 2]])
    np.testing.assert_array_equal(cut.frames(2).read([7])[0], MADE.frames(7))
    for layer in (1, -2):
        with pytest.raises(StoreError, match=r"holds layers 0, 2 of 0 to 2, not layer 1\. Take one of these"):
            cut.pooled(layer)
    pack(tmp_path / name, tmp_path / f"again-{name}", Selection(layers={"made": (0,)}))
    assert verify(open_store(tmp_path / f"again-{name}")) == []
    again = open_store(tmp_path / f"again-{name}").corpus("corpus").encoder("made")
    assert (again.layers, again.frame_layers) == ((0,), ())
    np.testing.assert_array_equal(again.pooled(0), whole.pooled(0))


def test_layers_that_are_not_there_are_refused(store: Path, tmp_path: Path) -> None:
    """A layer no encoder holds, and one asked of an encoder by name, are named; nothing is written."""
    for layers, message in (
        ({"": (7,)}, "expected layers among 0, 1, 2, got 7"),
        ({"made": (0, 7)}, "expected layers among 0, 1, 2, got 7"),
        ({"maid": (0,)}, "encoder 'maid': unknown, did you mean 'made'"),
    ):
        with pytest.raises(ConfigError, match=message):
            pack(store, tmp_path / "out.zarr", Selection(layers=layers))
    with pytest.raises(ConfigError, match="--layer 'made=first': expected a number, last"):
        parse_layers(["made=first"])
    assert parse_layers(["3", "made=last", "made=1"]) == {"": (3,), "made": (-1, 1)}
    assert list(tmp_path.glob("out*")) == []


def test_merging_and_extending_respect_the_layers(store: Path, tmp_path: Path) -> None:
    """Cut packs of the same layers merge; other layers are a contradiction by name; a new encoder's room is not mixed up."""
    for name, layers in (("a", (0, 2)), ("b", (0, 2)), ("c", (1,))):
        pack(store, tmp_path / f"{name}.zarr", Selection(layers={"": layers}, hash_ids=name == "b"))
    merge([tmp_path / "b.zarr"], tmp_path / "a.zarr")
    merged = open_store(tmp_path / "a.zarr")
    assert verify(merged) == []
    encoder = merged.corpus("corpus").encoder("made")
    assert (merged.corpus("corpus").n_clips, encoder.layers) == (22, (0, 2))
    np.testing.assert_array_equal(encoder.pooled(2)[11:], encoder.pooled(2)[:11])
    with pytest.raises(StoreError, match=r"layers held: 0, 2 in .*, 1 in "):
        merge([tmp_path / "c.zarr"], tmp_path / "a.zarr")
    with pytest.raises(KeyMismatch, match="holds layers 0, 2 of 0 to 2 only"):
        register(tmp_path / "a.zarr", MADE)


def test_h5py_alone_reads_the_h5(store: Path, tmp_path: Path) -> None:
    """A process that can import neither voxcache nor zarr reads values, ids, labels, layer numbers and the card with h5py."""
    pytest.importorskip("h5py")
    pack(store, tmp_path / "out.h5", Selection(layers={"": (1, 2)}))
    encoder = open_store(store).corpus("corpus").encoder("made")
    np.save(tmp_path / "expected.npy", encoder.pooled(1))
    np.save(tmp_path / "frames.npy", MADE.frames(7))
    code = f"""
import json, sys; sys.modules["voxcache"] = sys.modules["zarr"] = None
import h5py, numpy as np
with h5py.File({str(tmp_path / "out.h5")!r}) as file:
    made = file["corpus/made"]
    place = list(made["layer"]).index(1)
    np.testing.assert_array_equal(made["pooled"][:, place], np.load({str(tmp_path / "expected.npy")!r}))
    start, length = made["frames/start"][7], made["frames/length"][7]
    np.testing.assert_array_equal(made["frames/layer_02"][start:start + length], np.load({str(tmp_path / "frames.npy")!r}))
    assert list(made["clip"].asstr()) == list(file["corpus/clip"].asstr()) == {MADE.ids!r}
    assert file["corpus/label"].asstr()[4] == "class 1" and file["corpus/label"].attrs["role"] == "class"
    about = json.loads(made.attrs["voxcache"])
    assert about["layers"] == [1, 2] and about["key"]["dtype"] == "float32"
    assert json.loads(file["corpus"].attrs["voxcache"])["licence"] == "CC0-1.0"
    assert [axis.label for axis in made["pooled"].dims] == ["clip", "layer", "feature"] and made["pooled"].fletcher32
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_h5_stands_for_every_object(store: Path, tmp_path: Path) -> None:
    """Each object of the packed folder comes out of the .h5, whole or in parts, so that all arrays are equal; others do not."""
    pytest.importorskip("h5py")
    pack(store, tmp_path / "out.zarr")
    pack(tmp_path / "out.zarr", tmp_path / "again.h5")
    root = open_store(tmp_path / "again.h5").group
    h5, prototype = root.store_path.store, default_buffer_prototype()
    for item in (file for file in (tmp_path / "out.zarr/corpus/made").rglob("*") if file.name != "zarr.json"):
        if item.is_file():
            found = sync(h5.get(item.relative_to(tmp_path / "out.zarr").as_posix(), prototype))
            assert found is not None, item
    for name in ("pooled", "pooled_std", "frames/layer_02", "frames/start", "digest/pooled", "done/layer_02", "status"):
        expected = np.asarray(open_store(tmp_path / "out.zarr").group[f"corpus/made/{name}"])
        np.testing.assert_array_equal(np.asarray(root[f"corpus/made/{name}"]), expected)
    key = "corpus/made/pooled/c/0/0/0"
    whole = sync(h5.get(key, prototype)).to_bytes()
    for part, expected in (
        (RangeByteRequest(3, 9), whole[3:9]),
        (OffsetByteRequest(5), whole[5:]),
        (SuffixByteRequest(4), whole[-4:]),
    ):
        found = sync(h5.get(key, prototype, part))
        assert found is not None
        assert found.to_bytes() == expected
    for absent in ("corpus/made/pooled/c/9/0/0", "corpus/made/pooled/c/0", "corpus/none/c/0", "corpus/made/c/0"):
        assert sync(h5.get(absent, prototype)) is None


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
