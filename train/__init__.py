"""Stage 2: experiments over a store."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sklearn_heads import HeadClassifier, HeadRegressor

__all__ = ["HeadClassifier", "HeadRegressor"]


def __getattr__(name: str) -> Any:
    """Import scikit-learn only when a name that needs it is used."""
    if name in __all__:
        from . import sklearn_heads

        return getattr(sklearn_heads, name)
    raise AttributeError(f"module 'voxcache.train' has no attribute {name!r}")
