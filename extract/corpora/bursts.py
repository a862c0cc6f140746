"""Vocal bursts from formulas: a glottal pulse train and noise, shaped in time, through the resonances of a vocal tract.

Source and filter as in Fant (1960), with Rosenberg's (1971) pulse. Each class is a row of numbers; a clip draws its own
from around them, and some clips are drawn part of the way to another class, so that classes overlap as real ones do.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

RATE_HZ = 22_050
SOUND_CM_PER_S = 35_000.0

Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Speaker:
    """A voice: `f0_hz` when at rest, length of the vocal tract, and how breathy it is (0 to 1)."""

    name: str
    f0_hz: float
    tract_cm: float
    breath: float


@dataclass(frozen=True)
class Recipe:
    """How a burst sounds.

    Attributes:
        length_s: of the whole clip.
        rate_hz: bursts per second.
        duty: part of a burst's time that sounds.
        f0: pitch, relative to the speaker's at rest.
        arch: rise and fall of pitch within a burst, relative.
        fall: fall of pitch over the clip, relative.
        tremor: depth of the 7 Hz modulation of pitch.
        rough: depth of the 70 Hz modulation of loudness.
        voiced: amplitude of the pulse train.
        noise: amplitude of breath.
        tilt: slope of the spectrum, dB per octave.
        decay: loss of loudness over the clip (0 to 1).
        opening: first resonance, relative to that of a neutral tube.
    """

    length_s: float
    rate_hz: float
    duty: float
    f0: float
    arch: float
    fall: float
    tremor: float
    rough: float
    voiced: float
    noise: float
    tilt: float
    decay: float
    opening: float

    def towards(self, other: Recipe, part: float) -> Recipe:
        """Return the recipe that lies `part` of the way to another."""
        return Recipe(*(a + part * (b - a) for a, b in zip(astuple(self), astuple(other), strict=True)))


RECIPES = {
    "laugh": Recipe(1.3, 4.8, 0.55, 1.45, 0.15, 0.35, 0.00, 0.10, 0.80, 0.30, -6.0, 0.60, 1.25),
    "cry": Recipe(2.0, 1.0, 0.85, 1.75, 0.30, 0.10, 0.05, 0.15, 1.00, 0.12, -7.0, 0.20, 1.35),
    "scream": Recipe(1.0, 0.9, 0.95, 3.00, 0.12, 0.05, 0.01, 0.65, 1.00, 0.20, -3.0, 0.15, 1.55),
    "moan": Recipe(1.6, 0.7, 0.95, 0.95, 0.12, 0.20, 0.01, 0.05, 0.90, 0.06, -12.0, 0.30, 0.75),
    "sigh": Recipe(1.3, 0.8, 0.95, 1.00, 0.05, 0.40, 0.00, 0.05, 0.30, 0.70, -9.0, 0.85, 1.00),
    "pant": Recipe(1.7, 2.8, 0.70, 1.05, 0.05, 0.05, 0.00, 0.05, 0.12, 0.80, -8.0, 0.10, 1.10),
}
NEIGHBOURS = {"laugh": "pant", "cry": "scream", "scream": "cry", "moan": "sigh", "sigh": "moan", "pant": "sigh"}
"""Where each class' unclear clips lie between."""

UNCLEAR = 0.25
"""Part of the clips that lie between two classes."""


def speaker(index: int, seed: int) -> Speaker:
    """Return the voice with this index; even ones are high and short of tract, odd ones low and long."""
    random = RandomState([seed, 1, index])
    f0_hz, tract_cm = ((205.0, 14.6), (118.0, 17.2))[index % 2]
    return Speaker(
        f"s{index + 1:02}",
        f0_hz=f0_hz * random.uniform(0.82, 1.22),
        tract_cm=tract_cm * random.uniform(0.94, 1.06),
        breath=random.uniform(0.0, 0.5),
    )


def burst(label: str, voice: Speaker, random: RandomState) -> tuple[Wave, float]:
    """Return (samples [sample] within -1 to 1 at `RATE_HZ`, intensity 0 to 1) of one clip of class `label`."""
    intensity = random.uniform()
    recipe = _draw(label, intensity, random)
    n = int(np.clip(recipe.length_s, 0.4, 3.0) * RATE_HZ)
    loudness, position = _bursts(recipe, n, random)
    voiced = _pulses(_pitch(recipe, voice, position, random)) * recipe.voiced
    breath = random.standard_normal(n) * recipe.noise * (0.12 + 0.12 * voice.breath)
    rough = 1 - recipe.rough * (0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(55, 85) * np.arange(n) / RATE_HZ))
    wave = _through_tract((voiced * rough + breath) * loudness, recipe, voice, random)
    room = random.standard_normal(n) * np.abs(wave).max() * 10 ** (-random.uniform(20, 45) / 20)
    wave = wave + 0.3 * room
    return wave / np.abs(wave).max() * (0.25 + 0.3 * intensity + random.uniform(0, 0.4)), intensity


def _draw(label: str, intensity: float, random: RandomState) -> Recipe:
    recipe = RECIPES[label]
    if random.uniform() < UNCLEAR:
        recipe = recipe.towards(RECIPES[NEIGHBOURS[label]], random.uniform(0.3, 0.6))
    spread = np.exp(random.standard_normal(len(astuple(recipe))) * 0.18)
    drawn = Recipe(*(number * factor for number, factor in zip(astuple(recipe), spread, strict=True)))
    effort = intensity - 0.5
    return replace(drawn, f0=drawn.f0 * (1 + 0.3 * effort), tilt=drawn.tilt + 4 * effort)


def _bursts(recipe: Recipe, n: int, random: RandomState) -> tuple[Wave, Wave]:
    """Return loudness [sample], and position within the current burst (0 to 1) [sample]."""
    n_bursts = max(1, round(n / RATE_HZ * recipe.rate_hz))
    edges = np.linspace(0, n, n_bursts + 1)
    edges[1:-1] += random.uniform(-0.15, 0.15, n_bursts - 1) * n / n_bursts
    sample = np.arange(n)
    which = np.searchsorted(edges, sample, side="right") - 1
    position = (sample - edges[which]) / (edges[which + 1] - edges[which])
    shape = np.sin(np.pi * np.clip(position / min(recipe.duty, 1.0), 0, 1)) ** 0.7
    level = random.uniform(0.6, 1.0, n_bursts)[which]
    return shape * level * (1 - min(recipe.decay, 0.95) * sample / n), position


def _pitch(recipe: Recipe, voice: Speaker, position: Wave, random: RandomState) -> Wave:
    """Return the fundamental frequency in Hz [sample]."""
    n = len(position)
    time_s = np.arange(n) / RATE_HZ
    contour = (1 + recipe.arch * np.sin(np.pi * position)) * (1 - min(recipe.fall, 0.8) * time_s / time_s[-1])
    tremor = 1 + recipe.tremor * np.sin(2 * np.pi * random.uniform(5.5, 8.5) * time_s)
    steps = np.arange(0, n + 200, 200)
    jitter = np.interp(np.arange(n), steps, 1 + 0.012 * random.standard_normal(len(steps)))
    f0_hz: Wave = voice.f0_hz * recipe.f0 * contour * tremor * jitter
    return f0_hz


def _pulses(f0_hz: Wave) -> Wave:
    """Return the derivative of a Rosenberg pulse train: opening 40 %, closing 16 % of each period."""
    phase = np.cumsum(f0_hz / RATE_HZ) % 1.0
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / 0.4)
    closing = np.cos(np.pi / 2 * (phase - 0.4) / 0.16)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.56, closing, 0.0))
    return np.diff(flow, prepend=flow[0]) * RATE_HZ / f0_hz / 12


def _through_tract(wave: Wave, recipe: Recipe, voice: Speaker, random: RandomState) -> Wave:
    """Return `wave` through five resonances of a tube closed at one end, and a tilted spectrum."""
    n_fft = 1 << (len(wave) + RATE_HZ // 10).bit_length()  # room for the resonances to ring; powers of two are fast
    hz = np.fft.rfftfreq(n_fft, 1 / RATE_HZ)
    response = np.maximum(hz, 60.0) ** ((recipe.tilt + 6) / 6.02) + 0j  # the pulses fall by about 6 dB an octave less
    for k in range(5):
        centre = (2 * k + 1) * SOUND_CM_PER_S / (4 * voice.tract_cm) * random.uniform(0.95, 1.05)
        centre *= recipe.opening if k == 0 else 1.0
        width = 70.0 + 0.04 * centre + 60 * recipe.noise
        response *= centre**2 / (centre**2 - hz**2 + 1j * hz * width)
    return np.fft.irfft(np.fft.rfft(wave, n_fft) * response)[: len(wave)]
