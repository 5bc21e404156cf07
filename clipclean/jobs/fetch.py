"""Downloading models from the Hugging Face hub into its cache: the only code here that uses a network.

Only ``--download`` leads here. The branch is turned into a commit first, so that every file is of one revision; sizes are
checked before anything is fetched; a file that is fetched must have the digest that the hub has published of it.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import importlib.util
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipclean import files, requests, untrusted
from clipclean.checkpoint import folders
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UsageError
from clipclean.jobs import model_paths
from clipclean.progress import stage
from clipclean.requests import Request

MAX_GIT = 64 * 2**20  # bytes of a file that is kept in git itself
MAX_MODEL_BYTES = 12 * 2**30  # of one model; the largest CLIP with native towers has 10 GB in fp32
SHARD_NAME = re.compile(r"(model|pytorch_model)-\d{5}-of-\d{5}\.(safetensors|bin)")
FETCHED_CONFIGS = (folders.OPEN_CLIP_CONFIG, folders.HF_CONFIG, folders.HF_PREPROCESSOR, folders.HF_PROCESSOR)
GIT_DIGEST_LENGTH = 40  # hexadecimal digits of the digest by which git calls a small file


class Published(NamedTuple):
    """What the hub has published of a file: its size, and its SHA-256, or the digest of git for a small one."""

    size: int | None
    digest: str

    @property
    def is_git(self) -> bool:
        """Whether the digest is git's."""
        return len(self.digest) == GIT_DIGEST_LENGTH

    @property
    def is_sound(self) -> bool:
        """Whether both can be true."""
        is_digest = isinstance(self.digest, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.digest)
        return (
            bool(is_digest)
            and isinstance(self.size, int)
            and 0 <= self.size <= (MAX_GIT if self.is_git else MAX_MODEL_BYTES)
        )


class _Bounded(io.FileIO):
    """A new file that takes no more bytes than were announced."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "xb+")
        self._most = most

    def write(self, data: Any) -> int:  # Any: what holds bytes
        """Write, as far as there is room."""
        if self.tell() + len(data) > self._most:
            raise RefusedInput(f"The hub sends more than the {self._most:,} bytes that it announced. Try again later.")
        return super().write(data)


def fetched(request: Request, /) -> Request:
    """A request, once the models that it names are in the cache; raises what ``fetch`` raises."""

    def snapshot_of(source: object) -> object:
        return Path(fetch(str(source))) if isinstance(source, Path) else source

    models = {name: getattr(request, name) for name, option in requests.options(request).items() if option.is_model}
    locations = {
        name: tuple(map(snapshot_of, value)) if isinstance(value, tuple) else snapshot_of(value)
        for name, value in models.items()
    }
    return dataclasses.replace(request, **locations)  # type: ignore[type-var] # a dataclass


def fetch(name: str, /) -> str:
    """Fetch a model that is not in the cache yet.

    Args:
        name: ``hf-hub:org/model[@revision]`` or ``open_clip:ARCH/TAG``; a path comes back as it is.

    Returns:
        The name with the commit that was fetched, which ``model_paths.locate`` finds in the cache.

    Raises:
        UsageError: the extra is missing, this is a CI job, or the hub has no such model.
        RefusedInput: the network fails, or the model is too large, or has no weights that clipclean reads.
        UnsafeCheckpoint: a file is not the one that was published.
        ResourceError: the disk is full, or the cache not writable.
    """
    if not model_paths.is_name(name):
        return name
    try:
        model_paths.locate(name)
        return name
    except RefusedInput as error:
        if type(error) is not RefusedInput:  # a hostile entry of the cache is not overlooked; else it is missing
            raise
    if os.environ.get("CI", "").lower() in ("1", "true"):
        raise UsageError(
            "--download is off in CI jobs. Fetch the model in a separate step before the job, at a pinned revision: "
            "hf download ORG/MODEL --revision COMMIT."
        )
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UsageError("--download needs huggingface_hub: install it by pip install huggingface_hub.")
    if name.startswith(model_paths.OPEN_CLIP):
        repository, revision = model_paths.hosted_at(name), None
    else:
        repository, revision = model_paths.parse(name)
    if repository is None:
        raise UsageError(f"--download fetches from the Hugging Face hub alone, and {name} is not there.")
    with stage(f"fetching {repository}"):
        commit, published_files = _published_files(repository, revision)
        _download(repository, commit, published_files)
    return f"{model_paths.HUB}{repository}@{commit}"


def _published_files(repository: str, revision: str | None, /) -> tuple[str, dict[str, Published]]:
    """The commit, and the files that clipclean reads, as the hub has published them.

    Raises:
        RefusedInput: they are too large, there are none, or the hub says of one what cannot be.
    """
    import huggingface_hub

    name = f"{model_paths.HUB}{repository}"
    with _translated(repository):
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = {
            file.rfilename: Published(file.size, (file.lfs.sha256 if file.lfs else file.blob_id) or "")
            for file in info.siblings or ()
        }
    published_files = {file: files[file] for file in weights_among(list(files))}
    if not published_files or not model_paths.COMMIT.fullmatch(info.sha or ""):
        raise RefusedInput(f"{name} has no weights of a CLIP among its {len(files):,} files.")
    if odd := [file for file, published in published_files.items() if not published.is_sound]:
        raise RefusedInput(
            f"The hub tells no size or no digest of {', '.join(odd[:5])} of {name} that could be true, so nothing is fetched. Fetch it by: "
            f"hf download {repository}"
        )
    total = sum(published.size or 0 for published in published_files.values())
    if total > MAX_MODEL_BYTES:
        raise RefusedInput(
            f"{name} has {total:,} bytes of weights; --download fetches {MAX_MODEL_BYTES:,} at most. Fetch it by: hf download {repository}"
        )
    return str(info.sha), published_files


def weights_among(files: Sequence[str], /) -> list[str]:
    """The weights of a repository, open_clip's first, with their configuration; empty if there are none."""
    ordered = folders.OPEN_CLIP_WEIGHTS if folders.OPEN_CLIP_CONFIG in files else folders.HF_WEIGHTS
    weights = next((name for name in ordered if name in files), None)
    if weights is None:
        return []
    stem, _, suffix = weights.removesuffix(".index.json").rpartition(".")
    shards = [
        name
        for name in files
        if weights.endswith(".index.json")
        and (match := SHARD_NAME.fullmatch(name))
        and match.groups() == (stem, suffix)
    ]
    return [weights, *shards, *(name for name in FETCHED_CONFIGS if name in files)]


def _download(repository: str, commit: str, published_files: Mapping[str, Published], /) -> None:
    """Write the files into the cache as the hub's library has them: a blob by its digest, and a link to it.

    That library would call a blob by what the server says while it sends it, which may be any path.
    """
    import huggingface_hub as hub

    folder = model_paths.folder_of(repository)
    blobs, snapshot = folder / "blobs", folder / "snapshots" / commit
    try:
        for part in (blobs, snapshot):
            part.mkdir(parents=True, exist_ok=True)
            model_paths.refuse_link(part)
        for name, published in published_files.items():
            blob = blobs / published.digest
            if not blob.exists():
                url = hub.hf_hub_url(repository, name, revision=commit)
                files.write_whole(blob, functools.partial(_write, repository, url, published))
            if not os.path.lexists(snapshot / name):
                (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    except OSError as error:
        raise files.cannot_write(folder, error) from error


def _write(repository: str, url: str, published: Published, path: Path) -> None:
    """Fetch one file, and check that it is the published one."""
    from huggingface_hub import utils
    from huggingface_hub.file_download import http_get

    with _Bounded(path, published.size or 0) as stream, _translated(repository):
        headers = utils.build_hf_headers()  # type: ignore[attr-defined] # public, but not by name
        http_get(url, stream, headers=headers, expected_size=published.size)
    if published.is_git:
        content = path.read_bytes()
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        digest = files.sha256(path)
    if digest != published.digest:
        raise UnsafeCheckpoint(
            f"{url[:300]!a} sent a file of digest {digest}, and {published.digest} was published: it is damaged, or was replaced. Try "
            "again later, or fetch it from elsewhere."
        )


@contextlib.contextmanager
def _translated(repository: str, /) -> Iterator[None]:
    """Turn exceptions of the hub's library, and what a hub that speaks something else leads it to, into our errors."""
    from huggingface_hub import errors

    failed = errors.HTTPError  # type: ignore[attr-defined] # of the library for HTTP, which differs by version
    name = f"{model_paths.HUB}{repository}"
    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UsageError(
            f"The hub has no {name} of this revision that you may read. Check the name, or log in by: hf auth login"
        ) from error
    except (OSError, ValueError, failed, LookupError, TypeError, AttributeError, AssertionError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RefusedInput(
            f"Cannot fetch {name}: {untrusted.printable(str(error)[:300])}. Check the network, or fetch it elsewhere by: hf download "
            f"{repository}"
        ) from error
