"""Corpora: what reads a folder or a table of audio into clips with labels, groups and targets.

`scan_corpus` picks the adapter. Others add their own through the entry point group "voxcache.corpora".
"""

from __future__ import annotations

import dataclasses

from ...errors import ConfigError
from ...registry import Registry
from .asvp_esd import ASVP_ESD
from .base import About, Adapter, ClipSource, Column, CorpusConfig, CorpusScan, id_problems, raise_all
from .cnvve import CNVVE
from .donate_a_cry import DONATE_A_CRY
from .emotion_share import EMOTION_SHARE
from .folders import FOLDERS
from .jnv import JNV
from .manifest import MANIFEST
from .nonverbal_vocalization import NONVERBAL_VOCALIZATION
from .synthetic import SYNTHETIC
from .vivae import VIVAE

__all__ = ["CORPORA", "About", "Adapter", "ClipSource", "Column", "CorpusConfig", "CorpusScan", "scan_corpus"]

CORPORA: Registry[Adapter] = Registry("corpus adapter", group="voxcache.corpora")
for _adapter in (MANIFEST, FOLDERS, SYNTHETIC, EMOTION_SHARE):
    CORPORA.register(_adapter.name, _adapter)
for _release in (DONATE_A_CRY, ASVP_ESD, JNV, VIVAE, CNVVE, NONVERBAL_VOCALIZATION):
    CORPORA.register(_release.name, _release.adapter())

_COMMON = frozenset({"adapter", "root", "licence", "citation", "homepage"})


def scan_corpus(name: str, config: CorpusConfig) -> CorpusScan:
    """Return the corpus as found on disk, read by the adapter named, else by the manifest, else by folders.

    Raises:
        ConfigError: all that is wrong with the configuration, the manifest or the folder. Audio is not opened.
    """
    adapter = CORPORA.get(config.adapter or ("manifest" if config.manifest else "folders"))
    foreign = sorted(config.model_fields_set - _COMMON - adapter.options)
    if foreign:
        known = ", ".join(sorted(_COMMON | adapter.options))
        raise ConfigError([f"corpus {name}, {option}: expected an option of the adapter {adapter.name}, which knows "
                           f"{known}. Remove it or choose another adapter." for option in foreign])  # fmt: skip
    scan = adapter.scan(name, config)
    raise_all(id_problems((f"corpus {name}", clip.clip) for clip in scan.clips))
    stated = {key: getattr(config, key) for key in ("licence", "citation", "homepage") if getattr(config, key)}
    return dataclasses.replace(scan, **stated)
