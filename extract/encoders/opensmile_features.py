"""openSMILE's feature sets: functionals, one vector a clip, and their low-level descriptors as frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import EncoderError
from .base import SAMPLE_RATE_HZ, Card, Emit, Encoder, Entry, FrameRule, Request, canonical_hash
from .requests import refuse_options, refuse_weights

if TYPE_CHECKING:
    import torch

EXTRACTOR = "opensmile-1"
SHORTEST_SAMPLES = 960
"""openSMILE 3's configurations give nothing for clips below 60 ms, measured; shorter clips are followed by silence."""

FUNCTIONALS = FrameRule("clip", hop_samples=160, receptive_samples=SHORTEST_SAMPLES)
DESCRIPTORS = FrameRule("framed", hop_samples=160, receptive_samples=800)

EGEMAPS = "Eyben et al., The Geneva Minimalistic Acoustic Parameter Set (GeMAPS), IEEE TAFFC 2016"
COMPARE = "Schuller et al., The INTERSPEECH 2016 Computational Paralinguistics Challenge, Interspeech 2016"
LICENCE = "audEERING research licence (openSMILE), not for commercial products"


class OpensmileEncoder(Encoder):
    """Runs the `opensmile` package clip by clip on a CPU core."""

    batched = False

    def __init__(self, request: Request, card: Card, feature_set: str, level: str) -> None:
        refuse_weights(request)
        refuse_options(request)
        self.card = card
        self.device = "cpu"
        self.dtype = "float32"
        self._smile = _smile(card.name, feature_set, level)
        names = list(self._smile.feature_names)
        self.weights_sha256 = canonical_hash(names)
        self.weights_origin = "none"
        self.preprocessing = {
            "extractor": EXTRACTOR,
            "opensmile": _version(),
            "feature_set": feature_set,
            "level": level,
            "features": canonical_hash(names),
        }

    @property
    def feature_names(self) -> tuple[str, ...]:
        """openSMILE's names, in the order of the vector."""
        return tuple(self._smile.feature_names)

    def encode(self, waves: torch.Tensor, n_samples: Sequence[int], emit: Emit) -> None:
        """Run a batch, one clip after the other; see `Encoder.encode`."""
        import torch

        n_frames = [self.card.frame.n_frames(n) for n in n_samples]
        out = torch.zeros(len(n_samples), max(n_frames), self.card.dim)
        for i, n in enumerate(n_samples):
            out[i, : n_frames[i]] = self._features(waves[i, :n])[: n_frames[i]]
        emit(0, out.to(waves.device))

    def _features(self, wave: torch.Tensor) -> torch.Tensor:
        import torch

        padded = torch.nn.functional.pad(wave, (0, max(0, SHORTEST_SAMPLES - len(wave))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            table = self._smile.process_signal(padded.cpu().numpy(), SAMPLE_RATE_HZ)
        return torch.from_numpy(table.to_numpy(dtype="float32", copy=True))  # [frame, feature]


def _smile(name: str, feature_set: str, level: str) -> Any:
    try:
        import opensmile
    except ImportError as error:
        raise EncoderError(
            f"{name}: expected the opensmile package, got none. Install it with `pip install voxcache[opensmile]`."
        ) from error
    return opensmile.Smile(
        feature_set=getattr(opensmile.FeatureSet, feature_set), feature_level=getattr(opensmile.FeatureLevel, level)
    )


def _version() -> str:
    from importlib.metadata import version

    return version("opensmile")


def opensmile_entry(name: str, feature_set: str, level: str, dim: int, citation: str) -> Entry:
    """Return the entry of one feature set at one level."""
    card = Card(
        name=name,
        family="opensmile",
        source="computed",
        dim=dim,
        n_layers=1,
        frame=FUNCTIONALS if level == "Functionals" else DESCRIPTORS,
        max_window_s=None,
        licence=LICENCE,
        citation=citation,
        weights="none",
        n_parameters=0,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        return OpensmileEncoder(request, card, feature_set, level)

    return Entry(card, load, {"feature_set": feature_set, "level": level})


_SETS: tuple[tuple[str, str, str, int, str], ...] = (
    ("opensmile-egemaps", "eGeMAPSv02", "Functionals", 88, EGEMAPS),
    ("opensmile-compare", "ComParE_2016", "Functionals", 6373, COMPARE),
    ("opensmile-egemaps-lld", "eGeMAPSv02", "LowLevelDescriptors", 25, EGEMAPS),
    ("opensmile-compare-lld", "ComParE_2016", "LowLevelDescriptors", 65, COMPARE),
)
ENTRIES: dict[str, Entry] = {facts[0]: opensmile_entry(*facts) for facts in _SETS}
