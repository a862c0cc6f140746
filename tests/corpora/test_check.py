"""`voxcache corpus check` names everything that is wrong or odd about a corpus at once, with its row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from voxcache.cli_corpus import app
from voxcache.errors import ConfigError
from voxcache.extract.audio import FileIndex
from voxcache.extract.corpora import CorpusConfig
from voxcache.extract.corpora.check import check_corpus

ROWS = (
    "path,label,lable,speaker,start_s,end_s",
    "a.wav,Cry,x,s1,,",
    "b.wav,cry ,x,s1,,",
    "c.wav,laugh,x,s1,,",
    "gone.wav,cry,x,s1,,",
    "empty.wav,cry,x,s1,,",
    "folder,cry,x,s1,,",
    "a.wav,Cry,x,s1,,",
    "b.wav,cry,x,s1,3,2",
    "b.wav,cry,x,s1,soon,",
    "../up.wav,cry,x,s1,,",
    f"{'n' * 2000}.wav,cry,x,s1,,",
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A table with a fault in most rows, and some of its files."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "clips.csv").write_text("\n".join(ROWS) + "\n", encoding="utf-8")
    return tmp_path / "clips.csv"


def test_every_problem_is_listed_with_its_row(manifest: Path) -> None:
    """Missing, empty and double files, bounds, and names that leave or overrun the corpus come together, then what is odd."""
    found = check_corpus("mine", CorpusConfig(manifest=manifest))
    for start, end in (
        ("clips.csv, row 5: expected an audio file at ", "gone.wav, got nothing. Correct the path."),
        ("clips.csv, row 6: expected an audio file at ", "empty.wav, got an empty file. Correct the path."),
        ("clips.csv, row 7: expected an audio file at ", "folder, got a folder. Correct the path."),
        ("clips.csv, rows 2, 8: expected each clip once", "Delete all but one."),
        ("clips.csv, row 9: expected 0 <= start_s < end_s", "Correct the bounds."),
        ("clips.csv, row 10: expected start_s in seconds, got 'soon'", "leave it empty."),
        ("clips.csv, row 11: expected a clip id inside the corpus, got '../up.wav', which leaves its folder", "column clip."),
        ("clips.csv, row 12: expected a clip id inside the corpus", "longer than 1000 characters. Rename it, or give it "
         "another name in a column clip."),
    ):  # fmt: skip
        assert any(line.startswith(start) and line.endswith(end) for line in found.problems), (start, found.problems)
    remarks = "\n".join(found.remarks)
    assert "label: 'Cry' (2) and 'cry' (8) differ only in case, spaces or punctuation" in remarks
    assert "column 'lable' is kept as metadata, did you mean 'label'?" in remarks
    assert "speaker: one speaker only" in remarks
    assert "label 'laugh' occurs once" in remarks
    assert all(len(line) < 500 for line in (*found.problems, *found.remarks))


def test_all_are_listed_where_extraction_cuts_short(tmp_path: Path) -> None:
    """A fault in each of 70 rows is 70 problems."""
    rows = "\n".join(f"{i}.wav,x,?" for i in range(70))
    (tmp_path / "clips.csv").write_text(f"path,label,start_s\n{rows}\n")
    found = check_corpus("mine", CorpusConfig(manifest=tmp_path / "clips.csv"))
    assert sum("expected start_s" in problem for problem in found.problems) == 70


def test_the_audio_is_read_on_request(tmp_path: Path) -> None:
    """With a probe, a file that is no audio and a part beyond its end are problems of their rows; a good one is none."""
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "good.wav", np.full(16_000, 0.1), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    (tmp_path / "clips.csv").write_text("path,label,start_s,end_s\ngood.wav,x,,\nbad.wav,x,,\ngood.wav,x,5,6\n")
    found = check_corpus(
        "mine",
        CorpusConfig(manifest=tmp_path / "clips.csv"),
        lambda clips: [file.error for file in FileIndex(tmp_path / "index").scan(clips)],
    )
    assert [problem.split(":")[0] for problem in found.problems] == ["clips.csv, row 3", "clips.csv, row 4"]


def test_a_table_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """A missing file and a table without paths are told as extraction tells them."""
    assert "expected a file, found none" in check_corpus("m", CorpusConfig(manifest=tmp_path / "no.csv")).problems[0]
    (tmp_path / "clips.csv").write_text("file,label\na.wav,x\n")
    assert "expected a column 'path'" in check_corpus("m", CorpusConfig(manifest=tmp_path / "clips.csv")).problems[0]


def test_folders_are_checked_too(tmp_path: Path) -> None:
    """A corpus that is no manifest has its files and labels looked at by clip."""
    for label in ("laugh", "Laugh"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label}.wav").touch()
    found = check_corpus("mine", CorpusConfig(root=tmp_path))
    assert len(found.problems) == 2 or "differs only in case" in found.problems[0]


def test_column_names_that_a_store_confuses_are_refused(tmp_path: Path) -> None:
    """Names equal but for case or sign, of systems, or too long, are named with the table; nothing is overwritten silently."""
    (tmp_path / "clips.csv").write_text(f"path,label,F0,f0,sha256,sha256_,con,{'x' * 10_000}\na.wav,x,1,2,3,4,5,6\n")
    found = "\n".join(check_corpus("mine", CorpusConfig(manifest=tmp_path / "clips.csv")).problems)
    assert "manifest clips.csv: two columns would both be 'f0'" in found
    assert "manifest clips.csv: two columns would both be 'sha256_'" in found
    assert "manifest clips.csv: column name 'con': expected" in found
    assert "of 10000 characters: expected up to 100 letters" in found


def test_labels_in_either_unicode_form_are_one_class(tmp_path: Path) -> None:
    """An é in one character and an e with an accent behind it are the same label and the same clip id."""
    (tmp_path / "clips.csv").write_text("path,label\na.wav,caf\u00e9\nb.wav,cafe\u0301\n", encoding="utf-8")
    found = check_corpus("mine", CorpusConfig(manifest=tmp_path / "clips.csv"))
    assert not any("occurs once" in remark for remark in found.remarks)
    assert "label: one class only, 'caf\u00e9'" in "\n".join(found.remarks)


def test_the_command_says_it_and_its_exit_code_means_it(manifest: Path, tmp_path: Path) -> None:
    """Problems give exit code 2, their absence 0; columns can be named, a pipeline's corpora are all checked, JSON is JSON."""
    result = CliRunner().invoke(app, ["check", str(manifest)])
    assert result.exit_code == 2
    assert "note: column 'lable' is kept as metadata" in result.output
    assert "clips.csv: 11 clips, " in result.output
    good = tmp_path / "good.csv"
    good.write_text("path,emotion\na.wav,x\nb.wav,y\nc.wav,y\n")
    result = CliRunner().invoke(app, ["check", str(good), "--column", "label=emotion", "--json"])
    assert (result.exit_code, json.loads(result.output)[0]["n_clips"]) == (0, 3)
    (tmp_path / "mine.yaml").write_text(f"corpora:\n  one: {{manifest: {good}}}\n  two: {{manifest: {manifest}}}\n")
    result = CliRunner().invoke(app, ["check", str(tmp_path / "mine.yaml")])
    assert (result.exit_code, "one: 3 clips, no problem found" in result.output) == (2, True)
    wrong = CliRunner().invoke(app, ["check", str(good), "--column", "emotion"])
    assert isinstance(wrong.exception, ConfigError)
    assert "--column 'emotion': expected role=column" in str(wrong.exception)
