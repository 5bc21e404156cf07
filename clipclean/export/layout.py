"""What every export format is given, and what its module offers in return."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clipclean.errors import UsageError

if TYPE_CHECKING:  # torch comes with them, and ``--help`` needs none of it
    from torch import Tensor

    from clipclean import model
    from clipclean.export.parity import Parity, Samples


@dataclass(frozen=True)
class Wanted:
    """Which formats; for ONNX whose names, whether embeddings have unit length, whether weights are halved.

    ``bom`` asks for a bill of materials beside them.
    """

    formats: tuple[str, ...]
    preset: str
    normalise: bool
    fp16: bool
    bom: bool = False


def wanted(formats: Sequence[str], preset: str, /, *, normalize: bool, fp16: bool, bom: bool) -> Wanted:
    """The formats that were asked for; raises UsageError for a setting of a format that was not."""
    names = tuple(dict.fromkeys(formats))
    if "onnx" not in names and (normalize or fp16):
        raise UsageError("--normalize and --fp16 are of the ONNX layout. Add --format onnx, or leave them out.")
    return Wanted(names, preset, normalise=normalize, fp16=fp16, bom=bom)


@dataclass(frozen=True)
class ExportJob:
    """One model to write: ``clip`` is on the CPU, ``weights`` is its state dict in fp32.

    ``samples`` are the images and captions that the written files are compared on, ``tensor_sha256`` is the digest of
    the weights and ``source_sha256`` the one of the file that they come from.
    """

    folder: Path
    clip: "model.Clip"
    weights: "dict[str, Tensor]"
    wanted: Wanted
    samples: "Samples"
    source_sha256: str
    tensor_sha256: str

    @property
    def model_cfg(self) -> dict[str, Any]:
        """open_clip's ``model_cfg``."""
        return self.clip.architecture.config

    @property
    def preprocess_cfg(self) -> dict[str, Any]:
        """open_clip's ``preprocess_cfg``."""
        return asdict(self.clip.architecture.preprocess)

    @property
    def context_length(self) -> int:
        """Tokens of a caption."""
        length: int = self.model_cfg["text_cfg"].get("context_length", 77)
        return length


class Layout(Protocol):
    """The module of a format."""

    def check_architecture(self, architecture: "model.Architecture", /) -> None:
        """Raise UnsupportedModel where the format has no place for the model."""

    def export(self, job: ExportJob, /) -> "list[tuple[str, Parity]]":
        """Write the files, let the format's own library read them back, and compare.

        Returns:
            The path in the folder of each file of weights, and how far its embeddings are from ours.

        Raises:
            ExportMismatch: what the library reads back is not what was written.
        """
