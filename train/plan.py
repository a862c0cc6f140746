"""From the configuration and the store to the list of experiments, each with the key it is remembered by.

Nothing here imports torch or scikit-learn: a finished grid is recognised in well under a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, TrainError, nearest
from ..store.recalled import recalled, sentence
from . import clips as clips_module
from . import splits
from .cells import cells, choose, holds, refuse_unsuited, refuse_weighted, resolve
from .config import TrainConfig
from .fusions import FUSIONS
from .grid import CorpusPlan, EncoderFacts, Plan
from .heads import HEADS
from .keys import experiment
from .listed import ClipList, listed, read_clip_list, unknown_clips
from .published import published_of
from .sameaudio import across_corpora, audio_of
from .sense import doubtful, senseless
from .shown import unknown

if TYPE_CHECKING:
    from ..store import Corpus, EncoderGroup, Store


def plan(config: TrainConfig, store: Store) -> Plan:
    """Return the grid that `config` asks for over `store`.

    Raises:
        ConfigError: everything that cannot be done as asked, at once.
        TrainError: no clip is usable, or those of one class only.
    """
    problems: list[str] = []
    published_of(config.published)
    heads = choose("head", HEADS, config.heads, problems)
    fusions = choose("fusion", FUSIONS, config.fusion.methods if config.fusion else (), problems)
    refuse_weighted(config, [*heads, *fusions], problems)
    corpora, notes = _corpora(config, store, problems)
    notes += across_corpora([(corpus.name, corpus.clips.audio) for corpus in corpora])
    for planned in corpora:
        refuse_unsuited(config, planned, [*heads, *fusions], problems)
    found = [(corpus, cell) for corpus in corpora for cell in cells(config, corpus, heads, fusions, problems)]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    experiments = tuple(
        experiment(config, chosen.trained_by(config), corpus, inputs, chosen, seed)
        for corpus, (inputs, chosen) in found
        for seed in (config.seeds if chosen.learner.seeded else config.seeds[:1])
    )
    if not experiments:
        raise ConfigError(
            "train: nothing to run: expected heads, or a fusion and two encoders. Name one under `heads:`."
        )
    if problems := unknown(experiments, config.shown):
        raise ConfigError(problems)
    return Plan(config, config.resolved_training, tuple(corpora), experiments, tuple(notes))


def _corpora(config: TrainConfig, store: Store, problems: list[str]) -> tuple[list[CorpusPlan], list[str]]:
    plans, notes = [], []
    names = _names("corpora", config.corpora, store.corpora, problems)
    chosen = None if config.clips is None else read_clip_list(config.clips)
    if chosen is not None:
        problems += unknown_clips(chosen, store, names)
    for name in names:
        try:
            planned = _corpus(config, store.corpus(name), chosen)
        except ConfigError as error:
            if config.corpora == "all" and len(store.corpora) > 1:
                notes += [f"corpus {name!r} is left out: {problem}" for problem in error.problems]
            else:
                problems += error.problems
            continue
        except TrainError as error:
            if config.corpora != "all" or len(store.corpora) == 1:
                raise
            notes.append(f"corpus {name!r} is left out: {error}")
            continue
        if planned is None:
            notes.append(f"corpus {name!r} is left out: none of the chosen encoders has embedded any of it")
            continue
        plans.append(planned)
    if config.encoders != "all":
        known = sorted({name for corpus in store.corpora for name in store.corpus(corpus).encoders})
        problems += [
            f"train.encoders: {name!r} is not in the store{nearest(name, known)} {holds(known)}"
            for name in config.encoders
            if resolve(name, known) is None
        ]
    if not plans and not problems:
        problems.append("; ".join(notes) or f"store {store.path}: holds no corpus. Run `voxcache extract` first.")
    return plans, notes


def _names(what: str, wanted: Any, known: Sequence[str], problems: list[str]) -> list[str]:
    if wanted == "all":
        return list(known)
    problems += [
        f"train.{what}: {name!r} is not in the store{nearest(name, known)} {holds(known)}"
        for name in wanted
        if name not in known
    ]
    problems += [f"train.{what}: {name!r} is named twice. Remove one." for name, n in Counter(wanted).items() if n > 1]
    return [name for name in dict.fromkeys(wanted) if name in known]


def _corpus(config: TrainConfig, corpus: Corpus, chosen: ClipList | None) -> CorpusPlan | None:
    notes: list[str] = []
    named = listed(corpus, chosen)
    encoders = []
    for name in _encoder_names(config, corpus, notes):
        encoder = corpus.encoder(name)
        if (encoder.ledger().ok & named.rows).any():
            encoders.append(encoder)
            if why := recalled(encoder.key):
                notes.append(sentence(f"{corpus.name}/{name}", why))
        else:
            notes.append(f"encoder {name!r} is left out: it has embedded no clip yet. Run `voxcache extract`.")
    if not encoders:
        return None
    labelled = clips_module.labelled(corpus, config.target, config.split.group, named)
    labelled = replace(labelled, audio=audio_of(corpus, labelled.rows))
    exact = "folds" in config.split.model_fields_set
    fold, n_folds, text, grouped = splits.assign(labelled, config.resolved_split, exact=exact)
    clips = clips_module.usable(labelled, encoders)
    kept = np.isin(labelled.rows, clips.rows)
    target = config.target_names[0]
    split = splits.finish(clips, fold[kept], n_folds, text, grouped, target=target)
    if problems := senseless(clips, split, target):
        raise ConfigError(problems)
    if clips.split is not None and config.resolved_split.kind != "predefined" and not config.split.source:
        notes.append("the corpus has a split of its own; `split: {kind: predefined}` uses it")
    if config.inputs.layer == "best" and config.fusion is not None:
        notes.append("`layer: best` is for heads and late fusions; other fusions take the last layer")
    facts = tuple(_facts(encoder, named.rows) for encoder in encoders)
    return CorpusPlan(
        corpus.name,
        dict(corpus.attrs),
        clips,
        split,
        config.resolved_split,
        facts,
        (*notes, *split.notes, *doubtful(clips, split, target)),
        dict(zip(labelled.ids.tolist(), fold.tolist(), strict=True)),
    )


def _encoder_names(config: TrainConfig, corpus: Corpus, notes: list[str]) -> list[str]:
    if config.encoders == "all":
        return list(corpus.encoders)
    names = []
    for name in config.encoders:
        stored = resolve(name, corpus.encoders)
        if stored is None:
            notes.append(f"encoder {name!r} has not embedded this corpus")
        elif stored not in names:
            names.append(stored)
    return names


def _facts(encoder: EncoderGroup, rows: np.ndarray) -> EncoderFacts:
    card = encoder.card
    return EncoderFacts(
        name=encoder.name,
        content=encoder.content_hash(),
        origin=encoder.weights_origin,
        is_random=encoder.is_random,
        pretraining=tuple(card.get("pretraining") or ()),
        licence=str(card.get("licence") or "unknown"),
        n_layers=encoder.n_layers,
        layers=encoder.layers,
        dim=encoder.dim,
        has_std=encoder.has_std,
        frame_layers=encoder.frame_layers,
        counts=tuple(encoder.ledger().counts(rows).items()),
    )
