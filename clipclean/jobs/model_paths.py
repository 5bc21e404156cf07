"""Model arguments to paths: files, folders of models, and names in the local caches. Nothing is fetched.

``hf-hub:org/model[@revision]`` (open_clip's spelling; ``hf://org/model`` means the same) and ``open_clip:ARCH/TAG``. A
cache is a folder that other programs write to, so an entry counts only where it has the form that the hub's own library
gives it: a snapshot with files, or with links to the blobs of the same model.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipclean import untrusted
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError

if TYPE_CHECKING:  # torch comes with them
    from clipclean import checkpoint, model

HUB, HUB_URL, OPEN_CLIP = "hf-hub:", "hf:/", "open_clip:"  # a path has one slash where a URL has two
NAME_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"  # of the name of a repository, by the hub's own rule
REPOSITORY = re.compile(rf"{NAME_PART}(?:/{NAME_PART})?")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
COMMIT, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
BARE_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")  # a possible name of a repository without a prefix
MAX_SNAPSHOT_ENTRIES = 1000  # of a snapshot; a model has about twenty
MAX_REF_BYTES = 100  # bytes
FETCH_AGAIN = "Delete this entry of the cache, and fetch it again."


@dataclass(frozen=True)
class Located:
    """The place of a model, and the facts that its name gives.

    ``path`` is what ``checkpoint.read`` takes; ``inside`` the same in the repository, of a path that lies there. ``digests``
    are the SHA-256 of files by name, or how they begin, which the cache or the name promises; ``architecture`` is the one that
    open_clip's name stands for.
    """

    path: Path
    name: str
    revision: str | None = None
    inside: str | None = None
    architecture: "model.Architecture | None" = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def check(self, file: "checkpoint.Checkpoint", /) -> None:
        """Raise UnsafeCheckpoint unless each file that was read is the one that was published."""
        for name, digest in file.digests.items():
            promised = self.digests.get(name, "")
            if not digest.startswith(promised):
                raise UnsafeCheckpoint(
                    f"{file.weights.parent / name} has sha256 {digest}, and {self.name} was published with {promised}: the file in the "
                    f"cache is damaged, or was replaced. {FETCH_AGAIN}"
                )


def is_name(model: PathLike[str] | str, /) -> bool:
    """Whether this is a name to look up in a cache; any other text is a path."""
    return str(model).startswith((HUB, HUB_URL, OPEN_CLIP))


def locate(model: PathLike[str] | str, /) -> Located:
    """Find a model by its name, or take a path as it is.

    Raises:
        UsageError: the name is none.
        RefusedInput: it is not in the cache; the message has the command that fetches it.
        UnsafeCheckpoint: the entry of the cache leads out of it.
    """
    text = str(model)
    if text.startswith(OPEN_CLIP):
        return _open_clip(text)
    if is_name(text):
        return _hub(*parse(text))
    path = Path(model)
    _refuse_bare_name(path)
    return Located(path, path.name, inside=in_repository(path))


def in_repository(model: Path, /) -> str | None:
    """The path of a model relative to the root of the repository that a CI job works on, or to the current folder.

    None for a file outside: a report says nothing of the rest of the machine.
    """
    root = os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR") or "."
    try:
        return model.resolve().relative_to(Path(root).resolve()).as_posix()
    except (OSError, ValueError):
        return None


def parse(name: str, /) -> tuple[str, str | None]:
    """Repository and revision of ``hf-hub:org/model[@revision]``; raises UsageError."""
    text = name.removeprefix(HUB) if name.startswith(HUB) else name.removeprefix(HUB_URL).lstrip("/")
    repository, at, revision = text.partition("@")
    is_odd = ".." in text or "--" in repository
    if is_odd or not REPOSITORY.fullmatch(repository) or (at and not REVISION.fullmatch(revision)):
        raise UsageError(
            f"{name[:200]!a} is not a model name of the Hugging Face hub. Write hf-hub:ORG/MODEL, or "
            "hf-hub:ORG/MODEL@REVISION with a branch, a tag or a commit."
        )
    return repository, revision if at else None


def caches() -> tuple[Path, Path]:
    """The folders of the Hugging Face hub's cache and of open_clip's, there or not."""
    return hub_cache(), Path("~/.cache/clip").expanduser()


def hub_cache() -> Path:
    """The cache of the Hugging Face hub, by the same variables as in its own library."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if variable_value := os.environ.get(variable):
            return Path(variable_value).expanduser()
    home = os.environ.get("HF_HOME")
    parent = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(parent) / "huggingface").expanduser() / "hub"


def folder_of(repository: str, /) -> Path:
    """The folder of a model in the cache of the hub, there or not."""
    return hub_cache().resolve() / f"models--{repository.replace('/', '--')}"


def _hub(repository: str, revision: str | None, /) -> Located:
    """A model of the hub: its snapshot."""
    name = f"{HUB}{repository}" + (f"@{revision}" if revision else "")
    fetch = f"hf download {repository}" + (f" --revision {revision}" if revision else "")
    cache, snapshot = hub_cache(), _snapshot(repository, revision)
    if snapshot is None:
        branches = ", ".join(sorted(entry.name for entry in (folder_of(repository) / "refs").glob("*"))[:5])
        raise RefusedInput(
            f"{name} is not in the cache {cache}, and clipclean fetches nothing unasked. Fetch it by: {fetch}, or give --download."
            + (f" Branches and tags of it that are there: {branches}." if branches else "")
        )
    from clipclean.checkpoint import folders

    if not snapshot.digests.keys() & {*folders.OPEN_CLIP_WEIGHTS, *folders.HF_WEIGHTS}:
        raise RefusedInput(f"{name} is in the cache {cache} without weights. Fetch them by: {fetch}")
    return replace(snapshot, name=name)


def _snapshot(repository: str, revision: str | None, /) -> Located | None:
    """The snapshot of a model in the cache, with the digests of its files; None if it is not there."""
    folder = folder_of(repository)
    if not folder.is_dir():
        return None
    refuse_link(folder)
    commit = _commit(folder, revision or "main")
    snapshot = folder / "snapshots" / str(commit)
    if commit is None or not snapshot.is_dir():
        return None
    return Located(snapshot, repository, commit, digests=_digests(folder, snapshot))


def _commit(folder: Path, revision: str, /) -> str | None:
    """The commit that a branch or a tag leads to in the cache, or that the revision is already."""
    if COMMIT.fullmatch(revision):
        return revision
    ref = folder / "refs" / revision
    try:
        refuse_link(ref)
        commit = untrusted.read(ref, limit=MAX_REF_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnsafeCheckpoint(f"{ref} does not contain a commit hash. {FETCH_AGAIN}") from error
    if not COMMIT.fullmatch(commit):
        raise UnsafeCheckpoint(f"{ref} names {commit[:60]!a}, which is not a commit. {FETCH_AGAIN}")
    return commit


def refuse_link(path: Path, /) -> None:
    """Raise UnsafeCheckpoint where a path below the resolved cache is reached through a link."""
    if path.resolve() != path:
        raise UnsafeCheckpoint(
            f"{path} is reached through a link, which the hub's cache never has there. {FETCH_AGAIN}"
        )


def _digests(folder: Path, snapshot: Path, /) -> dict[str, str]:
    """The files of a snapshot, with the SHA-256 by which a blob is called; empty where the name says another thing.

    Raises:
        UnsafeCheckpoint: a link leads anywhere but to a blob of the same model, or there are too many entries.
    """
    refuse_link(snapshot)
    blobs, digests = folder / "blobs", dict[str, str]()
    with os.scandir(snapshot) as entries:
        for number, entry in enumerate(entries):
            if number == MAX_SNAPSHOT_ENTRIES:
                raise UnsafeCheckpoint(f"{snapshot} has more than {MAX_SNAPSHOT_ENTRIES:,} entries. {FETCH_AGAIN}")
            path, target = Path(entry.path), Path(entry.path).resolve()
            if entry.is_symlink() and (target.parent != blobs or target.is_dir()):
                raise UnsafeCheckpoint(f"{path} leads to {target}, and not to a blob of the same model. {FETCH_AGAIN}")
            if target.is_file():  # a blob that is not there yet is left out
                digests[entry.name] = target.name if entry.is_symlink() and SHA256.fullmatch(target.name) else ""
    return digests


def _open_clip(name: str, /) -> Located:
    """A pretrained model of open_clip, in the hub's cache where open_clip looks first, or in its own."""
    arch, slash, tag = name.removeprefix(OPEN_CLIP).rpartition("/")
    settings = _settings(name, arch, tag) if slash else _unknown(name)
    architecture = _architecture(arch, settings, name)
    if hosted := settings.get("hf_hub"):
        from clipclean.checkpoint import folders

        repository, _, file = str(hosted).rpartition("/")
        # open_clip's own order.
        weight_names = (f"{file.rpartition('.')[0]}.safetensors", file) if file else folders.OPEN_CLIP_WEIGHTS
        snapshot = _snapshot(repository, None)
        if snapshot and (there := [weights for weights in weight_names if weights in snapshot.digests]):
            return replace(snapshot, path=snapshot.path / there[0], name=name, architecture=architecture)
    url = str(settings.get("url") or "")
    path = caches()[1].resolve() / Path(url).name
    if url and path.is_file():
        refuse_link(path)
        return Located(path, name, architecture=architecture, digests={path.name: _promised(url)})
    raise RefusedInput(
        f"{name} is not in the cache {hub_cache()} and not in {caches()[1]}, and clipclean fetches nothing unasked. Fetch "
        f"it by: python -c \"import open_clip; open_clip.create_model('{arch}', pretrained='{tag}')\""
        + (", or give --download." if hosted else "")
    )


def hosted_at(name: str, /) -> str | None:
    """The repository of the hub that holds a model of open_clip; None where there is none. Raises UsageError."""
    arch, _, tag = name.removeprefix(OPEN_CLIP).rpartition("/")
    return str(_settings(name, arch, tag).get("hf_hub") or "").rpartition("/")[0] or None


def _settings(name: str, arch: str, tag: str, /) -> dict[str, Any]:
    """open_clip's entry for its pretrained model; raises UsageError."""
    import open_clip

    return open_clip.get_pretrained_cfg(arch, tag) or _unknown(name)


def _unknown(name: str, /) -> dict[str, Any]:
    import difflib

    import open_clip

    pretrained = [f"{OPEN_CLIP}{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
    near = difflib.get_close_matches(name, pretrained, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise UsageError(
        f"{name[:200]!a} is not a pretrained model of open_clip. Write open_clip:ARCH/TAG; open_clip.list_pretrained() has "
        f"them all.{hint}"
    )


def _architecture(arch: str, settings: Mapping[str, Any], name: str, /) -> "model.Architecture":
    """The architecture with the activation and the preprocessing of these weights."""
    from clipclean import model

    quick = f"{arch}-quickgelu"
    native = quick if settings.get("quick_gelu") and quick in model.native_configs() else arch
    if native not in model.native_configs():
        raise UnsupportedModel(
            f"{name}: {arch} has other towers than open_clip's native ones, which alone are handled."
        )
    architecture = model.resolve({}, arch=native, config=None, script_quick_gelu=None)
    preprocess = replace(
        architecture.preprocess,
        mean=settings["mean"],
        std=settings["std"],
        interpolation=settings["interpolation"],
        resize_mode=settings["resize_mode"],
    )
    return replace(architecture, preprocess=preprocess, origin=name, activation_how=name)


def _promised(url: str, /) -> str:
    """How the SHA-256 of a file begins, by the address that open_clip has of it; its own rule."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    digest = Path(url).stem.rpartition("-")[2]
    return digest if "mlfoundations" in url and re.fullmatch("[0-9a-f]{8,64}", digest) else ""


def check_there(path: Path, /) -> None:
    """Refuse a path that does not exist, before torch is imported; possible names are looked up later.

    Raises:
        RefusedInput: there is no such file.
    """
    if is_name(path) or os.path.lexists(path) or not (path.suffix or BARE_NAME.fullmatch(str(path))):
        return
    _refuse_bare_name(path)
    raise RefusedInput(f"{untrusted.printable(path)}: there is no such file. Check the path.")


def _refuse_bare_name(path: Path, /) -> None:
    """Raise RefusedInput with the spelling of a name, if a path looks like one."""
    text = str(path)
    if re.match(r"[a-z][a-z0-9+.-]+:/", text):
        raise RefusedInput(f"{text[:200]!a} is an address, and clipclean fetches nothing. Download the file first.")
    if os.path.lexists(path) or os.path.lexists(path.parent if path.parent.name else path):
        return
    if BARE_NAME.fullmatch(text):
        raise RefusedInput(
            f"{text}: there is no such file. A model of the Hugging Face hub that is in your cache is written {HUB}{text}."
        )
    if path.suffix:
        return
    import open_clip

    if tags := open_clip.list_pretrained_tags_by_model(text):
        raise RefusedInput(
            f"{text}: there is no such file. A pretrained model of open_clip that is in your cache is written "
            f"{OPEN_CLIP}{text}/TAG, with a TAG of {', '.join(tags[:8])}."
        )


# Several models: those of a folder, however deep.

CONFIG_NAMES = ("open_clip_config.json", "config.json")  # of open_clip's and transformers' folders
INDEX_SUFFIX, SHARD_MARK = ".index.json", re.compile(r"-[0-9]+-of-[0-9]+\.")
WEIGHTS_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
MOST_MODELS = 1000  # models of one command


def expanded(paths: Sequence[Path], /) -> list[Path]:
    """The models in the order of the arguments; those of a folder sorted, links left out.

    A folder without any stays in the list: its reader says why it is no model.

    Raises:
        UsageError: there are too many.
    """
    inside: list[Path] = []
    for path in paths:
        is_one = is_name(path) or not untrusted.answers_yes(path.is_dir) or _is_model(path)
        inside += [path] if is_one else sorted(itertools.islice(_inside(path), MOST_MODELS + 1)) or [path]
    models = list(dict.fromkeys(inside))
    if len(models) > MOST_MODELS:
        raise UsageError(f"These are more than {MOST_MODELS:,} models. Name fewer at once, or a folder with fewer.")
    return models


def _inside(folder: Path) -> Iterator[Path]:
    """Folders that are models, and files elsewhere that look like weights; of shards their index."""
    for folder_name, inner, files in os.walk(folder):
        here = Path(folder_name)
        described = [name for name in inner if _is_model(here / name)]
        inner[:] = [name for name in inner if name not in described]
        yield from (here / name for name in described if not (here / name).is_symlink())
        indexed = any(name.endswith(INDEX_SUFFIX) for name in files)
        for name in files:
            is_weights = name.endswith(INDEX_SUFFIX) or (
                name.endswith(WEIGHTS_SUFFIXES) and not (indexed and SHARD_MARK.search(name))
            )
            if is_weights and not (here / name).is_symlink():
                yield here / name


def _is_model(folder: Path) -> bool:
    """Whether a folder describes one model, which its own reader then judges."""
    return any((folder / name).is_file() for name in CONFIG_NAMES)
