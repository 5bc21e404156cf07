"""A model in the cache of the Hugging Face hub, as the hub's library stores it."""

import hashlib
import os
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(repository: Path, name: str, content: bytes, digest: str | None = None) -> Path:
    """A file of a snapshot: a link to a blob that is called by its digest. The branch ``main`` leads to the snapshot."""
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    for folder in (blobs, snapshot, repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    blob = blobs / (digest or hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return blob
