"""From audio to a kept head and back to audio, through the real command; and folds that leak, told by it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bad_files import tone, write_wav
from command import voxcache

import voxcache as package
from voxcache.errors import AudioError, KeyMismatch, VoxcacheError
from voxcache.extract import audio
from voxcache.extract.corpora.files import AUDIO_EXTENSIONS
from voxcache.predict import Head, _Embedded, audio_files, load_head
from voxcache.store import open_store


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tones, low or high, extracted with logmel and a small random network, and heads kept of them."""
    tmp_path, rows = tmp_path_factory.mktemp("project"), []
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    for index in range(12):
        label = ("low", "high")[index % 2]
        hz = 200 + 20 * index + (1500 if label == "high" else 0)
        write_wav(tmp_path / f"{index}.wav", tone(0.4 + 0.05 * index, 16_000, hz=hz), 16_000)
        rows.append((f"{index}.wav", label, f"s{index // 2}", index / 12 + (index % 2)))
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker", "height"), *rows])
    config = {
        "store": "s.zarr",
        "results": "out",
        "corpora": {"tones": {"manifest": "clips.csv"}},
        "encoders": ["logmel", {"name": "wav2vec2-mini", "frames": ["last"]}],
        "train": {
            "split": {"folds": 3},
            "heads": ["logreg"],
            "fusion": {"methods": [{"name": "late", "head": "logreg"}]},
            "seeds": [0],
        },
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(config))
    voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path, VOXCACHE_CACHE=cache)
    done = voxcache("train", "p.yaml", "--quiet", "--save", "heads", cwd=tmp_path, VOXCACHE_CACHE=cache)
    assert "kept heads/tones--logmel--logreg" in done.stdout
    return tmp_path


def test_a_kept_head_says_of_the_same_audio_what_the_store_says(project: Path) -> None:
    """Predictions from audio equal those from the stored embeddings, for heads and late fusions; tables, JSON and CSV agree."""
    for folder in sorted((project / "heads").iterdir()):
        head = load_head(folder, device="cpu")
        files = [str(project / f"{index}.wav") for index in range(12)]
        said = np.array([[one.values[name] for name in head.classes] for one in head.predict(files)])
        corpus = open_store(project / "s.zarr").corpus("tones")
        order = [list(corpus.clip).index(f"{index}.wav") for index in range(12)]
        stored = [corpus.encoder(item["encoder"]).pooled(item["layer"])[order] for item in head.saved.about["inputs"]]
        np.testing.assert_allclose(said, head.saved.predict_vectors(stored), atol=1e-4)
    head_folder = "heads/tones--logmel--logreg"
    found = json.loads(voxcache("predict", head_folder, "*.wav", "--json", cwd=project).stdout)
    assert [one["label"] for one in found if one["file"] == "1.wav"] == ["high"]
    table = list(csv.DictReader(voxcache("predict", head_folder, ".", "--csv", cwd=project).stdout.splitlines()))
    assert {row["file"]: row["label"] for row in table} == {one["file"]: one["label"] for one in found}
    assert "high" in voxcache("predict", head_folder, "0.wav", "1.wav", cwd=project).stdout


def test_bad_files_are_named_and_skipped(project: Path) -> None:
    """A file that is no audio is named with its reason and stops nothing; where no file can be used, the exit code is 1."""
    (project / "bad.wav").write_bytes(b"no audio at all")
    done = voxcache("predict", "heads/tones--logmel--logreg", "bad.wav", "1.wav", "--json", cwd=project)
    assert "skipped bad.wav: " in done.stderr
    bad, good = json.loads(done.stdout)
    assert bad["error"]
    assert not bad["values"]
    assert good["label"] == "high"
    none = voxcache("predict", "heads/tones--logmel--logreg", "bad.wav", cwd=project, code=1)
    assert "none of 1 files can be used" in none.stderr
    missing = voxcache("predict", "heads/tones--logmel--logreg", "gone-*.wav", cwd=project, code=2)
    assert "gone-*.wav: expected an audio file" in missing.stderr


def test_a_decoders_own_bug_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw is named beside its file, and the others are predicted (encoder and head are fakes)."""

    class Fake:
        classes, targets = ("high",), ()

        def embed(self, waves: list[np.ndarray | AudioError]) -> _Embedded:
            errors = [str(wave) if isinstance(wave, AudioError) else "" for wave in waves]
            return _Embedded(np.zeros((len(waves), 1)), errors, [""] * len(waves))

        def predict_vectors(self, vectors: list[np.ndarray]) -> np.ndarray:
            return np.ones((len(vectors[0]), 1))

    def buggy(path: Path, *_part: float | None) -> np.ndarray:
        if path.name == "0.wav":
            raise RuntimeError("thread pool is gone")
        return np.ones(16_000, np.float32)

    monkeypatch.setattr(audio, "load", buggy)
    fake: Any = Fake()
    bad, good = Head(fake)._block([tmp_path / "0.wav", tmp_path / "1.wav"], [fake])
    assert bad.error.startswith("0.wav: cannot be decoded (RuntimeError: thread pool is gone).")
    assert good.label == "high"


def test_a_folder_is_searched_for_what_corpora_take_for_audio(tmp_path: Path) -> None:
    """Every ending that a corpus in a folder may have is found, whatever its case, and nothing else."""
    names = {f"{ending[1:]}/x{ending.upper()}" for ending in AUDIO_EXTENSIONS}
    for name in (*names, "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {".wave", ".aifc", ".au", ".sph", ".w64", ".rf64"} <= AUDIO_EXTENSIONS
    assert {path.relative_to(tmp_path).as_posix() for path in audio_files([str(tmp_path)])} == names


def test_an_encoder_of_another_key_is_refused(project: Path) -> None:
    """With other weights than the head was fitted on, nothing is predicted, and the difference is told."""
    name = next(path for path in (project / "heads").iterdir() if path.name.startswith("tones--wav2vec2-mini"))
    about = json.loads((name / "head.json").read_text())
    stored = about["inputs"][0]["encoder"]
    saved = load_head(name).saved
    other = Head(saved, "cpu", {stored: {"name": "wav2vec2-mini", "seed": 5}})
    with pytest.raises(KeyMismatch, match=r"not the one that the head was fitted on .*weights: "):
        other.predict([project / "1.wav"])
    assert load_head(name, device="cpu").predict([project / "1.wav"])[0].label in ("low", "high")
    with pytest.raises(VoxcacheError):
        load_head(project)
    assert package.load_head is load_head


def test_folds_go_through_a_file_by_the_command(project: Path) -> None:
    """`voxcache folds --out` writes what `split: {from: …}` reads: the same folds, so that nothing is trained again."""
    assert "wrote folds.csv (12 clips)" in voxcache("folds", "p.yaml", "--out", "folds.csv", cwd=project).stdout
    config = yaml.safe_load((project / "p.yaml").read_text())
    config["train"]["split"] = {"from": "folds.csv"}
    (project / "q.yaml").write_text(yaml.safe_dump(config))
    shown = voxcache("train", "q.yaml", "--dry-run", cwd=project).stdout
    assert "3 folds of folds.csv" in shown
    text = (project / "folds.csv").read_text().splitlines()
    (project / "folds.csv").write_text("\n".join(text[:-1]) + "\n")
    refused = voxcache("train", "q.yaml", cwd=project, code=2)
    assert "1 clips with a label stand in the corpus but not in the file" in refused.stderr


def test_speaker_identity_is_at_chance_under_grouped_folds_alone(tmp_path: Path) -> None:
    """Sounds that carry the speaker and labels that follow the speaker: at chance with speakers kept apart, far above with
    random folds, and the console and the report say why, with the number of clips."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(["a", "b"] * 10)
    rows = []
    for speaker in range(20):
        for take in range(6):
            name = f"{speaker}-{take}.wav"
            hz = 300 * 1.13 ** ((7 * speaker) % 20) * rng.uniform(0.995, 1.005)
            write_wav(tmp_path / name, tone(0.3, 16_000, hz=hz), 16_000)
            rows.append((name, labels[speaker], f"s{speaker}"))
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    uar = {}
    for group in ("auto", "none"):
        config = {
            "store": "s.zarr",
            "results": f"out-{group}",
            "corpora": {"voices": {"manifest": "clips.csv"}},
            "encoders": ["logmel"],
            "train": {"heads": [{"name": "knn", "k": 3}], "seeds": [0], "split": {"group": group, "folds": 5}},
        }
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(config))
        if group == "auto":
            voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path)
        done = voxcache("train", "p.yaml", cwd=tmp_path)
        (row,) = csv.DictReader((tmp_path / f"out-{group}" / "table.csv").open())
        uar[group] = float(row["uar_mean"])
        assert ("LEAK: 120 of 120 tested clips have a clip of the same speaker" in done.stdout) == (group == "none")
        report = (tmp_path / f"out-{group}" / "report.html").read_text()
        assert ("LEAK: 120 of 120 tested clips" in report) == (group == "none")
    assert uar["auto"] < 0.65
    assert uar["none"] > 0.95
