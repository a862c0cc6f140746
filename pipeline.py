"""pipeline.yaml: what to embed, with what, and which experiments to run on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import ConfigError, nearest
from .extract.config import EncoderConfig, ExtractConfig
from .extract.corpora import CorpusConfig
from .folders import results_beside
from .train.config import TrainConfig

M = TypeVar("M", bound=BaseModel)


class Pipeline(BaseModel):
    """The whole of pipeline.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field(
        "store.zarr", description="where embeddings are kept: a path or a URL such as s3://bucket/store.zarr"
    )
    results: str | None = Field(
        None,
        description="where results and the report go; default: beside the store, for a URL in the working directory",
    )
    corpora: dict[str, CorpusConfig] = Field(default_factory=dict)
    encoders: tuple[EncoderConfig, ...] = ()
    extract: ExtractConfig = ExtractConfig()
    train: TrainConfig = TrainConfig()

    @field_validator("encoders", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [{"name": item} if isinstance(item, str) else item for item in value]

    @property
    def results_dir(self) -> Path:
        """Where results and the report go."""
        return results_beside(self.store) if self.results is None else Path(self.results)


def load_pipeline(path: str | Path) -> Pipeline:
    """Read and check a pipeline file. Relative paths in it are relative to the working directory.

    Raises:
        ConfigError: every problem found, each with its place such as `$.encoders[1].wieghts`.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found. Name a pipeline file, or start from `voxcache init`.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}. Check the indentation there.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys such as `store:` and `encoders:`, got {type(data).__name__}.")
    return check(Pipeline, data, where=str(path))


def check(model: type[M], data: Mapping[str, Any], *, where: str) -> M:
    """Return `data` as a model. Raises `ConfigError` with every problem, unknown keys with the nearest known one."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError([f"{where}: {_sentence(model, problem)}" for problem in error.errors()]) from None


def schema_json() -> str:
    """Return the JSON Schema of pipeline.yaml."""
    return json.dumps(Pipeline.model_json_schema(), indent=2)


def _sentence(model: type[BaseModel], problem: Any) -> str:
    place = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        return f"{place}: unknown key{nearest(str(problem['loc'][-1]), known)} Known: {', '.join(sorted(known))}."
    return f"{place}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}."


def _known_keys(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    definitions = model.model_json_schema()
    node: Any = definitions
    for part in place:
        node = _descend(_resolve(node, definitions), part)
    return sorted(_resolve(node, definitions).get("properties", {}))


def _descend(node: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return node.get("items", {})
    properties = node.get("properties", {})
    return properties.get(part) or node.get("additionalProperties") or {}


def _resolve(node: Any, definitions: Any) -> Any:
    if not isinstance(node, dict):
        return {}
    if "$ref" in node:
        return _resolve(definitions["$defs"][node["$ref"].rsplit("/", 1)[-1]], definitions)
    for choice in node.get("anyOf", ()):
        found = _resolve(choice, definitions)
        if "properties" in found or "items" in found:
            return found
    return node
