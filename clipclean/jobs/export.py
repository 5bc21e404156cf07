"""The export job: read, build, write beside the destination, check, move into place."""

import hashlib
from dataclasses import replace

from clipclean import demo, own_state, requests
from clipclean.config import recipe as recipes
from clipclean.errors import UsageError
from clipclean.export import formats, placing, records
from clipclean.jobs import clean_pairs, measured_images, opening, results
from clipclean.jobs.clean_pairs import PairSource
from clipclean.jobs.destination import OUTPUTS
from clipclean.progress import stage
from clipclean.schema.results import Exported


def export(request: requests.Export, /) -> Exported:
    """Write the weights of one checkpoint in every requested format.

    The library of each format reads it back. If one result differs, nothing is written. Only pairs of the user's can decide the
    activation: with the bundled ones, a model whose activation is unknown is refused.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then ``out`` is as it was.
    """
    export_options = formats.options_of(
        request.format, request.onnx_preset, normalize=request.normalize, fp16=request.fp16
    )
    formats.check(export_options)
    # The outputs of a run too: its report never stays beside other weights.
    present = placing.look(request.out, force=request.force, names=OUTPUTS)
    with stage("reading the model"):
        checkpoint = opening.read(request.model, arch=request.arch, weights=request.weights)
        formats.check_architecture(checkpoint.architecture, export_options)
    if checkpoint.architecture.quick_gelu is None and request.data is None:
        raise UsageError(
            f"The weights do not say whether {checkpoint.architecture.name} uses GELU or QuickGELU, and every layout must. "
            "Say it by --arch NAME, --arch NAME-quickgelu or a config file, or give clean pairs by --data to measure it on."
        )
    cache = measured_images.image_cache(recipes.load(recipes.STANDARD_RECIPE), checkpoint.architecture)
    with demo.late() as bundled:
        paths = request.data or [bundled() / demo.PAIRS]
        clean = clean_pairs.pairs_of(PairSource(paths, request.image_key, request.caption_key), cache)
        loaded = opening.build(checkpoint, clean, device="cpu")
        pixels, captions = measured_images.spaced(clean, formats.PARITY_SAMPLES)
    run = hashlib.sha256(repr((loaded.file.sha256, replace(request, force=False))).encode()).hexdigest()
    present.check(request.out, run, force=request.force)
    with own_state.locked(own_state.place_of(request.out)), placing.scratch_folder(request.out) as new:
        entries = formats.write(
            new,
            loaded.clip,
            loaded.weights(),
            options=export_options,
            pixels=pixels,
            captions=captions,
            source_sha256=loaded.file.sha256,
        )
        common = results.common_fields("export", loaded, request.label)
        result = Exported(data=clean.record(), exports=tuple(entries), **common)
        records.write(new, result.as_json())
        placing.move_in(new, request.out, earlier=present.earlier, run=run)
    placing.close_run(request.out)
    return result
