"""Manifests: what is read, what is noted, and every problem at once with its row."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path

import pytest

from voxcache.errors import ConfigError
from voxcache.extract.corpora import Column, CorpusConfig, CorpusScan, scan_corpus


def write(path: Path, *lines: str) -> Path:
    """Write a table of text and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def scan(path: Path, **options: object) -> CorpusScan:
    """Scan a manifest with options as pipeline.yaml would give them."""
    return scan_corpus("mine", CorpusConfig.model_validate({"manifest": path, **options}))


def problems(path: Path, **options: object) -> tuple[str, ...]:
    """Return what is told of a manifest that is refused."""
    with pytest.raises(ConfigError) as caught:
        scan(path, **options)
    return caught.value.problems


def test_columns_become_roles(tmp_path: Path) -> None:
    """path, label, speaker, split and bounds have their meaning, targets are numbers, the rest is metadata."""
    path = write(
        tmp_path / "clips.csv",
        "path,label,speaker,split,start_s,end_s,valence,mood",
        "a/x.wav,cry,s1,train,0.5,1.25,-0.5,low",
        "b.wav,cry,s2,test,,,1e-1,",
    )
    found = scan(path, targets=["valence"])
    assert [(column.name, column.role, column.kind) for column in found.columns] == [
        ("label", "class", "string"),
        ("speaker", "group", "string"),
        ("split", "split", "string"),
        ("valence", "target", "float"),
        ("mood", "meta", "string"),
    ]
    first, second = found.clips
    assert (first.clip, first.path) == ("a/x.wav@0.5-1.25", tmp_path / "a/x.wav")
    assert (first.start_s, first.end_s) == (0.5, 1.25)
    assert dict(first.values) == {"label": "cry", "speaker": "s1", "split": "train", "valence": -0.5, "mood": "low"}
    assert (second.clip, second.start_s, second.end_s, second.values["valence"]) == ("b.wav", None, None, 0.1)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    """Commas, the semicolons of European spreadsheets and tabs are told by the header, with or without a byte mark."""
    rows = [separator.join(row) for row in (("path", "label"), ("a.wav", "x"), ("b.wav", "x"))]
    path = tmp_path / "clips.txt"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    assert [clip.values["label"] for clip in scan(path).clips] == ["x", "x"]


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    """The same table as Parquet, with numbers as numbers and nulls, reads as the same corpus."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    csv = write(tmp_path / "clips.csv", "path,label,start_s,age", "a.wav,x,1.5,3", "b.wav,x,,")
    columns = {"path": ["a.wav", "b.wav"], "label": ["x", "x"], "start_s": [1.5, None], "age": [3, None]}
    parquet.write_table(pa.table(columns), tmp_path / "clips.parquet")
    assert scan(tmp_path / "clips.parquet").clips == scan(csv).clips


def test_rows_are_counted_as_their_readers_count(tmp_path: Path) -> None:
    """The first row of a CSV file below its header is row 2; the first of a Parquet file is row 1."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    assert problems(write(tmp_path / "a.csv", "path,label", ",x"))[0].startswith("a.csv, row 2: expected a path")
    parquet.write_table(pa.table({"path": [""], "label": ["x"]}), tmp_path / "a.parquet")
    assert problems(tmp_path / "a.parquet")[0].startswith("a.parquet, row 1: expected a path")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Nine faults in one table are nine sentences, each with its row."""
    path = write(
        tmp_path / "clips.csv",
        "path,label,start_s,end_s,valence",
        "a.wav,x,0,1,0.5",
        "a.wav,x,0.0,1.0,0.5",
        "b.wav,x,one,2,0.5",
        "c.wav,x,3,2,0.5",
        "d.wav,x,-1,,0.5",
        "e.wav,x,,,high",
        ",x,,,0.5",
        "../f.wav,x,,,0.5",
        "/g.wav,x,,,0.5",
        "D.wav@-1.0-end,x,,,inf",
    )
    told = problems(path, targets=["valence"])
    expected = [
        "clips.csv, rows 2, 3: expected each clip once, got a.wav with the same bounds.",
        "clips.csv, row 4: expected start_s in seconds, got 'one'.",
        "clips.csv, row 5: expected 0 <= start_s < end_s, got 3 and 2.0.",
        "clips.csv, row 6: expected 0 <= start_s < end_s, got -1 and None.",
        "clips.csv, row 7: expected a number in valence, got 'high'.",
        "clips.csv, row 8: expected a path, got an empty cell.",
        "clips.csv, row 9: expected a clip id inside the corpus, got '../f.wav', which leaves its folder.",
        "clips.csv, row 10: expected a clip id inside the corpus, got '/g.wav', which is an absolute path.",
        "clips.csv, row 11: expected a number in valence, got 'inf'.",
        "clips.csv, row 6 and clips.csv, row 11: expected different clip ids, got a clip id that differs only in case",
    ]
    for sentence in expected:
        assert any(problem.startswith(sentence) for problem in told), sentence


def test_a_missing_path_column_names_the_columns_there_are(tmp_path: Path) -> None:
    """The message says which columns were found and how to name one."""
    told = problems(write(tmp_path / "clips.csv", "file,emotion", "a.wav,x"))
    assert told == (
        "manifest clips.csv: expected a column 'path', got file, emotion. "
        "Rename one, or say which it is with `columns: {path: ...}`.",
    )


def test_columns_can_be_renamed_in_the_configuration(tmp_path: Path) -> None:
    """A table with its own names is read by saying which column is which; a wrong name gets the nearest."""
    path = write(tmp_path / "clips.csv", "file,emotion", "a.wav,x", "b.wav,x")
    found = scan(path, columns={"path": "file", "label": "emotion"})
    assert found.columns == (Column("label", "class", "class of the clip"),)
    told = problems(path, columns={"path": "fle", "lable": "emotion"})
    assert any("got 'lable', did you mean 'label'?" in problem for problem in told)
    assert any("expected a column 'fle', got file, emotion, did you mean 'file'?" in problem for problem in told)


def test_a_table_without_labels_is_allowed_and_noted(tmp_path: Path) -> None:
    """Clips can be embedded without labels; the note says that nothing can be trained."""
    found = scan(write(tmp_path / "clips.csv", "path", "a.wav", "b.wav"))
    assert found.notes == ("no label and no targets: the clips can be embedded, but nothing can be trained on them",)


def test_labels_that_occur_once_or_lack_are_noted(tmp_path: Path) -> None:
    """A class of one clip and clips without a value are notes, not errors; what lacks is "" and NaN."""
    path = write(tmp_path / "clips.csv", "path,label,valence", "a.wav,x,1", "b.wav,x,", "c.wav,y,1", "d.wav,,1")
    found = scan(path, targets=["valence"])
    assert found.notes == (
        "label 'y' occurs once: no fold can both train and test it",
        "1 clip without label",
        "1 clip without valence",
    )
    assert math.isnan(float(found.clips[1].values["valence"]))
    assert found.clips[3].values["label"] == ""


def test_missing_audio_is_not_the_manifests_fault(tmp_path: Path) -> None:
    """Files are not looked for here; they become lines of the ledger."""
    assert len(scan(write(tmp_path / "clips.csv", "path,label", "nowhere.wav,x", "gone.wav,x")).clips) == 2


def test_ids_are_relative_and_normal(tmp_path: Path) -> None:
    """Windows separators, "./", absolute paths below the root and decomposed letters all give one form."""
    decomposed = unicodedata.normalize("NFD", "é.wav")
    rows = ["sub\\a.wav,x", "./b.wav,x", f"{tmp_path / 'data' / 'c.wav'},x", f"{decomposed},x"]
    found = scan(write(tmp_path / "lists" / "clips.csv", "path,label", *rows), root=tmp_path / "data")
    assert [clip.clip for clip in found.clips] == ["sub/a.wav", "b.wav", "c.wav", unicodedata.normalize("NFC", "é.wav")]
    assert found.clips[0].path == tmp_path / "data" / "sub" / "a.wav"
    assert found.clips[2].path == tmp_path / "data" / "c.wav"


def test_an_id_column_frees_the_path(tmp_path: Path) -> None:
    """With ids of its own, a manifest may point anywhere; the ids are still checked."""
    outside = tmp_path / "elsewhere" / "a.wav"
    found = scan(write(tmp_path / "clips.csv", "clip,path,label", f"one,{outside},x", "two,../b.wav,x"))
    assert [(clip.clip, clip.path) for clip in found.clips] == [("one", outside), ("two", tmp_path / "../b.wav")]
    told = problems(
        write(tmp_path / "clips.csv", "clip,path,label", "a\x07,a.wav,x", ",b.wav,x", "s,c.wav,x", "s,d.wav,x")
    )
    for reason in ("row 2: expected a clip id inside the corpus, got 'a\\x07', which has a control character",
                   "row 3: expected a clip id inside the corpus, got '', which is empty",
                   "row 4 and clips.csv, row 5: expected different clip ids, got the same: 's'"):  # fmt: skip
        assert any(reason in problem for problem in told), reason


def test_column_names_fit_a_store(tmp_path: Path) -> None:
    """A header with spaces and slashes becomes a plain name that keeps its text as description; a clash is refused."""
    found = scan(write(tmp_path / "clips.csv", "path,label,Mean F0 (Hz/s)", "a.wav,x,1", "b.wav,x,2"))
    assert found.columns[-1] == Column("Mean_F0_Hz_s", "meta", "Mean F0 (Hz/s)")
    told = problems(write(tmp_path / "clips.csv", "path,label,f 0,f/0", "a.wav,x,1,2"))
    assert told == ("manifest clips.csv: two columns would both be 'f_0'. Rename one.",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "got no rows"),
        (b"path,label\n", "got no rows"),
        (b"path,label,path\na,b,c\n", "expected each column once, got path twice"),
        (b"path,label\na.wav,x,surplus\n", "line 2 has 3 cells, the header 2"),
        (b"path,label\n\xff\xfe.wav,x\n", "expected UTF-8 text or Parquet"),
        (b'path,label\n"a.wav,x\n', "expected UTF-8 text or Parquet"),
    ],
)
def test_a_table_that_is_none_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    """Empty, ragged, badly quoted and wrongly encoded tables are refused in a sentence."""
    (tmp_path / "clips.csv").write_bytes(content)
    assert expected in problems(tmp_path / "clips.csv")[0]


def test_a_text_called_parquet_says_why(tmp_path: Path) -> None:
    """The Parquet reader's complaint comes as a ConfigError."""
    pytest.importorskip("pyarrow")
    assert "expected UTF-8 text or Parquet, got an error" in problems(write(tmp_path / "a.parquet", "path,label"))[0]


def test_a_missing_manifest_says_so(tmp_path: Path) -> None:
    """A wrong path to the manifest is a ConfigError that names it."""
    assert problems(tmp_path / "none.csv") == (
        f"table {tmp_path / 'none.csv'}: expected a file, found none. Correct the path.",
    )


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    """A table with a fault a row names fifty and counts the rest."""
    told = problems(write(tmp_path / "clips.csv", "path,label,start_s", *(f"{i}.wav,x,?" for i in range(70))))
    assert len(told) == 51
    assert told[-1] == "... and 20 more problems."
