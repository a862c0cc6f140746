"""What stands in the report, compared with computations of their own and looked up in its HTML."""

from __future__ import annotations

import csv
import itertools
import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jackknife import expected
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

from voxcache.errors import ConfigError
from voxcache.store import open_store
from voxcache.store.pack import Selection, pack
from voxcache.store.read import Store
from voxcache.train import svg
from voxcache.train.config import TrainConfig
from voxcache.train.plan import plan
from voxcache.train.report import contamination, writing
from voxcache.train.report.contamination import plain
from voxcache.train.report.reported import gaps, reported
from voxcache.train.results import open_results
from voxcache.train.run import run
from voxcache.train.tables import Place, tables

Make = Callable[..., Store]
QUICK: dict[str, Any] = {"training": {"epochs": 3}, "seeds": [0], "device": "cpu", "heads": ["linear"]}


def train(store: Store, folder: Path, **config: Any) -> Path:
    """Run a quick grid and return its folder."""
    run(TrainConfig.model_validate({**QUICK, **config}), store, folder, quiet=True)
    return folder


class Page(HTMLParser):
    """Collects tables as rows of texts under their captions, figures, links, and header cells without a scope."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.labels: list[str] = []
        self.links: list[str] = []
        self.unscoped = 0
        self._rows: list[list[str]] = []
        self._into: list[str] | None = None
        self._caption = self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
            self._into = self._rows[-1]
            self.unscoped += tag == "th" and "scope" not in given
        if tag == "caption":
            self._into = None
        if tag == "svg" and given.get("aria-hidden") != "true":
            self.labels.append(f"{given.get('role')}: {given.get('aria-label')}")
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._into = None
        if tag == "table":
            self.tables[self._caption or f"table {len(self.tables)}"] = self._rows

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data
        elif self._tag == "caption":
            self._caption += data.strip()


def page(folder: Path) -> Page:
    """Return the report of a folder."""
    return Page((folder / "report.html").read_text())


def test_every_table_and_figure_can_be_read_aloud(make_store: Make, tmp_path: Path) -> None:
    """Header cells have a scope, figures a role and a label, links stay within the page, tables say how many clips."""
    folder = train(make_store(failed={"alpha": (4,)}), tmp_path / "out", heads=["fcn", "linear"])
    found = page(folder)
    assert found.unscoped == 0
    assert len(found.labels) >= 6
    assert all(label.startswith("img: made, ") for label in found.labels)
    assert all(link.startswith("#") for link in found.links)
    assert sum("59 of 60 clips used" in caption for caption in found.tables) >= 2


def test_papers_tables_hold_every_corpus(make_store: Make, tmp_path: Path) -> None:
    """With two corpora there is a table a head with a row an encoder and the scores of table.csv, also in LaTeX."""
    made = make_store.corpus  # type: ignore[attr-defined]
    store = make_store(made(name="one"), made(name="two", signal=0.5, n=45, failed={"alpha": (3,)}))
    folder = train(store, tmp_path / "out", heads=["linear", "logreg"])
    rows = {(r["corpus"], r["encoders"], r["architecture"]): r for r in csv.DictReader((folder / "table.csv").open())}
    tables = page(folder).tables
    table = next(
        tables[name] for name in tables if name.startswith("one: 60 of 60 clips used; two: 44 of 45 clips used")
    )
    assert [cell.strip() for cell in table[0][1:]] == ["one", "two", "mean over corpora"]
    for line in table[2:]:
        scores = [float(rows[corpus, line[0], "logreg"]["uar_mean"]) for corpus in ("one", "two")]
        assert line[8] == f"{100 * np.mean(scores):.1f} ± {100 * np.std(scores):.1f}"
        for index, corpus in enumerate(("one", "two")):
            expected = float(rows[corpus, line[0], "logreg"]["uar_mean"])  # the last of both tables of this caption
            assert line[1 + 3 * index + 1].startswith(f"{100 * expected:.1f} ±")
    tex = (folder / "tables.tex").read_text()
    assert tex.count("\\begin{tabular}{lrrrrrrrrr}") == tex.count("\\bottomrule") == 2
    assert "one: 60 of 60 clips used; two: 44 of 45 clips used (1 alpha: extraction failed" in tex
    assert "beta-random & " in tex


def test_named_systems_are_shown_beside_the_best(make_store: Make, tmp_path: Path) -> None:
    """`shown:` adds the confusion matrix and the learned map of a head and of a fusion; a name that fits none is refused."""
    store = make_store()
    grid = {"heads": ["fcn", "linear"], "fusion": {"methods": ["concat", "gated"]}}
    plain = train(store, tmp_path / "out", **grid)
    before = page(plain)
    best = [label for label in before.tables if label.startswith("in % of each row")]
    shown = [["alpha", "fcn"], ["alpha", "beta", "gated"], ["beta", "fcn"], ["beta", "alpha", "concat"]]
    folder = train(store, tmp_path / "out", **grid, shown=shown)
    text = (folder / "report.html").read_text()
    assert len(best) == 1
    for system in ("alpha → fcn", "beta-random → fcn", "alpha + beta-random → gated", "alpha + beta-random → concat"):
        assert text.count(f"<h3>Confusion: {system}</h3>") == 1
        assert f"made, {system}, 128 features" in text
    assert text.count("Named under shown:") >= 2
    assert "Highest UAR among fusions" in text
    with pytest.raises(ConfigError, match=r"\[alpha, cnn\] is no system of this grid"):
        plan(TrainConfig.model_validate({**QUICK, "shown": [["alpha", "cnn"]]}), store)


def test_scores_at_a_glance_stand_where_their_numbers_say() -> None:
    """Marks lie on a common scale, their intervals around them, and chance where it is."""
    marks = [svg.Mark(0, 0, 50.0, 40.0, 60.0), svg.Mark(1, 1, 75.0, 70.0, 80.0)]
    text = svg.dots(["a", "b"], ["fcn", "cnn"], marks, title="t", x_name="UAR in %", chance=25.0)
    (low, high), (low2, high2) = [
        tuple(map(float, p)) for p in re.findall(r'class="bar k\d" d="M([\d.]+),[\d.]+H([\d.]+)"', text)
    ]
    chance = float(re.findall(r'class="same" d="M([\d.]+),', text)[0])
    assert high - low == pytest.approx(2 * (high2 - low2), abs=0.2)
    assert (low2 - chance) / (high - low) == pytest.approx((70 - 25) / 20, abs=0.02)
    assert "<title>b, cnn: 75</title>" in text


def test_means_over_targets_stand_beside_the_papers_and_its_baseline(make_store: Make, tmp_path: Path) -> None:
    """The mean over continuous targets, and by what part it is above the published baseline, which has a line of its own."""
    (tmp_path / "paper.csv").write_text(
        "corpus,encoders,architecture,target,metric,mean,std\n"
        "made,alpha,linear,joy,spearman,0.3,\nmade,alpha,linear,calm,spearman,0.5,\n"
        "made,old system,,joy,spearman,0.4,\nmade,old system,,calm,spearman,0.1,\n"
    )
    store = make_store(make_store.corpus(targets=("joy", "calm")))  # type: ignore[attr-defined]
    folder = train(store, tmp_path / "out", target=["joy", "calm"], published=str(tmp_path / "paper.csv"))
    table = page(folder).tables["made: 60 of 60 clips used"]
    assert table[1] == ["joy", "joypublished", "calm", "calmpublished", "mean", "meanpublished",
                        "mean against old system, %", "mean against old system, %published"]  # fmt: skip
    assert table[2][::2] == ["alpha", "0.300", "0.500", "0.400", "+60.0"]
    assert table[-1] == ["old system", "–", "0.400", "–", "0.100", "–", "0.250", "–", "+0.0"]
    ours = {row["encoders"]: float(row["spearman_mean"]) for row in csv.DictReader((folder / "table.csv").open())}
    assert table[2][5].startswith(f"{ours['alpha']:.3f}")
    assert float(table[2][7].removesuffix("still improving in 5 of 5 folds")) == pytest.approx(
        100 * (ours["alpha"] / 0.25 - 1), abs=0.06
    )


def test_published_figures_stand_beside_ours_and_are_marked(make_store: Make, tmp_path: Path) -> None:
    """The paper's value of the same corpus, encoder and head stands in a column of its own, and in no score of ours."""
    (tmp_path / "paper.csv").write_text(
        "corpus,encoders,architecture,target,metric,mean,std\n"
        "made,alpha,linear,,accuracy,0.1234,0.02\nmade,alpha,reno,,accuracy,0.9,\nelse,alpha,linear,,accuracy,0.5,\n"
    )
    store = make_store()
    plain_csv = (train(store, tmp_path / "plain") / "table.csv").read_text()
    folder = train(store, tmp_path / "out", published=str(tmp_path / "paper.csv"))
    table = page(folder).tables["made: 60 of 60 clips used"]
    assert table[1] == ["Accuracy", "Accuracypublished", "UAR", "Macro-F1"]
    assert table[2][0] == "alpha"
    assert table[2][2] == "12.3 ± 2.0"
    assert table[3][2] == "–"
    assert "They were not measured here" in (folder / "report.html").read_text()
    assert "\\textit{12.3 $\\pm$ 2.0}" in (folder / "tables.tex").read_text()
    assert "made Accuracy, published" in (folder / "report.md").read_text()
    strip = re.compile(r"\d+\.\d\d,")  # seconds differ
    assert strip.sub("", (folder / "table.csv").read_text()) == strip.sub("", plain_csv)
    assert "published" not in (tmp_path / "plain" / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("renno", "unknown, did you mean 'reno'"),
        ("nowhere.csv", "no such file"),
        ("bad.csv", "row 2: could not convert"),
        ("head.csv", "expected the columns corpus, encoders"),
    ],
)
def test_published_figures_that_are_none_are_refused_before_anything_is_trained(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """Unknown names, absent files and bad rows end the run when it is planned."""
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_text("corpus,encoders,architecture,target,metric,mean,std\na,b,c,,uar,lots,\n")
    Path("head.csv").write_text("corpus,mean\na,1\n")
    with pytest.raises(ConfigError, match=said):
        plan(TrainConfig(published=name), make_store())


def test_differences_from_the_best_agree_with_scipy(make_store: Make, tmp_path: Path) -> None:
    """Difference, interval and p are those of stored predictions without each speaker and fold; p is corrected for all six
    pairs, and what the table marks, the lines of the report and table.csv say the same."""
    store = make_store(signal=0.6)
    config = TrainConfig.model_validate({**QUICK, "heads": ["logreg", "linear"]})
    summary = run(config, store, tmp_path / "out", quiet=True)
    corpus = summary.plan.corpora[0]
    with open_results(tmp_path / "out") as results:
        (table,) = tables(summary.plan, results)
        items = [reported(summary.plan, results, table, place) for place in table.cells]
        said = {item.place: results.predictions(item.cell.keys[0], 3)[0] for item in items}
    found = gaps(items, "uar")
    y, group = corpus.clips.y, corpus.clips.group
    assert group is not None
    share = 1 / (3 * np.bincount(y)[y])

    def score(place: Place, keep: np.ndarray) -> float:
        predicted = np.zeros(60, dtype=np.int64)
        predicted[said[place].clip] = said[place].predicted
        return float(metrics.balanced_accuracy_score(y[keep], predicted[keep]))

    raw = {}
    for one, other in itertools.combinations(said, 2):
        raw[one, other] = expected(lambda k, a=one, b=other: score(a, k) - score(b, k), share, group, corpus.split.fold)
    corrected = multipletests([values[3] for values in raw.values()], method="holm")[1]
    p_of = {frozenset(pair): p for pair, p in zip(raw, corrected, strict=True)}
    best = found[0].best
    everything = np.ones(60, dtype=bool)
    assert score(best.place, everything) == max(score(place, everything) for place in said)
    lines = {line[0]: line[1:] for line in page(tmp_path / "out").tables[_caption(tmp_path / "out")]}
    for gap in found:
        ours, pair = gap.difference.estimate, (best.place, gap.other.place)
        value, low, high, p = raw[pair] if pair in raw else _turned(raw[pair[1], pair[0]])
        assert (ours.value, ours.low, ours.high, ours.p) == pytest.approx((value, low, high, p))
        assert gap.difference.p_holm == pytest.approx(p_of[frozenset(pair)])
        line = next(cells for name, cells in lines.items() if name.startswith(gap.other.text))
        assert line[:2] == [f"{100 * value:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
        assert line[4] == ("yes" if p_of[frozenset(pair)] < 0.05 else "no")
        if gap.other.column == best.column:
            assert gap.other.cell.scores["uar"].tie == (p_of[frozenset(pair)] >= 0.05)
    rows = {(r["encoders"], r["architecture"]): r for r in csv.DictReader((tmp_path / "out" / "table.csv").open())}
    for place in said:
        row = rows[place[0][0], place[1]]
        theirs = expected(lambda k, a=place: score(a, k), share, group, corpus.split.fold)
        shown = [float(row[f"uar_{part}"]) for part in ("pooled", "low", "high")]
        assert shown == pytest.approx([theirs[0], max(0, theirs[1]), min(1, theirs[2])], abs=1e-6)


def _turned(values: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    value, low, high, p = values
    return -value, -high, -low, p


def _caption(folder: Path) -> str:
    return next(name for name in page(folder).tables if "of the best minus that of the other" in name)


def test_a_score_without_an_interval_says_why(make_store: Make, tmp_path: Path) -> None:
    """With five speakers the score stands, no interval and no test, the number of speakers and why, on every page."""
    folder = train(make_store(n_speakers=5, n=30), tmp_path / "out", heads=["linear", "logreg"], encoders=["alpha"])
    html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for text in (html, markdown):
        assert "No interval and no test: 5 speakers were tested, an interval needs 6." in text
        assert "no interval" in text
    (row, _) = csv.DictReader((folder / "table.csv").open())
    assert (row["uar_low"], row["uar_high"]) == ("", "")
    assert 0 <= float(row["uar_pooled"]) <= 1


def test_chance_is_that_of_all_tested_clips(make_store: Make, tmp_path: Path) -> None:
    """Though folds of one speaker lack classes, chance is one over all classes, and always saying one gives it."""
    folder = train(make_store(n=40, n_speakers=14), tmp_path / "out", split={"kind": "logo"}, encoders=["alpha"])
    assert "chance UAR 33.3" in (folder / "report.html").read_text()
    assert "UAR 33.3, Macro-F1" in (folder / "report.md").read_text()


def test_means_over_corpora_are_not_marked(make_store: Make, tmp_path: Path) -> None:
    """No test is made of them: neither bold nor ~ stands there, and it is said."""
    made = make_store.corpus  # type: ignore[attr-defined]
    store = make_store(made(name="one"), made(name="two", signal=0.5))
    folder = train(store, tmp_path / "out")
    text = (folder / "report.md").read_text().split("encoder × corpus")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| alpha", "| beta"))]
    assert any("**" in cell for row in rows for cell in row[1:7])
    marked = [row[7:] for row in rows]
    assert len(marked) == 2
    assert not any("**" in cell or "~" in cell for cells in marked for cell in cells)
    assert "no test is made of means over corpora" in (folder / "report.html").read_text()


def test_a_confusion_matrix_is_shown_as_counts_and_shares(make_store: Make, tmp_path: Path) -> None:
    """Both are scikit-learn's of the stored predictions."""
    store = make_store(signal=0.4, encoders=("alpha",))
    summary = run(TrainConfig.model_validate(QUICK), store, tmp_path / "out", quiet=True)
    with open_results(tmp_path / "out") as results:
        said, _ = results.predictions(summary.plan.experiments[0].key, 3)
    counts = metrics.confusion_matrix(summary.plan.corpora[0].clips.y[said.clip], said.predicted)
    shown = page(tmp_path / "out").tables
    assert [[int(cell) for cell in line[1:4]] for line in shown["clips"][1:]] == counts.tolist()
    shares = [[f"{100 * v:.1f}" for v in row / row.sum()] for row in counts]
    assert [line[1:4] for line in shown["in % of each row"][1:]] == shares


def test_what_a_network_learned_is_kept_and_mapped(make_store: Make, tmp_path: Path) -> None:
    """The features of one fold, put through the stored probabilities' last layer, separate classes that are separable; a head
    that learns nothing before its last layer keeps none; a second seed keeps none again."""
    store = make_store(encoders=("alpha",))
    config = {**QUICK, "heads": ["fcn", "linear", "logreg"], "seeds": [0, 1], "training": {"epochs": 15}}
    summary = run(TrainConfig.model_validate(config), store, tmp_path / "out", quiet=True)
    kept = {}
    with open_results(tmp_path / "out") as results:
        for e in summary.plan.experiments:
            kept[e.chosen.label, e.seed] = results.features(e.key)
    assert {place for place, features in kept.items() if features is not None} == {("fcn", 0)}
    features = kept["fcn", 0]
    assert features is not None
    assert features.values.shape == (12, 128)
    np.testing.assert_array_equal(features.clip, summary.plan.corpora[0].split.test(features.fold))
    y = summary.plan.corpora[0].clips.y[features.clip]
    assert metrics.silhouette_score(features.values, y) > 0.3
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Learned embeddings of tested clips, coloured by class" in html
    assert "alpha → fcn, 128 features, fold 0, t-SNE" in html


def test_scores_by_layer_and_layer_weights_are_drawn(make_store: Make, tmp_path: Path) -> None:
    """A line an encoder with a point a layer; a figure of the learned weights whose largest layer is that of the file."""
    store = make_store()
    folder = train(store, tmp_path / "all", inputs={"layer": "all"}, heads=["logreg"])
    label = "img: made, logreg: UAR in % by layer"
    assert label in page(folder).labels
    figure = (folder / "report.html").read_text().split(label.removeprefix("img: "))[1].split("</svg>")[0]
    assert figure.count('class="line') == 2
    folder = train(store, tmp_path / "weighted", inputs={"layer": "weighted"}, encoders=["alpha"])
    db = sqlite3.connect(folder / "results.sqlite")
    weights = np.mean([json.loads(text)[0] for (text,) in db.execute("SELECT layer_weights FROM folds")], axis=0)
    most = f"most: layer {int(weights.argmax())} ({100 * weights.max():.1f} %)"
    assert most in (folder / "report.html").read_text()


def test_layer_weights_stand_at_their_layers(make_store: Make, tmp_path: Path) -> None:
    """Of a store that holds layers 0 and 2, the axis ends at 2, and no column stands at 1."""
    pack(make_store(encoders=("alpha",)).path, tmp_path / "some.zarr", Selection(layers={"": (0, 2)}))
    folder = train(open_store(tmp_path / "some.zarr"), tmp_path / "out", inputs={"layer": "weighted"})
    figure = (folder / "report.html").read_text().split("Layer weights of alpha")[1].split("</svg>")[0]
    assert re.findall(r'text-anchor="middle">(\d+)</text>', figure) == ["0", "1", "2"]
    left, right = (float(x) for x in re.findall(r'class="c0" x="([\d.]+)"', figure))
    marks = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">\d', figure)]
    assert right - left == pytest.approx(marks[2] - marks[0], abs=0.2)


def test_true_against_predicted_is_drawn_for_every_target(make_store: Make, tmp_path: Path) -> None:
    """A figure a target with the line where both are the same, its Spearman that of the table by target."""
    folder = train(make_store(targets=("Joy", "Fear")), tmp_path / "out", target=["Joy", "Fear"], heads=["ridge"])
    html = (folder / "report.html").read_text()
    assert html.count('class="same"') == 2
    db = sqlite3.connect(folder / "results.sqlite")
    query = "SELECT avg(spearman) FROM target_scores WHERE target = ? GROUP BY experiment"
    for target in ("Joy", "Fear"):
        values = [value for (value,) in db.execute(query, (target,))]
        assert any(f"{target}: ρ = {value:.3f}<" in html for value in values)


def test_a_report_is_made_anew_only_when_something_changed(
    make_store: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished grid leaves the files untouched; another published file, or a file that is gone, makes them anew."""
    store, folder = make_store(), tmp_path / "out"
    train(store, folder)
    before = (folder / "report.html").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(writing, "render", lambda *_, **__: pytest.fail("rendered"))
        train(store, folder)
    assert (folder / "report.html").stat().st_mtime_ns == before
    train(store, folder, published="reno")
    assert (folder / "report.html").stat().st_mtime_ns > before
    (folder / "tables.tex").unlink()
    train(store, folder, published="reno")
    assert (folder / "tables.tex").exists()


@pytest.mark.parametrize(
    ("corpus", "adapter", "pretraining", "seen"),
    [
        ("audio-set", "folders", "AudioSet (vocalizations)", "AudioSet (vocalizations)"),
        ("mine", "vocal_sound", "VocalSound", "VocalSound"),
        ("ASVP-ESD-babies", "manifest", "ASVP ESD", "ASVP ESD"),
        ("mosei", "manifest", "CMU-MOSEI", "CMU-MOSEI"),
        ("libri-light", "manifest", "LibriSpeech", ""),
        ("msp-improv", "manifest", "MSP-Podcast", ""),
        ("vivae", "vivae", "AudioSet", ""),
    ],
)
def test_corpora_are_known_by_their_other_names(
    make_store: Make, corpus: str, adapter: str, pretraining: str, seen: str
) -> None:
    """Case, hyphens, parentheses, the adapter's name and usual short names do not hide that a corpus was trained on."""
    planned = plan(TrainConfig(), make_store(encoders=("alpha",))).corpora[0]
    facts = replace(planned.encoders[0], pretraining=("Something else", pretraining))
    named = replace(planned, name=corpus, about={"adapter": adapter}, encoders=(facts,))
    assert list(contamination(named)) == [("alpha", f"Something else, {pretraining}", seen)]
    assert plain("Ré-Né (a, b)") == "rene"


def test_ticks_are_round_and_within() -> None:
    """At most about six, evenly spaced, within the ends, also for tiny, large and negative spans."""
    for low, high in ((0.0, 1.0), (-3.2, 7.9), (0.00012, 0.00019), (1e5, 9e5), (40.0, 41.0)):
        found = svg.ticks(low, high)
        assert 2 <= len(found) <= 8
        assert low - 1e-9 <= found[0]
        assert found[-1] <= high + 1e-9
        np.testing.assert_allclose(np.diff(found), found[1] - found[0])


def test_umap_is_mapped_where_it_is_installed(
    make_store: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With umap-learn there, every encoder has a second map, of other places than t-SNE's."""
    pytest.importorskip("umap")
    from importlib.util import find_spec

    monkeypatch.setattr("voxcache.train.maps.find_spec", find_spec)
    folder = train(make_store(encoders=("alpha",), n=30), tmp_path / "out", heads=["knn"])
    db = sqlite3.connect(folder / "results.sqlite")
    places = [np.frombuffer(xy, "<f4") for (xy,) in db.execute("SELECT xy FROM maps")]
    assert len(places) == 2
    assert not np.allclose(*places)
    assert "img: made, alpha, layer 2, UMAP, coloured by class" in page(folder).labels
