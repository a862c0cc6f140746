"""Choosing an adapter, folders of classes, and the made corpus."""

from __future__ import annotations

import os
import time
import wave
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_files import tone, write_wav
from pydantic import ValidationError

from voxcache.errors import ConfigError, UnknownName
from voxcache.extract.audio import content_hash, load
from voxcache.extract.corpora import CORPORA, Adapter, CorpusConfig, CorpusScan, scan_corpus
from voxcache.extract.corpora.synthetic import Plan, make
from voxcache.registry import Registry


def touch(root: Path, *names: str) -> None:
    """Make empty files; nothing in this module but the made corpus opens audio."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_every_adapter_of_the_papers_is_registered() -> None:
    """The corpora of the three papers, and the three general ways, are known by name."""
    assert set(CORPORA) >= {
        *("manifest", "folders", "synthetic", "donate-a-cry", "asvp-esd", "jnv", "vivae", "cnvve"),
        *("nonverbal-vocalization", "emotion-share"),
    }
    for name, adapter in CORPORA.items():
        assert adapter.name == name
        assert adapter.summary


def test_the_adapter_follows_from_what_is_given(tmp_path: Path) -> None:
    """A manifest means the manifest adapter, a root alone means folders, a name means that one."""
    touch(tmp_path, "x/a.wav")
    (tmp_path / "clips.csv").write_text("path,label\nx/a.wav,x\n")
    assert scan_corpus("c", CorpusConfig(manifest=tmp_path / "clips.csv")).adapter == "manifest"
    assert scan_corpus("c", CorpusConfig(root=tmp_path)).adapter == "folders"
    with pytest.raises(UnknownName, match=r"corpus adapter 'folder': unknown, did you mean 'folders'\?"):
        scan_corpus("c", CorpusConfig(adapter="folder", root=tmp_path))


def test_options_of_another_adapter_are_refused(tmp_path: Path) -> None:
    """An option the adapter would ignore is an error that names those it knows; a misspelt one never gets that far."""
    with pytest.raises(
        ConfigError, match="corpus c, n_speakers: expected an option of the adapter folders, which knows"
    ):
        scan_corpus("c", CorpusConfig(root=tmp_path, n_speakers=3))
    with pytest.raises(ValidationError, match="n_speaker"):
        CorpusConfig.model_validate({"adapter": "synthetic", "n_speaker": 3})


def test_a_licence_in_the_configuration_wins(tmp_path: Path) -> None:
    """What the user states of their own corpus is what the store will carry."""
    touch(tmp_path, "x/a.wav")
    found = scan_corpus("c", CorpusConfig(root=tmp_path, licence="CC-BY-4.0", citation="Me, 2024"))
    assert (found.licence, found.citation) == ("CC-BY-4.0", "Me, 2024")


@pytest.mark.parametrize(("root", "got"), [(None, "got none"), ("missing", "does not exist"), ("file", "got a file")])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, root: str | None, got: str) -> None:
    """No root, a missing one and a file each get a sentence."""
    touch(tmp_path, "file")
    with pytest.raises(ConfigError, match=got):
        scan_corpus("c", CorpusConfig(adapter="folders", root=root and tmp_path / root))


def test_folders_are_classes(tmp_path: Path) -> None:
    """The first folder is the label at any depth; every common ending counts, in either case."""
    touch(tmp_path, "cry/a.wav", "cry/deep/b.3gp", "laugh/c.CAF", "laugh/d.m4a", "laugh/e.opus", "laugh/f.mp4")
    found = scan_corpus("c", CorpusConfig(root=tmp_path))
    assert {clip.clip: clip.values["label"] for clip in found.clips} == {
        "cry/a.wav": "cry",
        "cry/deep/b.3gp": "cry",
        **{f"laugh/{name}": "laugh" for name in ("c.CAF", "d.m4a", "e.opus", "f.mp4")},
    }
    assert found.clips[1].path == tmp_path / "cry/deep/b.3gp"


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    """Other files are counted by ending, loose audio is counted, hidden files and archives' leavings are nothing."""
    touch(tmp_path, "x/a.wav", "x/b.wav", "y/c.wav", "loose.wav", "x/notes.txt", "x/README", "x/.hidden.wav")
    touch(tmp_path, ".git/d.wav", "__MACOSX/x/._a.wav")
    found = scan_corpus("c", CorpusConfig(root=tmp_path))
    assert [clip.clip for clip in found.clips] == ["x/a.wav", "x/b.wav", "y/c.wav"]
    assert found.notes == (
        "ignored 2 files not audio by their ending (1 .txt, 1 without an ending)",
        "label 'y' occurs once: no fold can both train and test it",
        "ignored 1 audio file outside class folders",
    )


def test_endings_can_be_chosen(tmp_path: Path) -> None:
    """With `extensions`, only those count, with or without a dot."""
    touch(tmp_path, "x/a.wav", "x/b.raw", "x/c.XYZ")
    found = scan_corpus("c", CorpusConfig(root=tmp_path, extensions=(".wav", "xyz")))
    assert [clip.clip for clip in found.clips] == ["x/a.wav", "x/c.XYZ"]


def test_folders_without_audio_are_refused(tmp_path: Path) -> None:
    """An empty tree says what was expected."""
    touch(tmp_path, "x/notes.txt", "loose.wav")
    with pytest.raises(ConfigError, match="expected a folder per class with audio"):
        scan_corpus("c", CorpusConfig(root=tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="the file system itself refuses it")
def test_names_that_differ_in_case_are_refused(tmp_path: Path) -> None:
    """Two clips that another file system would take for one cannot both be in a store."""
    touch(tmp_path, "x/a.wav", "x/A.wav")
    with pytest.raises(ConfigError, match="differs only in case"):
        scan_corpus("c", CorpusConfig(root=tmp_path))


SMALL = {"adapter": "synthetic", "n_speakers": 2, "clips_per_class_per_speaker": 1}


def test_the_made_corpus_is_the_same_every_time(tmp_path: Path) -> None:
    """Two folders get the same bytes; another seed gets others."""
    one, two, other = (
        scan_corpus("c", CorpusConfig(**SMALL, root=tmp_path / name, seed=seed))
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    hashes = [[content_hash(clip.path) for clip in found.clips] for found in (one, two, other)]
    assert hashes[0] == hashes[1]
    assert not set(hashes[0]) & set(hashes[2])
    assert [clip.values for clip in one.clips] == [clip.values for clip in two.clips]


def test_a_clip_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    """A corpus of more speakers and takes holds the smaller one's clips unchanged."""
    small = scan_corpus("c", CorpusConfig(**SMALL, root=tmp_path / "small"))
    large = scan_corpus(
        "c", CorpusConfig(adapter="synthetic", n_speakers=3, clips_per_class_per_speaker=2, root=tmp_path)
    )
    paths = {clip.clip: clip.path for clip in large.clips}
    for clip in small.clips:
        assert clip.path.read_bytes() == paths[clip.clip].read_bytes()


def test_only_what_is_absent_or_different_is_written(tmp_path: Path) -> None:
    """A second call touches nothing; a deleted and a damaged clip come back, the others stay."""
    plan = Plan(2, 1, 0)
    make(tmp_path, plan)
    files = sorted(tmp_path.rglob("*.wav"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    make(tmp_path, plan)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    files[0].unlink()
    files[1].write_bytes(b"damaged")
    make(tmp_path, plan)
    assert [path.read_bytes() == before[path][0] for path in files] == [True] * len(files)
    assert [path.stat().st_mtime_ns == before[path][1] for path in files[2:]] == [True] * (len(files) - 2)
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    """The index beside the clips is an aid; without it everything is made anew, the same."""
    plan = Plan(2, 1, 0)
    first = make(tmp_path, plan)
    (tmp_path / "index.json").write_text("[]")
    assert make(tmp_path, plan) == first


def test_the_default_corpus_has_the_promised_shape() -> None:
    """240 clips: 6 classes, 8 speakers, 0.4 to 3 s, 16 bit, none silent or clipped, made in under 5 s, in the cache."""
    start = time.process_time()
    found = scan_corpus("c", CorpusConfig(adapter="synthetic"))
    assert time.process_time() - start < 5
    assert Counter(str(clip.values["label"]) for clip in found.clips) == Counter(
        dict.fromkeys(("laugh", "cry", "scream", "moan", "sigh", "pant"), 40)
    )
    assert len({clip.values["speaker"] for clip in found.clips}) == 8
    for clip in found.clips:
        assert str(clip.path).startswith(os.environ["VOXCACHE_CACHE"])
        with wave.open(str(clip.path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22_050)
            assert 0.4 <= file.getnframes() / 22_050 <= 3.0
            peak = np.abs(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)).max()
        assert 3000 < peak < 32_767
        assert 0 <= float(clip.values["intensity"]) <= 1


def test_classes_and_speakers_can_be_told_apart_but_not_perfectly() -> None:
    """A linear probe on log-mel means is well above chance on unseen speakers, and well below perfect."""
    sklearn = pytest.importorskip("sklearn")
    assert sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = scan_corpus("c", CorpusConfig(adapter="synthetic"))
    features = np.stack([band_levels(load(clip.path)) for clip in found.clips])
    labels, speakers = ([str(clip.values[name]) for clip in found.clips] for name in ("label", "speaker"))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = cross_val_score(model, features, labels, groups=speakers, cv=GroupKFold(4)).mean()
    assert 0.5 < accuracy < 0.95
    assert cross_val_score(model, features, speakers, cv=4).mean() > 2 / 8


def band_levels(waveform: np.ndarray) -> np.ndarray:
    """Return mean and spread over time of the log power in 24 bands of equal width on a logarithmic scale."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.geomspace(2, 200, 25).astype(int)
    bands = np.log(np.stack([power[:, a : b + 1].sum(1) for a, b in pairwise(edges)], 1) + 1e-6)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_the_documented_adapter_works(tmp_path: Path) -> None:
    """The example in docs/corpora.md registers and scans as it is printed there."""
    page = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    touch(tmp_path, "bark_rex_1.wav", "whine_ada_2.wav")
    registry: Registry[Adapter] = Registry("corpus adapter", group="voxcache.none")
    names["register"](registry)
    found = registry.get("calls").scan("c", CorpusConfig(root=tmp_path))
    assert [dict(clip.values) for clip in found.clips] == [
        {"label": "bark", "speaker": "rex"},
        {"label": "whine", "speaker": "ada"},
    ]


def test_a_third_party_adapter_gets_its_options(tmp_path: Path) -> None:
    """An adapter that declares `options` is handed them; a built-in one refuses them."""
    write_wav(tmp_path / "a.wav", tone(0.1, 16_000), 16_000)

    def scan(name: str, config: CorpusConfig) -> CorpusScan:
        return CorpusScan(name, "ours", "", "", "", (), (), (f"depth {config.options['depth']}",))

    CORPORA.register("ours", Adapter(name="ours", summary="ours", scan=scan, options=frozenset({"options"})))
    try:
        assert scan_corpus("c", CorpusConfig(adapter="ours", options={"depth": 3})).notes == ("depth 3",)
    finally:
        del CORPORA._entries["ours"]
    with pytest.raises(ConfigError, match="corpus c, options: expected an option of the adapter folders"):
        scan_corpus("c", CorpusConfig(root=tmp_path, options={"depth": 3}))
