"""The grid, its keys, and everything that is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxcache.errors import ConfigError, TrainError
from voxcache.store import open_store
from voxcache.store.pack import Selection, pack
from voxcache.store.read import Store
from voxcache.train import keys as keys_module
from voxcache.train.config import PRESETS, TrainConfig
from voxcache.train.fusions import FUSIONS
from voxcache.train.grid import Plan
from voxcache.train.heads import HEADS
from voxcache.train.listing import list_heads
from voxcache.train.plan import plan

Make = Callable[..., Store]


def planned(store: Store, **config: Any) -> Plan:
    """Return the plan of a configuration."""
    return plan(TrainConfig.model_validate(config), store)


def keys(plan: Plan) -> set[str]:
    """Return the keys of all experiments."""
    return {experiment.key for experiment in plan.experiments}


def test_an_empty_section_is_a_grid(make_store: Make) -> None:
    """`train: {}` runs fcn and cnn on every encoder with three seeds, grouped by the speaker column."""
    made = planned(make_store())
    assert {(e.encoders, e.chosen.label, e.seed) for e in made.experiments} == {
        (encoder, head, seed) for encoder in ("alpha", "beta-random") for head in ("fcn", "cnn") for seed in (0, 1, 2)
    }
    assert made.corpora[0].split.grouped
    assert made.experiments[0].inputs[0].layer == 2


def test_heads_that_a_seed_cannot_change_run_once(make_store: Make) -> None:
    """logreg runs with the first seed only, forest with all."""
    made = planned(make_store(encoders=("alpha",)), heads=["logreg", "forest"], seeds=[4, 5])
    assert [(e.chosen.name, e.seed) for e in made.experiments] == [("logreg", 4), ("forest", 4), ("forest", 5)]


def test_all_pairs_and_named_groups(make_store: Make) -> None:
    """`pairs: all` is every pair; a named group takes names with or without -random."""
    store = make_store(encoders=("a", "b-random", "d"))
    both = planned(store, heads=[], fusion={}, seeds=[0])
    assert [(e.encoders, e.chosen.name) for e in both.experiments] == [
        (pair, name) for pair in ("a + b-random", "a + d", "b-random + d") for name in ("concat", "reno")
    ]
    named = planned(store, heads=[], fusion={"methods": ["reno"], "pairs": [["d", "b", "a"]]}, seeds=[0])
    assert [e.encoders for e in named.experiments] == ["d + b-random + a"]


def test_layers_in_turn_and_weighted(make_store: Make) -> None:
    """`all` is an experiment a layer, `weighted` one over all of them."""
    store = make_store(encoders=("a",))
    every = planned(store, heads=["linear"], seeds=[0], inputs={"layer": "all"})
    assert [e.inputs[0].layer for e in every.experiments] == [0, 1, 2]
    weighted = planned(store, heads=["linear"], seeds=[0], inputs={"layer": "weighted"})
    assert [e.input_text for e in weighted.experiments] == ["weighted layers, mean"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": ["fnc"]}, "head 'fnc': unknown, did you mean 'fcn'"),
        ({"heads": [{"name": "fcn", "dropuot": 0.1}]}, "option 'dropuot': unknown, did you mean 'dropout'"),
        ({"heads": [{"name": "fcn", "dropout": 1.5}]}, "option 'dropout': Input should be less than 1, got 1.5"),
        ({"heads": ["fcn", "fcn"]}, "head 'fcn': named twice"),
        ({"heads": ["fcn", {"name": "fcn", "dropout": 0.3}]}, "'fcn \\(dropout=0.3\\)': named twice, also as 'fcn'"),
        ({"corpora": ["made", "made"]}, "train.corpora: 'made' is named twice"),
        ({"encoders": ["alhpa"]}, "'alhpa' is not in the store, did you mean 'alpha'"),
        ({"corpora": ["mad"]}, "'mad' is not in the store, did you mean 'made'"),
        ({"target": "lable"}, "no column 'lable', did you mean 'label'"),
        ({"split": {"group": "speeker"}}, "no column 'speeker', did you mean 'speaker'"),
        ({"fusion": {"methods": ["rino"]}}, "fusion 'rino': unknown, did you mean 'reno'"),
        ({"fusion": {"pairs": [["alpha", "alpha"]]}}, "expected encoders that differ, got alpha \\+ alpha"),
        ({"fusion": {"pairs": [["beta", "beta-random"]]}}, "expected encoders that differ"),
        (
            {"fusion": {"pairs": [["alpha", "beta-random"], ["alpha", "beta"]]}},
            "pairs\\[1\\], corpus 'made': alpha \\+ beta-random is named twice",
        ),
        ({"fusion": {"pairs": [["alpha"]]}}, "expected two or more encoders, got 1"),
        ({"fusion": {"pairs": [["alpha", "gamma"]]}}, "encoder 'gamma' is not among those in use"),
        ({"inputs": {"layer": 7}}, "expected a layer that every encoder has, got 7; 'alpha' in 'made' has 0 to 2"),
        ({"inputs": {"layer": "weighted"}, "heads": ["svm"]}, "head 'svm' is none"),
        ({"inputs": {"statistics": "mean+std"}}, "standard deviations of 'alpha' were not kept in 'made'"),
        ({"heads": []}, "nothing to run"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_nearest_word(
    make_store: Make, config: dict[str, Any], message: str
) -> None:
    """Each problem is a sentence that names the place and what to do."""
    with pytest.raises(ConfigError, match=message):
        planned(make_store(), **config)


def test_all_problems_come_at_once(make_store: Make) -> None:
    """Two mistakes are two sentences of one error."""
    with pytest.raises(ConfigError) as caught:
        planned(make_store(), heads=["fnc", "cnm"])
    assert len(caught.value.problems) == 2


def test_a_corpus_of_one_class_is_refused(make_store: Make) -> None:
    """One class cannot be told from another."""
    with pytest.raises(ConfigError, match="expected at least two classes, got only 'same'"):
        planned(make_store(label=lambda i: "same"))


def test_encoders_are_compared_on_the_same_clips(make_store: Make) -> None:
    """A clip that one encoder failed is left out for all, counted with its reason; unlabelled clips too."""
    store = make_store(failed={"alpha": (3, 5), "beta-random": (5,)}, label=lambda i: "" if i == 7 else "ab"[i % 2])
    corpus = planned(store).corpora[0]
    assert len(corpus.clips) == 57
    assert corpus.clips.used_text == (
        "57 of 60 clips used (1 without a value in 'label'; 2 alpha: extraction failed: made to fail (clip-003, clip-005))"
    )


def test_a_failed_clip_moves_no_other_to_another_fold(make_store: Make, tmp_path: Path) -> None:
    """Folds are dealt over all labelled clips, so that those left keep theirs."""
    whole = planned(make_store(path=tmp_path / "a")).corpora[0]
    short = planned(make_store(path=tmp_path / "b", failed={"alpha": (3, 5)})).corpora[0]
    folds = dict(zip(whole.split.ids, whole.split.fold, strict=True))
    assert all(folds[clip] == fold for clip, fold in zip(short.split.ids, short.split.fold, strict=True))


def test_corpora_without_usable_clips_do_not_stop_the_others(make_store: Make) -> None:
    """With `corpora: all`, one whose encoders share no clip, or share clips of one class alone, is left out with the reason."""
    made = make_store.corpus  # type: ignore[attr-defined]
    apart = {"alpha": tuple(range(30)), "beta-random": tuple(range(30, 60))}
    store = make_store(
        made(),
        made(name="apart", failed=apart),
        made(name="single", label=lambda i: "ab"[i < 20], failed={"alpha": tuple(range(20))}),
    )
    planned_all = planned(store)
    assert [corpus.name for corpus in planned_all.corpora] == ["made"]
    assert any("'apart' is left out" in note and "no clip has an embedding" in note for note in planned_all.notes)
    assert any("'single' is left out" in note and "got only 'a'" in note for note in planned_all.notes)
    with pytest.raises(TrainError, match="expected at least two classes among the clips"):
        planned(store, corpora=["single"])


def test_no_usable_clip_is_an_error(make_store: Make) -> None:
    """Encoders that share no clip cannot be compared."""
    store = make_store(failed={"alpha": tuple(range(30)), "beta-random": tuple(range(30, 60))})
    with pytest.raises(TrainError, match="no clip has an embedding by every encoder"):
        planned(store)


def test_a_key_names_everything_that_can_change_a_result(make_store: Make, tmp_path: Path) -> None:
    """Audio, encoder, labels, split, options, training, seed and code each change keys; other heads and names do not."""
    base = {"heads": ["fcn"], "seeds": [0], "encoders": ["alpha"]}
    store = make_store(path=tmp_path / "a")
    first = keys(planned(store, **base))
    assert first == keys(planned(make_store(path=tmp_path / "same"), **base))
    assert first < keys(planned(store, **{**base, "heads": ["linear", "fcn"], "seeds": [0, 1]}))
    for change in (
        {"heads": [{"name": "fcn", "dropout": 0.1}]},
        {"seeds": [1]},
        {"split": {"seed": 1}},
        {"split": {"group": "none"}},
        {"training": {"epochs": 3}},
        {"preset": "voc2vec"},
        {"inputs": {"layer": 0}},
    ):
        assert first.isdisjoint(keys(planned(store, **{**base, **change}))), change
    assert first.isdisjoint(keys(planned(make_store(path=tmp_path / "audio", audio="b"), **base)))
    assert first.isdisjoint(keys(planned(make_store(path=tmp_path / "label", label=lambda i: "abc"[i % 3]), **base)))


def test_inner_folds_of_another_seed_are_another_result(make_store: Make) -> None:
    """Where folds do not depend on `split.seed` but inner folds do, it changes the keys of searches, and of those alone."""
    store = make_store(encoders=("alpha",))
    heads = ["knn", {"name": "knn", "search": {"k": [1, 3]}}]
    plain, searched = (
        planned(store, heads=heads, seeds=[0], split={"kind": "logo", "seed": seed}).experiments for seed in (0, 1)
    )
    assert plain[0].key == searched[0].key
    assert plain[1].key != searched[1].key
    best = [
        planned(store, heads=["knn"], inputs={"layer": "best"}, split={"kind": "logo", "seed": seed}) for seed in (0, 1)
    ]
    assert keys(best[0]).isdisjoint(keys(best[1]))


def test_some_layers_alone_are_planned(make_store: Make, tmp_path: Path) -> None:
    """Of a store that holds some layers, `all`, `weighted` and fusions take these; weighted results have keys of their own."""
    store = make_store()
    pack(store.path, tmp_path / "some.zarr", Selection(layers={"": (0, 1)}))
    some = open_store(tmp_path / "some.zarr")
    config: dict[str, Any] = {"heads": ["linear"], "fusion": {"methods": ["concat"]}, "seeds": [0]}
    every = planned(some, **config, inputs={"layer": "all"}).experiments
    assert [[item.layer for item in e.inputs] for e in every] == [[0], [1], [0], [1], [1, 1]]
    best = planned(some, **config, inputs={"layer": "best"}).experiments
    assert [item.layer for item in best[-1].inputs] == [1, 1]
    with pytest.raises(ConfigError, match="holds layers 0, 1 of 0 to 2, not 2"):
        planned(some, **config)
    weighted = {"inputs": {"layer": "weighted"}}
    assert keys(planned(some, **config, **weighted)).isdisjoint(keys(planned(store, **config, **weighted)))


def test_the_code_version_is_in_every_key(make_store: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of what computes makes older results stale."""
    store = make_store()
    first = keys(planned(store))
    monkeypatch.setattr(keys_module, "CODE_VERSION", 999)
    assert first.isdisjoint(keys(planned(store)))


def test_options_at_their_defaults_change_no_key(make_store: Make) -> None:
    """Stating a default is the same experiment."""
    store = make_store()
    stated = {"heads": [{"name": "fcn", "dropout": 0.3}], "training": {"epochs": 20}}
    assert keys(planned(store, heads=["fcn"])) == keys(planned(store, **stated))


def test_presets_give_way_to_what_is_stated() -> None:
    """`training:` lays what it states over the preset, and nothing else."""
    config = TrainConfig.model_validate({"preset": "voc2vec", "training": {"batch": 8}})
    assert config.resolved_training == PRESETS["voc2vec"].model_copy(update={"batch": 8})


def test_more_than_half_cannot_be_set_aside() -> None:
    """`inner` above 0.5 is refused with what would be done instead."""
    with pytest.raises(ValueError, match=r"expected at most 0\.5: one of round"):
        TrainConfig.model_validate({"training": {"inner": 0.6}})


def test_presets_bring_their_papers_folds(make_store: Make) -> None:
    """voc2vec is 10 folds, RENO 5, EmotionShare the corpus' own split; what is stated goes before."""
    store = make_store(split=lambda i: ("train", "dev", "test")[i // 3 % 3])
    assert planned(store, preset="voc2vec").corpora[0].split.n_folds == 10
    assert planned(store).corpora[0].split.n_folds == 5
    assert planned(store, preset="emotion-share").corpora[0].split.text.startswith("the corpus' own dev/test/train")
    assert planned(store, preset="voc2vec", split={"folds": 3}).corpora[0].split.n_folds == 3


def test_corpora_without_the_target_are_named(make_store: Make) -> None:
    """With `corpora: all`, one that cannot be used is left out with the reason; the other is planned."""
    made = make_store.corpus  # type: ignore[attr-defined]
    made = planned(make_store(made(), made(name="plain", label=lambda i: "same")))
    assert [corpus.name for corpus in made.corpora] == ["made"]
    assert any("'plain' is left out" in note and "two classes" in note for note in made.notes)


def test_every_head_and_fusion_is_listed() -> None:
    """The list names every entry with its source."""
    text = list_heads()
    for name, entry in (*HEADS.items(), *FUSIONS.items()):
        assert f"  {name}" in text
        assert entry.source in text


def test_entries_are_frozen_data() -> None:
    """An entry cannot be changed by who reads it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        HEADS.get("fcn").summary = "other"  # type: ignore[misc]


def test_planning_and_listing_import_neither_torch_nor_scikit_learn(make_store: Make) -> None:
    """A grid is planned, and the heads are listed, without the heavy packages."""
    store = make_store()
    code = (
        "import sys; from voxcache.store import open_store; from voxcache.train.config import TrainConfig;"
        "from voxcache.train.plan import plan; from voxcache.train.listing import list_heads;"
        "import voxcache.train.results, voxcache.train.run, voxcache.train.execute;"
        "list_heads(); plan(TrainConfig(), open_store(sys.argv[1]));"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib', 'jinja2', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, store.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
