"""Published corpora: names and folders of the official releases become labels, speakers and metadata."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from bad_files import tone, write_wav

from voxcache.errors import ConfigError, UnknownName
from voxcache.extract.audio import FileIndex
from voxcache.extract.corpora import CORPORA, CorpusConfig, CorpusScan, scan_corpus

IOS = "0D1AD73E-4C5E-45F3-85C4-9A3CB71E8856"
ANDROID = "0c8f14a9-6999-485b-97a2-913c1cbf099c"

TREES: dict[str, dict[str, dict[str, str | float]]] = {
    "donate-a-cry": {
        f"hungry/{IOS}-1430742197-1.0-m-04-hu.wav": {
            "label": "hungry",
            "speaker": IOS,
            "sex": "m",
            "age": "0-4 weeks",
            "reason": "hu",
            "platform": "ios",
            "recorded": "1430742197",
        },
        f"discomfort/{ANDROID}-1431028888092-1.7-f-26-ch.wav": {
            "label": "discomfort",
            "speaker": ANDROID,
            "sex": "f",
            "age": "2-6 months",
            "reason": "ch",
            "platform": "android",
            "recorded": "1431028888",
        },
    },
    "asvp-esd": {
        "Audio/actor_12/03-01-06-01-02-12-02-01-01-16.wav": {
            "label": "fearful",
            "speaker": "actor-12",
            "channel": "speech",
            "intensity": "normal",
            "sex": "m",
            "age": "20-64",
            "source": "web",
            "language": "Chinese",
            "flag": "",
        },
        "Audio/actor_07/03-02-13-02-11-07-03-03-02-77.wav": {
            "label": "breath",
            "speaker": "actor-07",
            "channel": "non-speech",
            "intensity": "high",
            "sex": "f",
            "age": "under 20",
            "source": "film",
            "language": "English",
            "flag": "noisy",
        },
        "Audio/actor_07/03-02-24-02-11-07.wav": {
            "label": "sad",
            "speaker": "actor-07",
            "channel": "non-speech",
            "intensity": "high",
            "sex": "f",
            "age": "",
            "source": "",
            "language": "",
            "flag": "",
        },
    },
    "jnv": {
        "JNV/F1/F1_angry_00_F.wav": {
            "label": "angry",
            "speaker": "F1",
            "sex": "f",
            "utterance": "00",
            "session": "F",
        },
        "JNV/M2/M2_surprise_12_R.wav": {
            "label": "surprise",
            "speaker": "M2",
            "sex": "m",
            "utterance": "12",
            "session": "R",
        },
    },
    "vivae": {
        "full_set/S01_achievement_low_01.wav": {"label": "achievement", "speaker": "S01", "intensity": "low"},
        "full_set/S06_pain_peak_091.wav": {"label": "pain", "speaker": "S06", "intensity": "peak"},
    },
    "cnvve": {
        "raw/hush/p07/one.wav": {"label": "hush", "speaker": "p07"},
        "raw/ahem/p09/two.wav": {"label": "ahem", "speaker": "p09"},
    },
    "nonverbal-vocalization": {
        "coughing/0C1S_4_8_0_27_0_1_1.wav": {
            "label": "coughing",
            "speaker": "0C1S",
            "sex": "f",
            "age": "27",
            "place": "indoor",
            "quality": "low",
            "noise": "noisy",
        },
        "screaming/9CSA_15_1_1_17_1_0_0.wav": {
            "label": "screaming",
            "speaker": "9CSA",
            "sex": "m",
            "age": "17",
            "place": "outdoor",
            "quality": "high",
            "noise": "noiseless",
        },
    },
}
"""A few files of each release, by path, and what they say."""


def grow(root: Path, *names: str) -> Path:
    """Write tiny real audio at each path."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / name, tone(0.05, 16_000), 16_000)
    return root


def scan(adapter: str, root: Path, **options: object) -> CorpusScan:
    """Scan a folder with one adapter and options as pipeline.yaml would give them."""
    return scan_corpus("c", CorpusConfig.model_validate({"adapter": adapter, "root": root, **options}))


@pytest.mark.parametrize("adapter", TREES)
def test_names_become_values(tmp_path: Path, adapter: str) -> None:
    """Every file of a tree of the right shape has its values, one a column, and its audio is found."""
    found = scan(adapter, grow(tmp_path, *TREES[adapter]))
    assert {clip.clip: dict(clip.values) for clip in found.clips} == TREES[adapter]
    for clip in found.clips:
        assert set(clip.values) == {column.name for column in found.columns}
    assert [scanned.error for scanned in FileIndex(tmp_path / "i.sqlite").scan(found.clips)] == [None] * len(
        found.clips
    )


@pytest.mark.parametrize("adapter", [*TREES, "emotion-share"])
def test_a_release_says_where_it_is_from(adapter: str) -> None:
    """Licence, citation and homepage are stated, and reach the registry."""
    about = CORPORA.get(adapter).about
    assert about.licence
    assert len(about.citation) > 40
    assert about.homepage.startswith("http")


@pytest.mark.parametrize("adapter", TREES)
def test_a_tree_of_another_shape_is_refused(tmp_path: Path, adapter: str) -> None:
    """Audio named otherwise gives an error that says what was expected and where to get it."""
    grow(tmp_path, "some/where.wav")
    with pytest.raises(ConfigError, match=r"got 1 audio file and none named so\. Download the release from http"):
        scan(adapter, tmp_path)


@pytest.mark.parametrize(
    ("adapter", "published"), [("jnv", 420), ("vivae", 1085), ("donate-a-cry", 457), ("cnvve", 950)]
)
def test_counts_stand_beside_the_published_ones(tmp_path: Path, adapter: str, published: int) -> None:
    """The first note compares what was found with what was published."""
    found = scan(adapter, grow(tmp_path, *TREES[adapter]))
    assert found.notes[0].startswith(f"2 clips found, {published} published")


def test_files_that_do_not_belong_are_noted(tmp_path: Path) -> None:
    """Other audio in the tree is named in a note and left out."""
    found = scan("jnv", grow(tmp_path, *TREES["jnv"], "JNV/F1/backup.wav"))
    assert len(found.clips) == 2
    assert "1 file ignored, not named as in the release: JNV/F1/backup.wav" in found.notes


def test_vivae_counts_no_clip_twice(tmp_path: Path) -> None:
    """The core set repeats files of the full set: full leaves it out, core is it alone, counts say which."""
    names = ("S01_fear_low_01.wav", "S01_fear_low_02.wav")
    grow(tmp_path, *(f"full_set/{name}" for name in names), f"core_set/{names[0]}")
    full, core = scan("vivae", tmp_path), scan("vivae", tmp_path, subset="core")
    assert [clip.clip for clip in full.clips] == [f"full_set/{name}" for name in names]
    assert [clip.clip for clip in core.clips] == [f"core_set/{names[0]}"]
    assert "1 clip outside this subset" in full.notes
    assert core.notes[0].startswith("1 clip found, 480 published")


def test_asvp_esd_has_its_subsets(tmp_path: Path) -> None:
    """main leaves the babies out, speech and non-speech part it, babies is Bonus/, all is everything."""
    baby = "Bonus/actor_50/03-02-17-01-01-50-04-01-00.wav"
    grow(tmp_path, *TREES["asvp-esd"], baby)
    sizes = {
        part: len(scan("asvp-esd", tmp_path, subset=part).clips)
        for part in ("main", "speech", "non-speech", "babies", "all")
    }
    assert sizes == {"main": 3, "speech": 1, "non-speech": 2, "babies": 1, "all": 4}
    babies = scan("asvp-esd", tmp_path, subset="babies")
    assert (babies.clips[0].values["label"], babies.clips[0].values["speaker"]) == ("disgust", "baby-50")
    assert babies.notes[0] == "1 clip found, 1339 published"
    with pytest.raises(UnknownName, match="subset of asvp-esd 'nonspeech': unknown, did you mean 'non-speech'"):
        scan("asvp-esd", tmp_path, subset="nonspeech")


def test_asvp_esd_notes_codes_of_sounds(tmp_path: Path) -> None:
    """A name whose emotion field holds a kind of sound is labelled by its emotion, and said so."""
    notes = scan("asvp-esd", grow(tmp_path, *TREES["asvp-esd"])).notes
    assert any(
        note.startswith("1 file with the code of a sound in place of an emotion's: Audio/actor_07/03-02-24")
        for note in notes
    )


def test_cnvve_says_whether_speakers_are_known(tmp_path: Path) -> None:
    """Sub-folders are taken for speakers and counted; the cleaned edition has none, and its group is empty."""
    raw = scan("cnvve", grow(tmp_path / "raw", *TREES["cnvve"]))
    assert "2 sub-folders taken for speakers; 42 speakers were published" in raw.notes
    cleaned = scan("cnvve", grow(tmp_path / "cleaned", "hush/a.wav", "psst/b.wav"), subset="cleaned")
    assert {clip.values["speaker"] for clip in cleaned.clips} == {""}
    assert "no sub-folders: speakers are unknown in this edition, and folds may share them" in cleaned.notes


def test_a_label_against_its_folder_is_noted(tmp_path: Path) -> None:
    """Where name and folder disagree, the release's own rule decides, and the file is named."""
    found = scan("nonverbal-vocalization", grow(tmp_path, "yawning/0C1S_4_8_0_27_0_1_1.wav"))
    assert found.clips[0].values["label"] == "coughing"
    assert any("in the folder of another class" in note for note in found.notes)
    cry = scan("donate-a-cry", grow(tmp_path / "cry", f"tired/{IOS}-1430742197-1.0-m-04-hu.wav"))
    assert cry.clips[0].values["label"] == "tired"
    assert any("in another folder than their reason code says" in note for note in cry.notes)


EMOTIONS = "Anger,Boredom,Calmness,Concentration,Determination,Excitement,Interest,Sadness,Tiredness"


def shares(root: Path, **tables: list[str]) -> Path:
    """Write lab/<name>.csv with the release's header, and a tiny wav/ file for every row."""
    (root / "lab").mkdir(parents=True)
    for name, rows in tables.items():
        (root / "lab" / f"{name.replace('_', '.')}.csv").write_text("\n".join([f"filename,{EMOTIONS}", *rows]) + "\n")
        grow(root, *(f"wav/{row.split(',')[0]}" for row in rows))
    return root


def test_emotion_share_has_nine_targets_and_three_splits(tmp_path: Path) -> None:
    """Shares are floats, masked test labels NaN, the split a column, and the audio lies in wav/."""
    root = shares(
        tmp_path,
        train=["00001.wav," + ",".join(["0.25"] * 8) + ",1.0"],
        devel=["31746.wav," + ",".join(["0.5"] * 9)],
        test=["41671.wav," + ",".join("?" * 9)],
    )
    found = scan("emotion-share", root)
    assert [(column.name, column.role, column.kind) for column in found.columns][:-1] == [
        (name, "target", "float") for name in EMOTIONS.split(",")
    ]
    assert [(clip.clip, clip.values["split"]) for clip in found.clips] == [
        ("00001.wav", "train"),
        ("31746.wav", "dev"),
        ("41671.wav", "test"),
    ]
    assert (found.clips[0].values["Anger"], found.clips[0].values["Tiredness"]) == (0.25, 1.0)
    assert all(math.isnan(float(found.clips[2].values[name])) for name in EMOTIONS.split(","))
    assert found.clips[1].path == root / "wav" / "31746.wav"
    assert found.notes[1:3] == ("dev: 1 clips, 9925 known", "test: 1 clips, 10143 known, 1 without labels")


def test_emotion_share_prefers_unmasked_test_labels(tmp_path: Path) -> None:
    """Where test.unmasked.csv lies beside test.csv, its labels are used, and no clip comes twice."""
    root = shares(tmp_path, test=["1.wav," + ",".join("?" * 9)], test_unmasked=["1.wav," + ",".join(["0.5"] * 9)])
    assert [clip.values["Anger"] for clip in scan("emotion-share", root).clips] == [0.5]


def test_emotion_share_tells_every_problem(tmp_path: Path) -> None:
    """A missing column, a word for a number and a clip in two splits are all told."""
    root = shares(
        tmp_path, train=["1.wav," + ",".join(["0.5"] * 8) + ",much"], devel=["1.wav," + ",".join(["0.5"] * 9)]
    )
    (root / "lab" / "test.csv").write_text("filename,Anger\n2.wav,?\n")
    with pytest.raises(ConfigError) as caught:
        scan("emotion-share", root)
    told = "\n".join(caught.value.problems)
    assert "train.csv, row 2: expected a number or ? for Tiredness, got 'much'." in told
    assert "table test.csv: expected columns filename, Anger, Boredom" in told
    assert "clip 1.wav of train and clip 1.wav of dev: expected different clip ids, got the same" in told


def test_emotion_share_without_tables_is_refused(tmp_path: Path) -> None:
    """A folder with audio but no tables says which tables are expected."""
    grow(tmp_path, "wav/1.wav")
    with pytest.raises(
        ConfigError, match=r"expected lab/train\.csv, lab/devel\.csv and lab/test\.csv, got none of them"
    ):
        scan("emotion-share", tmp_path)


def test_the_real_donate_a_cry_is_read_whole(donate_a_cry: Path, tmp_path: Path) -> None:
    """457 clips by 221 app instances in five classes, 0.88 h as in voc2vec's table II, every file readable."""
    found = scan("donate-a-cry", donate_a_cry)
    assert found.notes[0] == "457 clips, as published"
    counts = Counter(str(clip.values["label"]) for clip in found.clips)
    assert counts == {"hungry": 382, "discomfort": 27, "tired": 24, "belly_pain": 16, "burping": 8}
    assert len({clip.values["speaker"] for clip in found.clips}) == 221
    scanned = FileIndex(tmp_path / "index.sqlite").scan(found.clips)
    assert [one.error for one in scanned if one.error] == []
    assert sum(one.n_samples for one in scanned) / 16_000 / 3600 == pytest.approx(0.88, abs=0.005)
