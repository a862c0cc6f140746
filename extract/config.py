"""The `encoders:` and `extract:` sections of pipeline.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..store.schema import FrameDtype, Statistic
from .encoders.base import Dtype, Request, Scalar


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EncoderConfig(_Section):
    """One encoder. A bare name in the list means all defaults."""

    name: str = Field(description="registry name, hub id, local folder, or hear:package.module")
    store_as: str | None = Field(
        None, alias="as", description="name in the store; default: its name, with -random where weights are"
    )
    weights: str | None = Field(None, description="hub, random, or a local path; default: what the encoder's card says")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    seed: int = Field(0, description="seed of random weights")
    dtype: Dtype = Field("float32", description="precision of the forward pass")
    frames: tuple[int | Literal["last"], ...] = Field(
        (), description="layers whose frames are kept besides the pooled vectors"
    )
    options: dict[str, Scalar] = Field(default_factory=dict, description="settings of the family, such as layout: time")

    def request(self) -> Request:
        """Return what the encoder registry is asked for."""
        return Request(
            name=self.name,
            weights=self.weights,
            revision=self.revision,
            seed=self.seed,
            dtype=self.dtype,
            options=self.options,
        )


class ExtractConfig(_Section):
    """How stage 1 runs.

    `max_s`, `overlap_s`, `statistics` and `frames_dtype` say what is stored; `device`, `batch_s`, `compile` and `unit_clips`
    change its numbers by rounding at most.
    """

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    batch_s: float | None = Field(
        None, gt=0, description="padded audio seconds a batch; default: measured on the device"
    )
    max_s: float = Field(30.0, ge=2, description="longer clips run in overlapping windows")
    overlap_s: float = Field(2.0, ge=0.5, le=10, description="overlap of those windows")
    statistics: tuple[Statistic, ...] = Field(("mean",), description="mean, or mean and std over frames")
    frames_dtype: FrameDtype = Field("float16", description="precision of stored frames")
    workers: int | None = Field(None, ge=1, description="decoding threads; default: one a core, at most 8")
    compile: bool = Field(False, description="torch.compile the blocks of transformer encoders; see docs/gpu.md")
    unit_clips: int | None = Field(None, ge=1, description="clips a unit of work, for corpora registered now")
