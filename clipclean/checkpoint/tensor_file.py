"""A small safetensors file that is no checkpoint: named tensors, and what was said beside them."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from clipclean.checkpoint import contents, safetensors_file, tensors
from clipclean.checkpoint.values import TensorRef
from clipclean.errors import RefusedInput


@dataclass(frozen=True, eq=False)
class TensorFile:
    """Tensors as in :class:`Checkpoint`, under their stored names, and the metadata of the header."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_tensors(path: Path, /, *, most: int) -> TensorFile:
    """Read a safetensors file of at most ``most`` bytes, as strictly as a checkpoint.

    Raises:
        UnsafeCheckpoint: it contradicts itself.
        RefusedInput: it is missing, too large, truncated or no safetensors file, or its values are not finite.
    """
    try:
        with contents.opened(path) as opened:
            if opened.size > most:
                raise RefusedInput(f"it has {opened.size:,} bytes, where at most {most:,} are read.")
            file = contents.load(opened)
        pairs, records = safetensors_file.read(file.view())
        refs = {str(name): ref for name, ref in pairs.items if isinstance(ref, TensorRef)}
        return TensorFile(tensors.build(refs, records, file), safetensors_file.metadata(file.view()))
    except RefusedInput as error:
        raise type(error)(f"{path}: {error}") from error
