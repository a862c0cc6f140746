"""The recipes: each is a valid pipeline of known names, and its published figures are those of the paper."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import voxcache
from voxcache.extract.corpora import CORPORA
from voxcache.extract.encoders.registry import ENCODERS
from voxcache.pipeline import load_pipeline
from voxcache.train.cells import choose
from voxcache.train.fusions import FUSIONS
from voxcache.train.heads import HEADS
from voxcache.train.published import MEAN, Published, published_of
from voxcache.train.scores import METRIC_NAMES

RECIPES = Path(voxcache.__file__).parent / "recipes"


def published(name: str) -> list[dict[str, str]]:
    """Return the published figures of a recipe."""
    with (RECIPES / "published" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["reno", "voc2vec", "emotion-share"])
def test_recipes_name_what_there_is(name: str) -> None:
    """Corpora, encoders, heads and fusions are known, and every encoder of the figures is one of the recipe."""
    recipe = load_pipeline(RECIPES / f"{name}.yaml")
    problems: list[str] = []
    choose("head", HEADS, recipe.train.heads, problems)
    choose("fusion", FUSIONS, recipe.train.fusion.methods if recipe.train.fusion else (), problems)
    assert problems == []
    assert recipe.train.preset == name
    assert all(config.adapter in CORPORA for config in recipe.corpora.values())
    encoders = {encoder.name for encoder in recipe.encoders}
    assert all(encoder in ENCODERS for encoder in encoders)
    rows = [row for row in published(name) if row["encoders"] != "ComParE baseline"]
    unpublished = {"reno": {"mms-1b"}, "voc2vec": {"voc2vec-hubert-ls"}, "emotion-share": set()}[name]
    assert {part for row in rows for part in row["encoders"].split(" + ")} == encoders - unpublished
    assert {row["corpus"] for row in rows} - {MEAN} == set(recipe.corpora)
    assert {row["metric"] for row in rows} <= set(METRIC_NAMES)


@pytest.mark.parametrize(
    ("name", "n_rows", "wanted", "mean"),
    [
        ("reno", 14 * 6 + 18 * 12, ("vivae", "audio-mamba-small + wavlm-base", "reno", "", "accuracy"), "0.7365"),
        ("reno", 14 * 6 + 18 * 12, ("asvp-esd", "audio-mamba-base", "cnn", "", "macro_f1"), "0.7198"),
        ("voc2vec", 10 * 6 * 3 + 2 * 3, ("donate-a-cry", "voc2vec-ls", "fine-tuned", "", "uar"), "0.378"),
        ("voc2vec", 10 * 6 * 3 + 2 * 3, (MEAN, "voc2vec-as", "fine-tuned", "", "macro_f1"), "0.574"),
        (
            "emotion-share",
            11 * 9,
            ("emotion-share", "hubert-large", "cnn-lstm-attention", "Sadness", "spearman"),
            "0.518",
        ),
    ],
)
def test_published_figures_are_the_papers(name: str, n_rows: int, wanted: tuple[str, ...], mean: str) -> None:
    """Every cell of the papers' tables is there, and some, read by hand, are as printed."""
    rows = published(name)
    assert len(rows) == n_rows
    names = ("corpus", "encoders", "architecture", "target", "metric")
    assert [row["mean"] for row in rows if tuple(row[key] for key in names) == wanted] == [mean]


@pytest.mark.parametrize("name", ["reno", "voc2vec", "emotion-share"])
def test_recipes_name_their_published_figures(name: str) -> None:
    """Each recipe asks for its own paper's figures, and every figure is of a corpus and encoders that it runs."""
    recipe = load_pipeline(RECIPES / f"{name}.yaml")
    assert recipe.train.published == name
    figures = published_of(name)
    assert len(figures) == len(published(name))
    stored = Published(name)
    row = published(name)[0]
    found = stored.get(row["corpus"], [f"{part}-random" for part in row["encoders"].split(" + ")], row["architecture"],
                       row["metric"], row["target"])  # fmt: skip
    assert found is not None
    assert found.mean == float(row["mean"])


@pytest.mark.parametrize(
    ("encoder", "metric", "mean", "std"),
    [
        ("voc2vec-ls", "accuracy", 0.802, 0.139),
        ("voc2vec-ls", "macro_f1", 0.636, 0.223),
        ("wav2vec2-base", "uar", 0.599, 0.237),
        ("hubert-base", "macro_f1", 0.611, 0.222),
        ("voc2vec", "uar", 0.612, 0.212),
    ],
)
def test_means_over_corpora_are_those_of_voc2vecs_table_iii(encoder: str, metric: str, mean: float, std: float) -> None:
    """What table III prints follows from table IV, and is taken as printed for the two encoders that the latter lacks."""
    published = Published("voc2vec")
    corpora = load_pipeline(RECIPES / "voc2vec.yaml").corpora
    found = published.mean(corpora, [f"{encoder}-random"], "fine-tuned", metric)
    assert found is not None
    assert found.mean == pytest.approx(mean, abs=0.0011)  # from figures that are rounded themselves
    assert found.std == pytest.approx(std, abs=0.0011)
    assert (published.mean(["vivae"], [encoder], "fine-tuned", metric) is None) == (encoder == "voc2vec")


@pytest.mark.parametrize(
    ("encoder", "mean", "change"),
    [("wav2vec2-base", 0.425, -15.0), ("hubert-base", 0.502, 0.4), ("hubert-large", 0.523, 4.6)],
)
def test_means_over_emotions_are_those_of_emotion_shares_table_2(encoder: str, mean: float, change: float) -> None:
    """The mean over nine emotions of table 1, architecture 2, is what table 2 prints (but for large wav2vec 2.0: 0.274 there)."""
    published = Published("emotion-share")
    (target,) = [load_pipeline(RECIPES / "emotion-share.yaml").train.target]
    baseline = published.baseline("emotion-share")
    assert baseline == "ComParE baseline"
    found = published.mean(["emotion-share"], [encoder], "cnn-lstm-attention", "spearman", target)
    against = published.mean(["emotion-share"], [baseline], "", "spearman", target)
    assert found is not None
    assert against is not None
    assert against.mean == pytest.approx(0.500, abs=0.001)
    assert found.mean == pytest.approx(mean, abs=0.0025)
    assert 100 * (found.mean / against.mean - 1) == pytest.approx(change, abs=0.6)
