"""emotion2vec and emotion2vec+ (Ma et al., Findings of ACL 2024, arXiv 2312.15185): cards, lazy loader. No torch.

Facts are those of the authors' release, github.com/ddlBoJack/emotion2vec, and of funasr, which runs its checkpoints.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .base import Card, Encoder, Entry, Request
from .speech_cards import FRONT_END, LIBRISPEECH, conv_rule

FRAME = conv_rule(FRONT_END)
PRETRAINED_ON = (LIBRISPEECH, "IEMOCAP", "MELD", "CMU-MOSEI", "MEAD", "MSP-Podcast")
PSEUDO_LABELLED = "emotion2vec+ pseudo-labelled speech"


@dataclass(frozen=True)
class Shape:
    """The architecture; what all four models share is the default.

    Attributes:
        dim: length of a feature vector.
        n_heads: attention heads.
        n_prenet: blocks of the audio encoder, run first.
        n_main: blocks after it.
        n_channels: of the convolutional front end.
        n_extra: learned tokens put before the frames, dropped at the end.
        n_positional: stacked positional convolutions.
        positional_kernel: frames that each of them sees.
        positional_groups: groups of channels in each.
    """

    dim: int
    n_heads: int
    n_prenet: int = 4
    n_main: int = 8
    n_channels: int = 512
    n_extra: int = 10
    n_positional: int = 5
    positional_kernel: int = 19
    positional_groups: int = 16


BASE = Shape(dim=768, n_heads=12)
LARGE = Shape(dim=1024, n_heads=16)


def _entry(
    name: str, shape: Shape, file: str, *, pretraining: tuple[str, ...], n_parameters: int, revision: str | None = None
) -> Entry:
    card = Card(
        name=name,
        family="emotion2vec",
        source=f"emotion2vec/{name.replace('-', '_')}",
        revision=revision,
        dim=shape.dim,
        n_layers=1 + shape.n_prenet + shape.n_main,
        frame=FRAME,
        normalise=True,
        normalise_eps=1e-5,
        citation="Ma et al., emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation, "
        "Findings of ACL 2024",
        pretraining=pretraining,
        n_parameters=n_parameters,
    )

    def load(request: Request, card: Card, device: str) -> Encoder:
        from .emotion2vec_encoder import load_emotion2vec

        return load_emotion2vec(request, card, device, shape=shape, file=file)

    return Entry(card, load, {"shape": asdict(shape), "front_end": dict(FRONT_END)})


ENTRIES: dict[str, Entry] = {
    "emotion2vec-base": _entry(
        "emotion2vec-base", BASE, "emotion2vec_base.pt", pretraining=PRETRAINED_ON, n_parameters=93_171_212
    ),
    "emotion2vec-plus-seed": _entry(
        "emotion2vec-plus-seed", BASE, "model.pt", pretraining=(*PRETRAINED_ON, "EmoBox"), n_parameters=93_171_212
    ),
    "emotion2vec-plus-base": _entry(
        "emotion2vec-plus-base",
        BASE,
        "model.pt",
        pretraining=(*PRETRAINED_ON, "EmoBox", PSEUDO_LABELLED),
        n_parameters=93_171_212,
    ),
    "emotion2vec-plus-large": _entry(
        "emotion2vec-plus-large",
        LARGE,
        "model.pt",
        revision="6c303ba987b86b93193de93e34bb2b077a6bedc4",
        pretraining=(*PRETRAINED_ON, "EmoBox", PSEUDO_LABELLED),
        n_parameters=162_130_960,
    ),
}
