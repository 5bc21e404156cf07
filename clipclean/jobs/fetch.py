"""Downloading models from the Hugging Face hub into its cache: the only code here that uses a network.

Only ``--download`` leads here. The branch is turned into a commit first, so that every file is of one revision; sizes are
checked before anything is fetched; what is read afterwards must have the SHA-256 that the hub has published.
"""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence

from clipclean.checkpoint import folders
from clipclean.errors import RefusedInput, ResourceError, UsageError
from clipclean.jobs import model_paths
from clipclean.progress import Progress

MAX_BYTES = 12 * 2**30  # of one model; the largest CLIP with native towers has 10 GB in fp32
SHARD = re.compile(r"(model|pytorch_model)-\d{5}-of-\d{5}\.(safetensors|bin)")
CONFIGS = (folders.CONFIG, folders.HF_CONFIG, folders.HF_PREPROCESSOR, folders.HF_PROCESSOR)


def fetch(name: str, /, *, progress: Progress) -> str:
    """Fetch a model that is not in the cache yet.

    Args:
        name: ``hf-hub:org/model[@revision]`` or ``open_clip:ARCH/TAG``; a path comes back as it is.
        progress: called at the start and at the end.

    Returns:
        The name with the commit that was fetched, which ``names.locate`` finds in the cache.

    Raises:
        UsageError: the extra is missing, this is a CI job, or the hub has no such model.
        RefusedInput: the model is too large, or has no weights that clipclean reads.
        ResourceError: the network, or the disk.
    """
    if not model_paths.is_name(name) or _is_cached(name):
        return name
    _refuse_unasked()
    repository, revision = _repository(name)
    progress(f"fetching {repository}", 0, 1)
    commit, wanted = _listed(repository, revision)
    _download(repository, commit, wanted)
    progress(f"fetching {repository}", 1, 1)
    return f"{model_paths.HUB}{repository}@{commit}"


def _is_cached(name: str, /) -> bool:
    try:
        model_paths.locate(name)
    except RefusedInput as error:
        if type(error) is RefusedInput:  # missing; a hostile entry of the cache is not overlooked
            return False
        raise
    return True


def _refuse_unasked() -> None:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        raise UsageError(
            "--download is off in CI jobs. Fetch the model in a separate step before the job, at a pinned revision: "
            "hf download ORG/MODEL --revision COMMIT."
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError("--download needs huggingface_hub: install it by pip install huggingface_hub.")


def _repository(name: str, /) -> tuple[str, str | None]:
    if not name.startswith(model_paths.OPEN_CLIP):
        return model_paths.parse(name)
    hosted = model_paths.hosted_at(name)
    if hosted is None:
        raise UsageError(f"--download fetches from the Hugging Face hub alone, and {name} is not there.")
    return hosted, None


def _listed(repository: str, revision: str | None, /) -> tuple[str, list[str]]:
    """The commit, and the files that clipclean reads.

    Raises:
        RefusedInput: they are too large, or there are none.
    """
    import huggingface_hub

    with _translated(repository):
        found = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size for file in found.siblings or ()}
    wanted = chosen(list(sizes))
    if not wanted or found.sha is None or not model_paths.COMMIT.fullmatch(found.sha):
        raise RefusedInput(f"{model_paths.HUB}{repository} has no weights of a CLIP among its {len(sizes):,} files.")
    total = sum(sizes[name] or 0 for name in wanted)
    if any(sizes[name] is None for name in wanted) or total > MAX_BYTES:
        raise RefusedInput(
            f"{model_paths.HUB}{repository} has {total:,} bytes of weights, or does not say how many; --download fetches "
            f"{MAX_BYTES:,} at most. Fetch it by: hf download {repository}"
        )
    return found.sha, wanted


def chosen(files: Sequence[str], /) -> list[str]:
    """The weights of a repository, open_clip's first, with their configuration; empty if there are none."""
    ordered = folders.WEIGHTS if folders.CONFIG in files else folders.HF_WEIGHTS
    weights = next((name for name in ordered if name in files), None)
    if weights is None:
        return []
    stem, _, suffix = weights.removesuffix(".index.json").rpartition(".")
    shards = [
        name
        for name in files
        if weights.endswith(".index.json") and (match := SHARD.fullmatch(name)) and match.groups() == (stem, suffix)
    ]
    return [weights, *shards, *(name for name in CONFIGS if name in files)]


def _download(repository: str, commit: str, wanted: Sequence[str], /) -> None:
    import huggingface_hub

    with _translated(repository):
        for name in wanted:
            huggingface_hub.hf_hub_download(repository, name, revision=commit, cache_dir=model_paths.hub_cache())


@contextlib.contextmanager
def _translated(repository: str, /) -> Iterator[None]:
    """Turn exceptions of the hub's library into our errors."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UsageError(
            f"The hub has no {model_paths.HUB}{repository} of this revision that you may read. Check the name, or log in by: "
            "hf auth login"
        ) from error
    except (OSError, ValueError) as error:  # its own for a network that fails, or is switched off, are OSErrors
        raise ResourceError(f"Cannot fetch {model_paths.HUB}{repository}: {str(error)[:300]}") from error
