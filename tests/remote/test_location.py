from __future__ import annotations

from pathlib import Path

import pytest

from voxcache.errors import ConfigError
from voxcache.pipeline import Pipeline
from voxcache.store.location import Url, place, redacted


def test_paths_stay_paths() -> None:
    """What is no URL is a path, a Windows drive and a colon in a name included."""
    for text in ("store.zarr", "/data/a b.zarr", "a:b.zarr", "./x/y.zip"):
        assert place(text) == Path(text)
    assert place("file:///data/a%20b.zarr") == Path("/data/a b.zarr")


@pytest.mark.parametrize("text", ["s3://bucket/dir/store.zarr", "https://host:8080/a%20b.zarr", "memory://s.zarr"])
def test_urls_survive_being_made_a_path(text: str) -> None:
    """`Path` drops a slash of a URL; it is understood all the same."""
    where = place(text)
    assert isinstance(where, Url)
    assert place(Path(text)) == where
    assert where.name in {"store.zarr", "a b.zarr", "s.zarr"}


@pytest.mark.parametrize(
    "text",
    [
        "https://ann:pa@ss@host/store.zarr?X-Amz-Signature=pa@ss",
        "https:/ann:pa@ss@host/store.zarr?sig=pa@ss",
        "GET https://ann:pa@ss@host/s.zarr/zarr.json?sv=1&sig=pa@ss in 2 ms",
    ],
)
def test_nothing_shown_has_a_secret(text: str) -> None:
    """Users, passwords and queries of URLs are left out of any text; hosts and paths stay."""
    shown = redacted(text)
    assert "pa@ss" not in shown
    assert "ann" not in shown
    assert "host/s" in shown


def test_an_address_of_a_store_shows_no_secret() -> None:
    """`str`, `repr` and the name of a URL are safe to print and to store."""
    where = place("https://ann:secret@host/dir/store.zip?sig=secret")
    assert isinstance(where, Url)
    assert "secret" not in f"{where} {where!r} {where.name} {where.host} {where.path}"
    assert (where.name, where.host, where.path) == ("store.zip", "host", "dir/store.zip")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket", "expected a path such as s3://bucket/name.zarr"),
        ("s3://AKIA:hidden@bucket/s.zarr", "AWS_ACCESS_KEY_ID"),
        ("https://ann:hid/den@host/s.zarr", "Percent-encode"),
    ],
)
def test_addresses_that_cannot_be_used(text: str, said: str) -> None:
    """A URL without a path, with keys in it, or with an unencoded password is refused without repeating its secrets."""
    with pytest.raises(ConfigError, match=said) as caught:
        place(text)
    assert "hid" not in str(caught.value)


def test_results_of_a_store_at_a_url_lie_in_the_working_directory() -> None:
    """Results are a local database: beside a local store, in the working directory for a URL."""
    assert Pipeline(store="s3://bucket/dir/cries.zarr").results_dir == Path("cries.results")
    assert Pipeline(store="https://u:p@host/cries.zip?sig=x").results_dir == Path("cries.results")
    assert Pipeline(store="out/cries.zarr").results_dir == Path("out/cries.results")
