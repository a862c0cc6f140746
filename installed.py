"""Whether the packages that are installed fit: what the package's own metadata asks for, and whether they import at all.

A wheel can be installed and yet not load, or be older than what voxcache was tried with. Both end in one sentence with
the line to type (`require`, `blame`), and `voxcache doctor` lists every case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

from .errors import InstallError

MODULES = {
    "scikit-learn": "sklearn", "pyyaml": "yaml", "dask-jobqueue": "dask_jobqueue", "mamba-ssm": "mamba_ssm",
    "umap-learn": "umap",
}  # fmt: skip
"""What a package is imported as, where that is not its name."""

NEEDS_NEWER_TORCH = {"2.11.1": "2.13"}
"""The oldest torch that a release of torchaudio loads with, where its metadata states an older one. Tried; see docs/install.md."""


def requirements(extra: str = "") -> Iterator[tuple[str, str]]:
    """Yield (package, version specifier) of what an extra asks for here, the core's for ""; extras within it are followed.

    Yields nothing where voxcache is not installed but imported from a folder.
    """
    from packaging.requirements import Requirement

    for line in _stated():
        wanted = Requirement(line)
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if always != bool(extra) and (
            always or (wanted.marker is not None and wanted.marker.evaluate({"extra": extra}))
        ):
            if wanted.name == "voxcache":
                for other in sorted(wanted.extras):
                    yield from requirements(other)
            else:
                yield wanted.name.lower(), str(wanted.specifier)


@cache
def _stated() -> tuple[str, ...]:
    try:
        return tuple(requires("voxcache") or ())
    except PackageNotFoundError:
        return ()


def installed_version(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def misfit(package: str, specifier: str) -> str:
    """Return what is wrong with an installed package's version, and the line that mends it; "" where it fits."""
    from packaging.specifiers import SpecifierSet

    number = installed_version(package)
    if number is None:
        return (
            f"{package}: expected {specifier or 'any version'}, it is not installed. Type: {_pip(package, specifier)}"
        )
    if not SpecifierSet(specifier).contains(number, prereleases=True):
        return f"{package}: expected {specifier}, got {number}. Type: {_pip(package, specifier)}"
    return ""


def load_failure(package: str) -> str:
    """Import a package; return why it does not load, and the line that mends it; "" where it loads."""
    try:
        import_module(MODULES.get(package, package))
    except Exception as error:  # whatever a broken binary raises
        number = installed_version(package)
        if number is None:
            return f"{package}: not installed. Type: {_pip(package, '')}"
        return (
            f"{package} {number}: installed, but it does not load: {_first_line(error)}. Type: {_mend(package, number)}"
        )
    return ""


@cache
def need(package: str) -> None:
    """Raise `InstallError` where a package does not load; looked at once a process."""
    if failure := load_failure(package):
        raise InstallError(failure)


def require(extra: str, *imported: str) -> None:
    """Refuse to begin with packages that do not fit.

    Args:
        extra: whose stated versions are compared, beside the core's.
        imported: packages that are imported, too, because what is about to begin cannot do without them.

    Raises:
        InstallError: everything that does not fit, a sentence each with the line to type.
    """
    wanted = dict.fromkeys((*requirements(), *requirements(extra)))
    if missing := [package for package, _ in wanted if installed_version(package) is None]:
        raise InstallError(
            f"{', '.join(missing)}: needed for this, not installed. Type: pip install 'voxcache[{extra}]'"
        )
    misfits = [problem for pair in wanted if (problem := misfit(*pair))]
    if found := misfits or [problem for package in imported if (problem := load_failure(package))]:
        raise InstallError("\n".join(found))


def blame(error: BaseException) -> InstallError | None:
    """Return what is wrong with the installation where an unforeseen error may come from that; None where nothing is."""
    if not isinstance(error, ImportError | OSError | AttributeError | TypeError | RuntimeError):
        return None
    wanted = dict.fromkeys(requirements())
    for extra in ("train", "extract"):
        here = [pair for pair in requirements(extra) if installed_version(pair[0]) is not None]
        wanted |= dict.fromkeys(here)
    text = "\n".join(problems_of(list(wanted)))
    return InstallError(f"{_first_line(error)}. What is installed does not fit:\n{text}") if text else None


def problems_of(packages: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is wrong with these (package, specifier): versions that do not fit, packages that do not load."""
    return [problem for pair in packages if (problem := misfit(*pair) or load_failure(pair[0]))]


def _pip(package: str, specifier: str) -> str:
    return f"pip install '{package}{specifier}'" if specifier else f"pip install {package}"


def _mend(package: str, number: str) -> str:
    if package == "torchaudio":
        oldest = NEEDS_NEWER_TORCH.get(number.partition("+")[0])
        if oldest:
            return f"pip install --upgrade 'torch>={oldest}'  (torchaudio {number} does not load with an older torch)"
        return "pip install --upgrade --force-reinstall torch torchaudio  (both from one index: CUDA builds need CUDA builds)"
    return f"pip install --upgrade --force-reinstall {package}"


def _first_line(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__  # the loader's own words: torch wraps them in "could not load this library"
    return (str(cause).splitlines() or [""])[0].rstrip(".") or type(error).__name__
