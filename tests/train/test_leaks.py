"""Every claim that something leaks, or that nothing does, on corpora that have that leak, counted here by search."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import voxcache
from hypothesis import given
from hypothesis import strategies as st

from voxcache.store import ColumnData, open_store
from voxcache.store.read import Store
from voxcache.train.config import TrainConfig
from voxcache.train.grid import CorpusPlan
from voxcache.train.plan import plan
from voxcache.train.report.leaks import looked_for
from voxcache.train.run import run
from voxcache.train.sameaudio import Audio, originals

from .conftest import MadeCorpus

Make = Callable[..., Store]


def planned(store: Store, **config: Any) -> CorpusPlan:
    """Return the plan of the first corpus."""
    return plan(TrainConfig.model_validate({"heads": ["knn"], "seeds": [0], **config}), store).corpora[0]


def leaking(corpus: CorpusPlan, share: Callable[[int, int], bool]) -> int:
    """Count tested clips that share something with a clip that their fold trains on, pair by pair."""
    split = corpus.split
    return sum(
        any(share(int(clip), int(other)) for other in np.flatnonzero((split.fold != fold) & (split.fold > -3)))
        for fold in range(split.n_folds)
        for clip in split.test(fold)
    )


@dataclass(frozen=True)
class Copies(MadeCorpus):
    """Every third of the first 30 clips has its bytes again among the last ones, under another clip id."""

    n: int = 60
    other_label: bool = False

    def sha256(self, i: int) -> str:
        """Return the hash of the file that the clip is a copy of."""
        return f"a{self.of(i):03d}"

    def of(self, i: int) -> int:
        """Return the clip that a clip is a copy of, itself where it is none."""
        return i - 30 if i >= 30 and i % 3 == 0 else i

    def columns(self) -> list[ColumnData]:
        """Let copies have the speaker of their original."""
        given = super().columns()
        for column in given:
            if column.role == "group":
                column.values[:] = [column.values[self.of(i)] for i in range(self.n)]
            if column.role == "class" and not self.other_label:
                column.values[:] = [column.values[self.of(i)] for i in range(self.n)]
        return given


def same_bytes(corpus: CorpusPlan, store: Store) -> Callable[[int, int], bool]:
    """Return whether two clips have one content hash, read from the store."""
    hashes = store.corpus(corpus.name).sha256[corpus.clips.rows]
    return lambda a, b: bool(hashes[a] == hashes[b])


@pytest.mark.parametrize(
    "config",
    [{"split": {"group": "none"}}, {"split": {"kind": "predefined"}}, {"split": {"group": "none", "folds": 2}}],
    ids=["no groups", "predefined", "two folds"],
)
def test_copies_across_folds_are_counted_in_every_output(
    make_store: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any]
) -> None:
    """Dry run, console, HTML, Markdown and CSV name the tested clips whose bytes are trained on, as a search counts them."""
    store = make_store(Copies(split=lambda i: "train" if i < 30 else "test"))
    corpus = planned(store, **config)
    count = leaking(corpus, same_bytes(corpus, store))
    n_tested = int((corpus.split.fold >= 0).sum())
    assert count > 5
    made = TrainConfig.model_validate({"heads": ["knn"], "seeds": [0], "device": "cpu", **config})
    run(made, store, tmp_path / "out", dry_run=True)
    text = f"LEAK: {count} of {n_tested} tested clips hold audio that is also trained on"
    assert text in capsys.readouterr().out
    run(made, store, tmp_path / "out", quiet=True)
    assert text in capsys.readouterr().out
    assert text in (tmp_path / "out" / "report.md").read_text()
    assert f"LEAK: {count} of {n_tested} tested clips (" in (tmp_path / "out" / "report.html").read_text()
    assert "or an overlapping part of it" not in (tmp_path / "out" / "report.md").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert {(row["n_tested"], row["tested_audio_trained_on"]) for row in rows} == {(str(n_tested), str(count))}


@pytest.mark.parametrize("with_speakers", [True, False])
@pytest.mark.parametrize("kind", ["kfold", "logo"])
def test_copies_stay_in_one_fold_by_default(make_store: Make, with_speakers: bool, kind: str) -> None:
    """With speakers and without, no fold divides what shares its bytes; inner parts neither; and that is said."""
    if kind == "logo" and not with_speakers:
        pytest.skip("leaves a group out, of which there is none")
    store = make_store(Copies(with_speakers=with_speakers))
    corpus = planned(store, split={"kind": kind})
    share = same_bytes(corpus, store)
    assert leaking(corpus, share) == 0
    assert any(note.startswith("20 clips hold audio of another one") for note in corpus.notes)
    assert not any(note.startswith("LEAK") for note in corpus.notes)
    assert "or an overlapping part of it" in looked_for(corpus)
    from voxcache.train.splits import inner_split

    for fold in range(corpus.split.n_folds):
        train, inner = inner_split(corpus.clips, corpus.split, fold, seed=3, share=0.2)
        assert len(inner)
        assert not any(share(int(a), int(b)) for a in train for b in inner)


def test_a_speaker_under_two_names_is_one_where_audio_tells(make_store: Make) -> None:
    """Copies under another speaker's name join the two: neither speaker stands on both sides, and the names are given."""

    class Renamed(Copies):
        """The same, with the copies' own speakers."""

        def columns(self) -> list[ColumnData]:
            given = super().columns()
            speakers = next(column for column in given if column.role == "group").values
            speakers[:] = [f"t{i}" if i >= 30 else f"s{i // 3}" for i in range(self.n)]
            return given

    store = make_store(Renamed())
    corpus = planned(store, split={"folds": 3})
    assert leaking(corpus, same_bytes(corpus, store)) == 0
    assert corpus.split.leaked is not None
    assert corpus.split.leaked.sum() == 0
    (note,) = [note for note in corpus.notes if "several names of speaker" in note]
    assert note.startswith("20 clips hold audio that stands under several names of speaker ('s0', 's1'")


def test_speakers_are_counted_in_the_table(make_store: Make, tmp_path: Path) -> None:
    """`table.csv` holds the tested clips whose speaker is trained on: as a search counts them, and 0 where they are apart."""
    store = make_store()
    for group in ("none", "auto"):
        corpus = planned(store, split={"group": group})
        speakers = store.corpus("made").columns["speaker"].values[corpus.clips.rows]
        count = leaking(corpus, lambda a, b, of=speakers: bool(of[a] == of[b]))  # type: ignore[misc]
        made = TrainConfig.model_validate({"heads": ["knn"], "device": "cpu", "split": {"group": group}})
        run(made, store, tmp_path / group, quiet=True)
        rows = list(csv.DictReader(io.StringIO((tmp_path / group / "table.csv").read_text())))
        assert {row["tested_group_trained_on"] for row in rows} == {str(count)}
        assert (count > 0) == (group == "none")
        assert ("none shares with those trained on: a speaker by name" in looked_for(corpus)) == (group == "auto")


def test_without_hashes_nothing_is_claimed(make_store: Make) -> None:
    """Embeddings that were imported without hashes are not said to be free of copies."""

    class Unknown(MadeCorpus):
        """No content hash is known."""

        def sha256(self, i: int) -> str:
            return ""

    corpus = planned(make_store(Unknown()))
    assert any("60 clips have no content hash" in note for note in corpus.notes)
    assert "bytes of a file, or" not in looked_for(corpus)


def test_copies_by_name_are_a_guess_and_said_as_one(make_store: Make) -> None:
    """Names such as x_noise.wav beside x.wav are counted as a search counts them; grouped by original, nothing is said."""

    class Augmented(MadeCorpus):
        """Every second clip is an altered copy of the one before it."""

        def clip(self, i: int) -> str:
            return f"take {i // 2:02d}{'_noise10' if i % 2 else ''}.wav"

        def columns(self) -> list[ColumnData]:
            labels = np.array([self.classes[i // 2 % 3] for i in range(self.n)], dtype=object)
            source = np.array([f"take {i // 2:02d}" for i in range(self.n)], dtype=object)
            return [ColumnData("label", "class", labels), ColumnData("source", "meta", source)]

    store = make_store(Augmented())
    corpus = planned(store)
    count = leaking(corpus, lambda a, b: corpus.clips.ids[a][:7] == corpus.clips.ids[b][:7])
    (note,) = [note for note in corpus.notes if "altered copies" in note]
    assert note.startswith(f"{count} of 60 tested clips are named as if they were altered copies")
    assert count > 20
    assert not any("altered copies" in note for note in planned(store, split={"group": "source"}).notes)
    assert "altered copies" in looked_for(corpus)


def test_the_same_audio_in_two_corpora_is_said(make_store: Make) -> None:
    """Two corpora whose speakers have other names share 20 files: the plan says so; two that share none say nothing."""

    @dataclass(frozen=True)
    class Second(MadeCorpus):
        """Holds 20 files of the first corpus."""

        def sha256(self, i: int) -> str:
            return f"a{i:03d}" if i < 20 else f"b{i:03d}"

    store = make_store(MadeCorpus(), Second(name="second"), MadeCorpus(name="third", audio="c"))
    config = TrainConfig.model_validate({"heads": ["knn"]})
    (note,) = [note for note in plan(config, store).notes if "stand in" in note]
    assert note.startswith("20 clips of 'made' stand in 'second', too")
    assert not plan(TrainConfig.model_validate({"heads": ["knn"], "corpora": ["made", "third"]}), store).notes


def test_overlapping_parts_of_recordings_are_found_from_real_audio(tmp_path: Path) -> None:
    """Windows of two seconds every second, cut by a manifest and embedded: those that overlap are counted as a search of
    the manifest counts them with `group: none`; by default they are in one fold, neighbours that only touch are free."""
    rng = np.random.default_rng(0)
    lines = ["path,label,start_s,end_s"]
    bounds = {}
    for name in "abcdefgh":
        soundfile.write(tmp_path / f"{name}.wav", rng.normal(scale=0.1, size=6 * 16_000), 16_000)
        step = 1 if name in "abcd" else 2  # the second half of the files is cut without overlap
        for start in range(0, 5, step):
            lines.append(f"{name}.wav,{'xy'[len(lines) % 2]},{start},{start + 2}")
            bounds[f"{name}.wav@{float(start)!r}-{float(start + 2)!r}"] = (name, start, start + 2)
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.yaml").write_text("store: s.zarr\ncorpora: {mine: {manifest: clips.csv}}\nencoders: [mfcc]\n")
    voxcache("extract", "p.yaml", "--quiet", cwd=tmp_path)
    store = open_store(tmp_path / "s.zarr")

    def overlap(corpus: CorpusPlan) -> Callable[[int, int], bool]:
        spans = [bounds[str(clip)] for clip in corpus.clips.ids]
        return lambda a, b: spans[a][0] == spans[b][0] and spans[a][1] < spans[b][2] and spans[b][1] < spans[a][2]

    alone = planned(store, split={"group": "none"})
    count = leaking(alone, overlap(alone))
    assert count > 5
    assert any(note.startswith(f"LEAK: {count} of 32 tested clips hold audio") for note in alone.notes)
    together = planned(store)
    assert leaking(together, overlap(together)) == 0
    assert any(note.startswith("20 clips hold audio of another one") for note in together.notes)
    assert any("parts of recordings of which other parts are trained on" in note for note in together.notes)
    by_file = planned(store, split={"group": "file_sha256"})
    assert leaking(by_file, lambda a, b: by_file.clips.ids[a][0] == by_file.clips.ids[b][0]) == 0
    assert not any("other parts" in note for note in by_file.notes)


SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 6)), min_size=2, max_size=30)


@given(SPANS, st.randoms())
def test_audio_is_heard_exactly_where_spans_of_a_file_overlap(spans: list[tuple[int, int, int]], random: Any) -> None:
    """`heard` equals a search over pairs, and clips that share audio are linked."""
    file, start, length = (np.array(values, dtype=np.int64) for values in zip(*spans, strict=True))
    audio = Audio(file, start.astype(float), (start + length).astype(float), np.zeros(len(file), dtype=bool))
    pairs = (file[:, None] == file) & (start[:, None] < (start + length)) & (start < (start + length)[:, None])
    tested = np.array([random.random() < 0.5 for _ in spans])
    expected = (pairs[:, ~tested].any(1))[tested]
    assert audio.heard(np.flatnonzero(tested), np.flatnonzero(~tested)).tolist() == expected.tolist()
    assert (audio.linked[:, None] == audio.linked)[pairs].all()
    assert audio.shared.tolist() == (pairs.sum(1) > 1).tolist()


def test_names_of_copies_are_told_from_names_that_only_look_alike() -> None:
    """A suffix counts where the original or another copy is there, in the same folder and of the same kind of file."""
    ids = [
        "x/a.wav",
        "x/a_noise.wav",
        "x/a-pitch+2.wav",
        "y/a_noise.wav",
        "x/b_speed.wav",
        "x/b_sp0.9.wav",
        "x/c_mix.flac",
    ]
    number = originals(np.array(ids, dtype=object)).tolist()
    assert len({number[0], number[1]}) == 1
    assert number[4] == number[5]
    assert len({number[0], number[3], number[4], number[6]}) == 4
