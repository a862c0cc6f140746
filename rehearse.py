"""Rehearsing a recipe: made audio in the layouts of the official releases, and the recipe with random weights.

What a recipe does can be tried so from end to end without its corpora and checkpoints. Every table that comes out says that
the weights are random; the audio is made, so that scores say that the recipe runs and nothing else.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.random import RandomState

from .errors import ConfigError
from .extract.corpora import asvp_esd, bursts, cnvve, donate_a_cry, emotion_share, nonverbal_vocalization, vivae
from .pipeline import Pipeline, check, load_pipeline

JNV = ("angry", "disgust", "fear", "happy", "sad", "surprise")
N_SPEAKERS = 12
SMALL = {"audio-mamba": "audio-mamba-tiny", "": "wav2vec2-mini"}
"""What `small` builds in place of a family of networks; the rest, which has no weights, stays."""


@dataclass(frozen=True)
class Take:
    """One clip to be made: class `label` of `classes`, by one speaker."""

    label: int
    speaker: int
    number: int


def _asvp(take: Take, *, babies: bool = False) -> str:
    actor = 50 + take.speaker if babies else take.speaker + 1
    folder = "Bonus" if babies else "Audio"
    code = f"03-02-{take.label + 1:02}-01-{take.number + 1:02}-{actor:02}-{'04' if babies else '02'}-01-02"
    return f"{folder}/actor_{actor:02}/{code}.wav"


def _jnv(take: Take) -> str:
    speaker = ("F1", "F2", "M1", "M2")[take.speaker % 4]
    return f"JNV/{speaker}/{speaker}_{JNV[take.label]}_{take.number:02}_F.wav"


def _vivae(take: Take) -> str:
    label = list(vivae.PUBLISHED)[take.label]
    return f"full_set/S{take.speaker % 11 + 1:02}_{label}_{('low', 'peak')[take.number % 2]}_{take.number + 1:02}.wav"


def _cnvve(take: Take) -> str:
    return f"raw/{cnvve.CLASSES[take.label]}/p{take.speaker + 1:02}/{take.number + 1:03}.wav"


def _nonverbal(take: Take) -> str:
    folder = nonverbal_vocalization.CLASSES[take.label]
    return f"{folder}/{take.speaker:04}S_{take.label}_{take.number}_{take.speaker % 2}_30_0_0_0.wav"


def _donate(take: Take) -> str:
    label = list(donate_a_cry.PUBLISHED)[take.label]
    code = next(code for code, name in donate_a_cry.REASONS.items() if name == label)
    app = f"{take.speaker:08X}-0000-4000-8000-{take.speaker:012X}"
    return f"{label}/{app}-{1_430_000_000 + take.number}-1.0-f-04-{code}.wav"


LAYOUTS: dict[str, tuple[int, Callable[[Take], str]]] = {
    "asvp-esd": (len(asvp_esd.EMOTIONS), _asvp),
    "asvp-esd-babies": (7, lambda take: _asvp(take, babies=True)),
    "jnv": (len(JNV), _jnv),
    "vivae": (len(vivae.PUBLISHED), _vivae),
    "cnvve": (len(cnvve.CLASSES), _cnvve),
    "nonverbal-vocalization": (len(nonverbal_vocalization.CLASSES), _nonverbal),
    "donate-a-cry": (len(donate_a_cry.PUBLISHED), _donate),
}
"""Number of classes of each release, and the path of a clip in it."""


def rehearse(
    recipe: str | Path,
    folder: str | Path,
    *,
    clips: int = 4,
    small: bool = False,
    seeds: int | None = None,
    epochs: int | None = None,
) -> Path:
    """Write what a recipe needs below `folder`, and the recipe itself; return the path of that pipeline file.

    A corpus whose folder is there already is used as it is; any other is made below `folder`/data.

    Args:
        recipe: a pipeline file, or the name of one of ours, such as "reno".
        clips: made clips of each class (EmotionShare: ten times as many in all).
        small: put small networks in the place of the recipe's, under the same names.
        seeds: how many of the recipe's seeds; epochs: at most so many; None: as in the recipe.

    Raises:
        ConfigError: no such recipe, or a corpus whose release we cannot imitate.
    """
    source, folder = _recipe(recipe), Path(folder)
    load_pipeline(source)
    data = yaml.safe_load(source.read_text(encoding="utf-8"))
    for name, corpus in data.get("corpora", {}).items():
        if not Path(str(corpus.get("root", "."))).is_dir():
            corpus["root"] = str(_made(name, corpus, folder / "data", clips))
    data["store"], data["results"] = str(folder / "store.zarr"), str(folder / "results")
    data["encoders"] = [_rehearsed(item, seed, small) for seed, item in enumerate(data.get("encoders", []))]
    train = data.setdefault("train", {})
    if seeds is not None:
        train["seeds"] = list(train.get("seeds", (0, 1, 2)))[:seeds]
    if epochs is not None:
        train.setdefault("training", {})["epochs"] = epochs
    check(Pipeline, data, where=str(source))
    path = folder / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"# {source.name}, rehearsed: made audio, random weights\n" + yaml.safe_dump(data, sort_keys=False), "utf-8"
    )
    return path


def _recipe(recipe: str | Path) -> Path:
    ours = Path(__file__).parent / "recipes"
    for path in (Path(recipe), ours / f"{recipe}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in ours.glob("*.yaml")))
    raise ConfigError(f"recipe {str(recipe)!r}: expected a pipeline file or one of {known}. Name one of these.")


def _rehearsed(item: Any, seed: int, small: bool) -> dict[str, Any]:
    """Return an encoder of the recipe with random weights, where it has any."""
    from .extract.encoders.registry import ENCODERS

    config = {"name": item} if isinstance(item, str) else dict(item)
    name = str(config["name"])
    if ENCODERS.get(name).card.weights != "hub":
        return config
    stored = {"as": f"{config.get('as', name)}-random"}
    if small:
        config["name"] = next(value for prefix, value in SMALL.items() if name.startswith(prefix))
    return {**config, **stored, "weights": "random", "seed": seed}


def _made(name: str, corpus: dict[str, Any], data: Path, clips: int) -> Path:
    adapter = str(corpus.get("adapter"))
    if adapter == "emotion-share":
        return make_shares(data / adapter, clips * 10)
    layout = f"{adapter}-babies" if corpus.get("subset") == "babies" else adapter
    if layout not in LAYOUTS:
        raise ConfigError(
            f"corpus {name!r}: expected an adapter whose release can be imitated ({', '.join(LAYOUTS)}, emotion-share), "
            f"got {adapter!r}. Put the corpus at its `root:`, or take it out of the recipe."
        )
    make_release(layout, data / adapter, clips)
    return data / adapter


def make_release(layout: str, root: Path, clips: int) -> int:
    """Write `clips` made clips of each class in the layout of a release; return how many were written."""
    n_classes, path_of = LAYOUTS[layout]
    takes = list(_takes(n_classes, clips))
    for take in takes:
        _write_burst(root / path_of(take), take)
    return len(takes)


def make_shares(root: Path, clips: int) -> Path:
    """Write made clips in the layout of EmotionShare: 60 % train, 20 % devel, 20 % test with labels withheld."""
    names = ("train",) * 3 + ("devel", "test")
    tables: dict[str, list[list[str]]] = {name: [] for name in names}
    for index, take in enumerate(Take(i % 9, i % N_SPEAKERS, i) for i in range(clips)):
        split = names[index % len(names)]
        random = RandomState([3, index])
        shares = np.clip(0.15 * random.standard_normal(9) + (np.arange(9) == take.label) * 0.6 + 0.2, 0, 1)
        name = f"{index:05}.wav"
        _write_burst(root / "wav" / name, take)
        tables[split].append([name, *("?" if split == "test" else f"{share:.3f}" for share in shares)])
    for split, rows in tables.items():
        (root / "lab").mkdir(parents=True, exist_ok=True)
        with (root / "lab" / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("filename", *emotion_share.EMOTIONS), *rows])
    return root


def _takes(n_classes: int, clips: int) -> Iterator[Take]:
    """Yield takes in which every speaker says several classes, and the classes share their speakers."""
    for label in range(n_classes):
        for number in range(clips):
            yield Take(label, (label + number) % N_SPEAKERS, number)


def _write_burst(path: Path, take: Take) -> None:
    """Write one of the made bursts: classes beyond the six recipes are told apart by their pitch as well."""
    label = list(bursts.RECIPES)[take.label % len(bursts.RECIPES)]
    voice = bursts.speaker(take.speaker, take.label // len(bursts.RECIPES))
    samples, _ = bursts.burst(label, voice, RandomState([1, take.label, take.speaker, take.number]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(bursts.RATE_HZ)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
