"""wav2vec 2.0 (Baevski et al. 2020) and models of its architecture, voc2vec among them."""

from __future__ import annotations

from .base import Entry
from .speech_cards import BASE, LARGE_SIZES, LARGE_STABLE, LIBRI_LIGHT, LIBRISPEECH, Config, speech_entry

WAV2VEC2 = "Baevski et al., wav2vec 2.0: Self-Supervised Learning of Speech Representations, NeurIPS 2020"
MMS = "Pratap et al., Scaling Speech Technology to 1,000+ Languages, JMLR 2024"
ARCH = "La Quatra et al., Benchmarking Representations for Speech, Music, and Acoustic Events, ICASSP Workshops 2024"
VOC2VEC = "Koudounas et al., voc2vec: A Foundation Model for Non-Verbal Vocalization, ICASSP 2025"
VOC125 = ("AudioSet (vocalizations)", "FreeSound babies", "HumanVoiceDataset", "NNIME", "NonSpeech7K", "ReCANVo",
          "SingingDatabase", "TUT (babies)", "VocalSketch", "VocalSound")  # fmt: skip
"""The pre-training collection of voc2vec, table I of its paper."""

MMS_CORPORA = ("MMS-lab-U", "Multilingual LibriSpeech", "CommonVoice", "VoxLingua-107", "BABEL", "VoxPopuli")

BASE_CONFIG: Config = {**BASE, "model_type": "wav2vec2"}
LARGE_CONFIG: Config = {**BASE_CONFIG, **LARGE_SIZES}
STABLE_CONFIG: Config = {**LARGE_STABLE, "model_type": "wav2vec2"}
BILLION_CONFIG: Config = {**STABLE_CONFIG, "hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120}
MINI_CONFIG: Config = {
    **BASE_CONFIG,
    "conv_dim": [64] * 7,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}

ENTRIES: dict[str, Entry] = {
    "wav2vec2-base": speech_entry(
        "wav2vec2-base",
        BASE_CONFIG,
        source="facebook/wav2vec2-base",
        revision="0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
        normalise=True,
        licence="apache-2.0",
        citation=WAV2VEC2,
        pretraining=(LIBRISPEECH,),
        n_parameters=94_370_944,
    ),
    "wav2vec2-large": speech_entry(
        "wav2vec2-large",
        LARGE_CONFIG,
        source="facebook/wav2vec2-large",
        normalise=True,
        licence="apache-2.0",
        citation=WAV2VEC2,
        pretraining=(LIBRISPEECH,),
        n_parameters=315_427_968,
    ),
    "wav2vec2-large-lv60": speech_entry(
        "wav2vec2-large-lv60",
        STABLE_CONFIG,
        source="facebook/wav2vec2-large-lv60",
        revision="0cde644b64dac88d8416bec1c92a4099b850ba0b",
        normalise=True,
        licence="apache-2.0",
        citation=WAV2VEC2,
        pretraining=(LIBRI_LIGHT,),
        n_parameters=315_437_696,
    ),
    "mms-300m": speech_entry(
        "mms-300m",
        STABLE_CONFIG,
        source="facebook/mms-300m",
        revision="4ee317ce793c53dbc041fc4376c7558292dd38dc",
        normalise=True,
        licence="cc-by-nc-4.0",
        citation=MMS,
        pretraining=MMS_CORPORA,
        n_parameters=315_437_696,
    ),
    "mms-1b": speech_entry(
        "mms-1b",
        BILLION_CONFIG,
        source="facebook/mms-1b",
        revision="0d2f7adb9903d98894d70ae11f7fbdfc8cb71a69",
        normalise=True,
        licence="cc-by-nc-4.0",
        citation=MMS,
        pretraining=MMS_CORPORA,
        n_parameters=962_496_128,
    ),
    "wav2vec2-as": speech_entry(
        "wav2vec2-as",
        BASE_CONFIG,
        source="ALM/wav2vec2-base-audioset",
        revision="1a9c42ee701bd70cb720df5526824f2e0c27180c",
        normalise=True,
        licence="cc-by-nc-sa-4.0",
        citation=ARCH,
        pretraining=("AudioSet",),
        n_parameters=94_370_944,
    ),
    "voc2vec": speech_entry(
        "voc2vec",
        BASE_CONFIG,
        source="alkiskoudounas/voc2vec",
        normalise=True,
        licence="apache-2.0",
        citation=VOC2VEC,
        pretraining=VOC125,
        n_parameters=94_370_944,
    ),
    "voc2vec-as": speech_entry(
        "voc2vec-as",
        BASE_CONFIG,
        source="alkiskoudounas/voc2vec-as-pt",
        normalise=True,
        licence="apache-2.0",
        citation=VOC2VEC,
        pretraining=("AudioSet", *VOC125),
        n_parameters=94_370_944,
    ),
    "voc2vec-ls": speech_entry(
        "voc2vec-ls",
        BASE_CONFIG,
        source="alkiskoudounas/voc2vec-ls-pt",
        normalise=True,
        licence="apache-2.0",
        citation=VOC2VEC,
        pretraining=(LIBRISPEECH, *VOC125),
        n_parameters=94_370_944,
    ),
    "wav2vec2-mini": speech_entry(
        "wav2vec2-mini",
        MINI_CONFIG,
        source="computed: wav2vec 2.0 at 4 layers of 128, never trained",
        normalise=True,
        licence="apache-2.0",
        citation=WAV2VEC2,
        pretraining=(),
        n_parameters=999_424,
        weights="random",
    ),
}
