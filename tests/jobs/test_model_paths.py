import hashlib
import json
import os
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import tiny
import torch

from clipclean import checkpoint, cli, model
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.export import open_clip_directory
from clipclean.jobs import inputs, model_paths

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "open_clip_model.safetensors"


def put(repository, name, content, digest=None):
    """A file of a snapshot as the hub's library stores it: a link to a blob that is called by its digest."""
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True, exist_ok=True)
    blob = blobs / (digest or hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return blob


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a model, and their digests."""
    folder = tmp_path_factory.mktemp("written")
    open_clip_directory.write(
        folder,
        tiny.state_dict(tiny.SMALL_VIT),
        model_cfg=tiny.SMALL_VIT,
        preprocess_cfg={"size": 16},
    )
    return {path.name: (path.read_bytes(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in folder.iterdir()}


@pytest.fixture
def cache(written, tmp_path, monkeypatch):
    """A cache with the model ``org/tiny``, on the branch ``main``."""
    place = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    repository = place / "models--org--tiny"
    for name, (content, digest) in written.items():
        put(repository, name, content, digest)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


@pytest.mark.parametrize(
    "name", ["hf-hub:org/tiny", "hf://org/tiny", "hf-hub:org/tiny@main", f"hf-hub:org/tiny@{COMMIT}"]
)
def test_a_model_in_the_cache_of_the_hub_is_found_with_its_revision(cache, name):
    found = model_paths.locate(name)
    assert (found.path, found.revision) == (cache.resolve() / "snapshots" / COMMIT, COMMIT)
    opened = inputs.read(Path(name), arch=None)
    assert opened.file.weights.name == WEIGHTS
    found.check(opened.file)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HOME": "/e"}, "/e/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hubs_library_has_it(monkeypatch, variables, place):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(model_paths.hub_cache()) == place


def test_a_missing_model_is_refused_with_the_command_that_fetches_it(cache):
    with pytest.raises(RefusedInput, match="hf download org/other, or give --download"):
        model_paths.locate("hf-hub:org/other")
    with pytest.raises(RefusedInput, match=r"hf download org/tiny --revision v2,.* main"):
        model_paths.locate("hf-hub:org/tiny@v2")
    with pytest.raises(RefusedInput, match="hf download org/tiny"):
        model_paths.locate(f"hf-hub:org/tiny@{'f' * 40}")


def test_a_download_that_did_not_end_has_no_weights(cache):
    (cache / "snapshots" / COMMIT / WEIGHTS).resolve().unlink()  # and then the link to it
    for _ in range(2):
        with pytest.raises(RefusedInput, match=r"without weights\. Fetch them by: hf download org/tiny"):
            model_paths.locate("hf-hub:org/tiny")
        (cache / "snapshots" / COMMIT / WEIGHTS).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:",
        "hf-hub:a/b/c",
        "hf-hub:../x",
        "hf-hub:org/..",
        "hf-hub:org/tiny@../../x",
        "hf-hub:org/tiny@",
        "hf-hub:/etc",
        "hf-hub:org/a--b",
        "hf-hub:org/a\0",
        "hf-hub:org/tiny@/etc",
        "hf-hub:a@b@c",
        "hf-hub:org/" + "x" * 200,
    ],
)
def test_what_is_no_name_is_refused(cache, name):
    with pytest.raises(UsageError, match="not a model name of the Hugging Face hub"):
        model_paths.locate(name)


def elsewhere(cache, tmp_path):
    return tmp_path / "secret"


def a_blob_of_another_model(cache, tmp_path):
    return cache.parent / "models--org--other" / "blobs" / "x"


def the_folder_of_blobs(cache, tmp_path):
    return cache / "blobs"


@pytest.mark.parametrize("target", [elsewhere, a_blob_of_another_model, the_folder_of_blobs])
@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_config.json", "anything"])
def test_a_link_that_leads_anywhere_but_to_a_blob_of_the_model_is_refused(cache, tmp_path, target, name):
    place = target(cache, tmp_path)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    link = cache / "snapshots" / COMMIT / name
    link.unlink(missing_ok=True)
    link.symlink_to(place)
    with pytest.raises(UnsafeCheckpoint, match="not to a blob of the same model"):
        model_paths.locate("hf-hub:org/tiny")


@pytest.mark.parametrize("part", ["", "refs/main", f"snapshots/{COMMIT}", "snapshots"])
def test_a_link_in_the_place_of_a_folder_is_refused(cache, tmp_path, part):
    (cache / part).rename(tmp_path / "moved")
    (cache / part).symlink_to(tmp_path / "moved")
    with pytest.raises(UnsafeCheckpoint, match="through a link"):
        model_paths.locate("hf-hub:org/tiny")


def test_the_whole_cache_may_be_a_link(cache, tmp_path):
    cache.parent.rename(tmp_path / "disk")
    cache.parent.symlink_to(tmp_path / "disk")
    assert model_paths.locate("hf-hub:org/tiny").revision == COMMIT


@pytest.mark.parametrize("content", ["../../../../etc", "0" * 39, "", "g" * 40, "a" * 2_000_000, "\xff" * 40])
def test_a_branch_that_leads_to_no_commit_is_refused(cache, content):
    (cache / "refs" / "main").write_text(content, encoding="latin-1")
    with pytest.raises(UnsafeCheckpoint, match="commit"):
        model_paths.locate("hf-hub:org/tiny")


def test_a_snapshot_with_too_many_entries_is_refused(cache):
    for number in range(model_paths.MAX_ENTRIES):
        (cache / "snapshots" / COMMIT / str(number)).touch()
    with pytest.raises(UnsafeCheckpoint, match="more than 1,000 entries"):
        model_paths.locate("hf-hub:org/tiny")


def test_weights_that_are_not_those_that_the_hub_served_are_refused(cache):
    blob = (cache / "snapshots" / COMMIT / WEIGHTS).resolve()
    other = bytearray(blob.read_bytes())
    other[-1] ^= 1
    blob.write_bytes(other)
    with pytest.raises(UnsafeCheckpoint, match=rf"was published with {blob.name}: .* damaged, or was replaced"):
        inputs.read(Path("hf-hub:org/tiny"), arch=None)


def test_each_shard_is_checked_by_the_digest_that_it_is_called_by_and_an_index_by_its_own(cache):
    tensors = tiny.state_dict(tiny.SMALL_VIT)
    (cache / "snapshots" / COMMIT / WEIGHTS).unlink()
    halves = {f"model-0000{n}-of-00002.safetensors": dict(list(tensors.items())[n - 1 :: 2]) for n in (1, 2)}
    placed = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    index = "model.safetensors.index.json"
    put(cache, index, json.dumps(placed).encode())
    blobs = [put(cache, file, safetensors.torch.save(half)) for file, half in halves.items()]
    found = model_paths.locate("hf-hub:org/tiny")
    found.check(checkpoint.read(found.path / index))
    other = bytearray(blobs[1].read_bytes())
    other[-1] ^= 1
    blobs[1].write_bytes(other)
    with pytest.raises(UnsafeCheckpoint, match=rf"00002-of-00002.* {blobs[1].name}"):
        found.check(checkpoint.read(found.path / index))


def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    folder = tmp_path / ".cache" / "clip"
    folder.mkdir(parents=True)
    return folder


def test_a_model_of_open_clip_is_found_in_its_own_cache_with_the_digest_of_its_address(monkeypatch, tmp_path):
    path = own_cache(monkeypatch, tmp_path) / "ViT-B-32.pt"
    path.write_bytes(b"x")
    found = model_paths.locate("open_clip:ViT-B-32/openai")
    assert found.path == path
    assert found.digests == {"ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"}
    assert found.architecture.name == "ViT-B-32-quickgelu"
    assert found.architecture.quick_gelu
    assert found.architecture.preprocess.mean == open_clip.OPENAI_DATASET_MEAN


def test_where_the_address_has_but_the_beginning_of_a_digest_that_is_compared(monkeypatch, tmp_path):
    name = "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"
    (own_cache(monkeypatch, tmp_path) / name).write_bytes(b"x")
    assert model_paths.locate("open_clip:ViT-B-32/laion400m_e32").digests == {name: "46683a32"}


def test_a_model_of_open_clip_is_first_looked_for_in_the_cache_of_the_hub(cache):
    repository = cache.parent / "models--timm--vit_base_patch32_clip_224.openai"
    put(repository, WEIGHTS, b"weights")
    put(repository, "open_clip_pytorch_model.bin", b"others")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    found = model_paths.locate("open_clip:ViT-B-32/openai")
    assert found.path == repository.resolve() / "snapshots" / COMMIT / WEIGHTS
    assert (found.name, found.revision) == ("open_clip:ViT-B-32/openai", COMMIT)


def test_a_model_of_open_clip_that_is_not_there_is_refused_with_the_command(monkeypatch, tmp_path):
    own_cache(monkeypatch, tmp_path)
    with pytest.raises(RefusedInput, match=r"python -c .*create_model\('ViT-B-32', pretrained='openai'\)"):
        model_paths.locate("open_clip:ViT-B-32/openai")


def test_a_misspelt_model_of_open_clip_is_refused_with_near_ones():
    with pytest.raises(UsageError, match=r"Did you mean .*open_clip:ViT-B-32/openai"):
        model_paths.locate("open_clip:ViT-B-32/openia")
    with pytest.raises(UsageError, match="Write open_clip:ARCH/TAG"):
        model_paths.locate("open_clip:x")
    with pytest.raises(UnsupportedModel):
        model_paths.locate("open_clip:ViT-B-16-SigLIP/webli")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("openai/clip-vit-base-patch32", "is written hf-hub:openai/clip-vit-base-patch32"),
        ("ViT-B-32", "is written open_clip:ViT-B-32/TAG, with a TAG of openai"),
        ("https://example.org/model.pt", "fetches nothing. Download the file first"),
        ("s3://bucket/model.pt", "fetches nothing"),
    ],
)
def test_a_name_without_its_prefix_is_refused_with_the_right_spelling(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedInput, match=words):
        model_paths.locate(text)


def test_a_path_is_a_path(tmp_path):
    found = model_paths.locate(tmp_path / "model.pt")  # the reader says that it is not there
    assert (found.path, found.name, found.revision) == (tmp_path / "model.pt", "model.pt", None)


def test_inspect_takes_a_name_and_says_the_revision(cache, capsys):
    assert cli.main(["inspect", "hf-hub:org/tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["revision"]) == ("hf-hub:org/tiny", COMMIT)


def test_nothing_is_written_into_a_cache_that_a_model_is_read_from(cache, capsys):
    assert cli.main(["export", "hf-hub:org/tiny", "--format", "open_clip", "--out", str(cache.parent / "new")]) == 2
    assert "the cache of the model" in capsys.readouterr().err


def test_the_preprocessing_is_that_of_the_pretrained_weights():
    """EVA and others aside, the native models differ in nothing but these four."""
    settings = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    found = model_paths._architecture("ViT-B-32", settings, "open_clip:x/y")
    assert found.preprocess == model.Preprocess(224, *settings.values())
    assert not found.quick_gelu


def test_the_report_has_name_and_revision(cache):
    opened = inputs.read(Path("hf-hub:org/tiny"), arch=None)
    clip = model.build(opened.architecture.with_activation(False, "test"), opened.file.tensors, device="cpu")
    told = inputs.described(Path("hf-hub:org/tiny"), inputs.LoadedModel(opened.file, clip))
    assert (told.name, told.revision) == ("hf-hub:org/tiny", COMMIT)
    assert isinstance(clip.logit_scale(), torch.Tensor)


def test_a_report_says_where_in_the_repository_a_model_is_and_nothing_of_the_rest_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    assert model_paths.in_repository(tmp_path / "models" / "a.pt") == "a.pt"
    assert model_paths.in_repository(tmp_path / "a.pt") is None
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert model_paths.in_repository(tmp_path / "models" / "a.pt") == "models/a.pt"
    assert model_paths.in_repository("hf-hub:org/tiny") is None
