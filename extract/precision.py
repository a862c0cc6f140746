"""What reduced precision costs, measured on the user's own clips and kept beside the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..store.schema import Products
from .embed import Cutting, embed
from .encoders.base import Encoder
from .plan import EncoderPlan

SAMPLE_CLIPS = 6


@dataclass(frozen=True)
class PrecisionError:
    """Relative error |reduced - float32| / |float32| of pooled vectors over a sample: median, and worst clip and layer."""

    dtype: str
    n_clips: int
    median: float
    worst: float
    worst_layer: int

    def __str__(self) -> str:
        found = f"median {self.median:.1e}, worst {self.worst:.1e} in layer {self.worst_layer}"
        return f"{self.dtype} differs from float32 by {found} ({self.n_clips} of your clips)"

    def attributes(self) -> dict[str, object]:
        """Return what the store keeps."""
        return {"precision_error": asdict(self)}


def measure(plan: EncoderPlan, encoder: Encoder, waves: Sequence[np.ndarray], cutting: Cutting) -> PrecisionError:
    """Embed a sample of clips in float32 too and compare every layer. Loads the float32 encoder for as long as that takes."""
    sample = list(waves[:: max(1, len(waves) // SAMPLE_CLIPS)])[:SAMPLE_CLIPS]
    exact = plan.entry.load(replace(plan.config.request(), dtype="float32"), plan.card, encoder.device)
    wanted = embed(exact, sample, cutting=cutting, products=Products()).pooled
    found = embed(encoder, sample, cutting=cutting, products=Products()).pooled
    error = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)  # [clip, layer]
    worst_layer = int(np.nanmax(error, axis=0).argmax())
    return PrecisionError(
        plan.config.dtype, len(sample), float(np.nanmedian(error)), float(np.nanmax(error)), worst_layer
    )
