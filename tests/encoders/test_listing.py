"""The listing shows what the registry holds and what follows from it."""

from __future__ import annotations

import json

import pytest

from voxcache.errors import UnknownName
from voxcache.extract.encoders.listing import list_encoders, show_encoder
from voxcache.extract.encoders.registry import ENCODERS


def test_every_encoder_is_listed() -> None:
    """Each registry name stands in the table and in the JSON."""
    text = list_encoders()
    assert all(name in text for name in ENCODERS)
    assert [card["name"] for card in json.loads(list_encoders(as_json=True))] == list(ENCODERS)


def test_bytes_per_hour_follow_from_the_card() -> None:
    """An hour at 20 ms hop is 179,999 frames of 768 float16; 720 clips of 13 layers of 768 float32."""
    facts = json.loads(show_encoder("hubert-base", as_json=True))
    assert facts["frames_per_hour"] == (3600 * 16_000 - 400) // 320 + 1
    assert facts["frame_bytes_per_hour_and_layer"] == facts["frames_per_hour"] * 768 * 2
    assert facts["pooled_bytes_per_hour_of_5_s_clips"] == 720 * 13 * 768 * 4


def test_an_unknown_name_gets_the_nearest() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnknownName, match="did you mean 'hubert-large'"):
        show_encoder("hubert-lagre")
