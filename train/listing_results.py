"""Systems and their predictions as sheets: for people, and with every raw number for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .convergence import EXPLAINED, NAMES
from .scores import METRIC_NAMES, METRICS, score_text
from .sheets import Sheet, Value
from .stale import Reasons
from .systems import Kept, System


def for_people(systems: Sequence[System], reasons: Reasons, metrics: Sequence[str]) -> Sheet:
    """Return a line a system: mean ± standard deviation over folds, those of classes in percent."""
    several = len({system.target for system in systems}) > 1
    unfinished = any(system.convergence.text for system in systems)
    columns = (
        "id",
        "corpus",
        "encoder",
        "input",
        "head or fusion",
        *(("target",) if several else ()),
        "clips",
        "seeds",
    )
    rows = []
    for system in systems:
        mark = " (stale)" if any(run.number in reasons for run in system.runs) else ""
        row: list[Value] = [system.id + mark, system.corpus, system.encoder, system.input, system.label]
        row += [system.target] if several else []
        row += [f"{system.n_used} of {system.n_total}", len(system.runs)]
        row += [_plus_minus(system, metric) for metric in metrics]
        rows.append((*row, system.convergence.text) if unfinished else tuple(row))
    names = (*columns, *(METRIC_NAMES[metric] for metric in metrics), *(("training",) if unfinished else ()))
    return Sheet(names, tuple(rows), caption(metrics) + (f" {_sentence(EXPLAINED)}" if unfinished else ""))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def caption(metrics: Sequence[str]) -> str:
    """Return what the numbers are."""
    unit = "Scores of classes in percent, m" if any(metric in METRICS for metric in metrics) else "M"
    return (
        f"{unit}ean over folds and seeds ± standard deviation over folds, seeds averaged (with one fold: over seeds), as papers "
        f"report. `voxcache results compare` has intervals and tests."
    )


def _plus_minus(system: System, metric: str) -> str:
    if metric not in system.metrics:
        return ""
    mean = score_text(metric, system.mean(metric))
    std = next((value for value in system.deviations(metric) if value is not None), None)
    return mean if std is None else f"{mean} ± {score_text(metric, std)}"


_RAW = (
    *("id", "corpus", "kind", "encoders", "input", "architecture", "label", "target", "n_used", "n_total", "seeds"),
    *("n_folds", "n_parameters", "train_s", "device", "finished", "stale", *NAMES),
)


def raw(systems: Sequence[System], reasons: Reasons, metrics: Sequence[str]) -> Sheet:
    """Return every number in full, scores as parts of 1, with the reasons why results are stale."""
    scores = tuple(f"{metric}_{part}" for metric in metrics for part in ("mean", "std_folds", "std_seeds"))
    rows = []
    for system in systems:
        runs = system.runs
        values: list[Value] = [system.id, system.corpus, system.kind, system.encoder, system.input, system.architecture]
        values += [system.label, system.target, system.n_used, system.n_total]
        values += [" ".join(str(run.seed) for run in runs), len(runs[0].folds[system.metrics[0]])]
        values += [runs[0].n_parameters, round(sum(run.train_s for run in runs), 3), runs[0].device]
        values += [max(run.finished for run in runs)]
        values += ["; ".join(dict.fromkeys(reasons[run.number] for run in runs if run.number in reasons))]
        values += system.convergence.numbers
        for metric in metrics:
            held = metric in system.metrics
            values += [system.mean(metric), *system.deviations(metric)] if held else [None] * 3
        rows.append(tuple(values))
    return Sheet((*_RAW, *scores), tuple(rows))


def each_seed(systems: Sequence[System]) -> list[System]:
    """Return every seed as a system of its own."""
    return [replace(system, runs=(run,)) for system in systems for run in system.runs]


_PREDICTION = ("id", "corpus", "encoder", "input", "architecture", "seed", "fold", "clip", "group")


def predictions(kept: Kept, systems: Sequence[System]) -> Sheet:
    """Return a line a clip and seed: what is true, what was said, and each class' probability.

    Columns are `true`, `predicted`, `p: <class>`; with continuous targets `true: <target>`, `predicted: <target>`.
    """
    lines = [line for system in systems for line in _lines(kept, system)]
    columns = tuple(dict.fromkeys(name for line in lines for name in line))
    return Sheet(columns or _PREDICTION, tuple(tuple(line.get(name) for name in columns) for line in lines))


def _lines(kept: Kept, system: System) -> list[dict[str, Value]]:
    clips = kept.clips(system)
    about = (system.id, system.corpus, system.encoder, system.input, system.label)
    lines = []
    for run in system.runs:
        for clip, fold, said in zip(*kept.predictions(run, len(clips.names)), strict=True):
            group = None if clips.groups is None else str(clips.groups[clip])
            line: dict[str, Value] = dict(
                zip(_PREDICTION, (*about, run.seed, int(fold), str(clips.ids[clip]), group), strict=True)
            )
            if clips.y.ndim == 2:
                for name, true, value in zip(clips.names, clips.y[clip], said, strict=True):
                    line |= {f"true: {name}": float(true), f"predicted: {name}": float(value)}
            else:
                line |= {"true": clips.names[clips.y[clip]], "predicted": clips.names[int(said.argmax())]}
                line |= {f"p: {name}": float(value) for name, value in zip(clips.names, said, strict=True)}
            lines.append(line)
    return lines
