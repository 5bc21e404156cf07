import hashlib
import http.server
import json
import threading
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import tiny
from hub_cache import COMMIT, put
from huggingface_hub import constants

from clipclean import checkpoint, cli
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, UsageError
from clipclean.export import open_clip_directory
from clipclean.jobs import fetch, model_paths, opening

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a model, and their digests."""
    found = contents(tmp_path_factory.mktemp("written"), tiny.SMALL_VIT, size=16)
    return {name: (content, hashlib.sha256(content).hexdigest()) for name, content in found.items()}


def contents(folder, config, *, size):
    """What stands in the files of a model, written into the folder."""
    open_clip_directory.write(folder, tiny.state_dict(config), model_cfg=config, preprocess_cfg={"size": size})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def cache(written, tmp_path, monkeypatch):
    """A cache with the model ``org/tiny``, on the branch ``main``."""
    place = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    repository = place / "models--org--tiny"
    for name, (content, digest) in written.items():
        put(repository, name, content, digest)
    return repository


@pytest.mark.parametrize(
    "name", ["hf-hub:org/tiny", "hf://org/tiny", "hf-hub:org/tiny@main", f"hf-hub:org/tiny@{COMMIT}"]
)
def test_a_model_in_the_cache_of_the_hub_is_found_with_its_revision(cache, name):
    found = model_paths.locate(name)
    assert (found.path, found.revision) == (cache.resolve() / "snapshots" / COMMIT, COMMIT)
    opened = opening.read(Path(name), arch=None)
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


@pytest.mark.parametrize("name", ["hf-hub:org/other", "hf-hub:org/tiny@v2", f"hf-hub:org/tiny@{'f' * 40}"])
def test_a_missing_model_is_refused_with_the_command_that_fetches_it(cache, name):
    repository, _, revision = name.removeprefix("hf-hub:").partition("@")
    with pytest.raises(RefusedInput, match=f"hf download {repository}.*{revision}"):
        model_paths.locate(name)
    (cache / "snapshots" / COMMIT / WEIGHTS).resolve().unlink()  # a download that did not end; and then the link to it
    for _ in range(2):
        with pytest.raises(RefusedInput, match="hf download org/tiny"):
            model_paths.locate("hf-hub:org/tiny")
        (cache / "snapshots" / COMMIT / WEIGHTS).unlink(missing_ok=True)


NO_NAMES = (
    "hf-hub:", "hf-hub:a/b/c", "hf-hub:../x", "hf-hub:org/..", "hf-hub:org/tiny@../../x", "hf-hub:org/tiny@", "hf-hub:/etc",
    "hf-hub:org/a--b", "hf-hub:org/a\0", "hf-hub:org/tiny@/etc", "hf-hub:a@b@c", "hf-hub:org/" + "x" * 200,
    "open_clip:x", "open_clip:ViT-B-32/openia",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "error", "spelling"),
    [
        *((name, UsageError, None) for name in NO_NAMES),
        ("openai/clip-vit-base-patch32", RefusedInput, "hf-hub:openai/clip-vit-base-patch32"),
        ("ViT-B-32", RefusedInput, "open_clip:ViT-B-32/TAG"),
        ("https://example.org/model.pt", RefusedInput, "example.org/model.pt"),
        ("s3://bucket/model.pt", RefusedInput, "bucket/model.pt"),
    ],
)
def test_what_is_no_name_is_refused_with_the_right_spelling(cache, monkeypatch, name, error, spelling):
    monkeypatch.chdir(cache.parent.parent)
    with pytest.raises(error, match=spelling):
        model_paths.locate(name)


@pytest.mark.parametrize("target", ["secret", "cache/models--org--other/blobs/x", "cache/models--org--tiny/blobs"])
@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_config.json", "anything"])
def test_a_link_that_leads_anywhere_but_to_a_blob_of_the_model_is_refused(cache, tmp_path, target, name):
    place = tmp_path / target
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.write_bytes(b"x")
    link = cache / "snapshots" / COMMIT / name
    link.unlink(missing_ok=True)
    link.symlink_to(place)
    with pytest.raises(UnsafeCheckpoint):
        model_paths.locate("hf-hub:org/tiny")


@pytest.mark.parametrize("part", ["", "refs/main", f"snapshots/{COMMIT}", "snapshots"])
def test_a_link_in_the_place_of_a_folder_is_refused_but_the_whole_cache_may_be_one(cache, tmp_path, part):
    cache.parent.rename(tmp_path / "disk")
    cache.parent.symlink_to(tmp_path / "disk")
    assert model_paths.locate("hf-hub:org/tiny").revision == COMMIT
    (cache / part).rename(tmp_path / "moved")
    (cache / part).symlink_to(tmp_path / "moved")
    with pytest.raises(UnsafeCheckpoint):
        model_paths.locate("hf-hub:org/tiny")


@pytest.mark.parametrize("content", ["../../../../etc", "0" * 39, "", "g" * 40, "a" * 2_000_000, "\xff" * 40])
def test_a_branch_that_leads_to_no_commit_is_refused(cache, content):
    (cache / "refs" / "main").write_text(content, encoding="latin-1")
    with pytest.raises(UnsafeCheckpoint):
        model_paths.locate("hf-hub:org/tiny")


def spoil(blob):
    """Change its last bit."""
    other = bytearray(blob.read_bytes())
    other[-1] ^= 1
    blob.write_bytes(other)


def test_weights_that_the_hub_did_not_serve_are_refused(cache):
    blob = (cache / "snapshots" / COMMIT / WEIGHTS).resolve()
    spoil(blob)
    with pytest.raises(UnsafeCheckpoint, match=blob.name):
        opening.read(Path("hf-hub:org/tiny"), arch=None)


def test_a_snapshot_with_too_many_entries_is_refused(cache):
    for number in range(model_paths.MAX_SNAPSHOT_ENTRIES):
        (cache / "snapshots" / COMMIT / str(number)).touch()
    with pytest.raises(UnsafeCheckpoint):
        model_paths.locate("hf-hub:org/tiny")


def test_each_file_of_a_model_in_shards_is_checked_by_its_own_digest(cache):
    tensors = tiny.state_dict(tiny.SMALL_VIT)
    (cache / "snapshots" / COMMIT / WEIGHTS).unlink()
    halves = {f"model-0000{n}-of-00002.safetensors": dict(list(tensors.items())[n - 1 :: 2]) for n in (1, 2)}
    placed = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    index = "model.safetensors.index.json"
    put(cache, index, json.dumps(placed).encode())
    blobs = [put(cache, file, safetensors.torch.save(half)) for file, half in halves.items()]
    located = model_paths.locate("hf-hub:org/tiny")
    located.check(checkpoint.read(located.path / index))
    spoil(blobs[1])
    with pytest.raises(UnsafeCheckpoint, match=rf"00002-of-00002.* {blobs[1].name}"):
        located.check(checkpoint.read(located.path / index))


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """The cache of open_clip, empty, and none of the hub."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    return tmp_path / ".cache" / "clip"


def test_a_model_of_open_clip_is_found_in_its_own_cache_with_the_digest_of_its_address(own_cache):
    with pytest.raises(RefusedInput, match=r"create_model\('ViT-B-32', pretrained='openai'\)"):
        model_paths.locate("open_clip:ViT-B-32/openai")
    (own_cache / "ViT-B-32.pt").write_bytes(b"x")
    found = model_paths.locate("open_clip:ViT-B-32/openai")
    assert found.path == own_cache / "ViT-B-32.pt"
    assert found.digests == {"ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"}
    assert (found.architecture.name, found.architecture.quick_gelu) == ("ViT-B-32-quickgelu", True)
    assert found.architecture.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    beginning = "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"  # of a digest is all that its address has
    (own_cache / beginning).write_bytes(b"x")
    assert model_paths.locate("open_clip:ViT-B-32/laion400m_e32").digests == {beginning: "46683a32"}
    with pytest.raises(UnsupportedModel):
        model_paths.locate("open_clip:ViT-B-16-SigLIP/webli")


def test_a_model_of_open_clip_is_first_looked_for_in_the_cache_of_the_hub(cache):
    repository = cache.parent / "models--timm--vit_base_patch32_clip_224.openai"
    put(repository, WEIGHTS, b"weights")
    put(repository, "open_clip_pytorch_model.bin", b"others")
    found = model_paths.locate("open_clip:ViT-B-32/openai")
    assert found.path == repository.resolve() / "snapshots" / COMMIT / WEIGHTS
    assert (found.name, found.revision) == ("open_clip:ViT-B-32/openai", COMMIT)


def test_a_path_is_located_even_where_nothing_is(tmp_path):
    located = model_paths.locate(tmp_path / "model.pt")  # the reader says that it is not there
    assert (located.path, located.name, located.revision) == (tmp_path / "model.pt", "model.pt", None)


def test_of_a_path_a_report_has_only_what_is_within_the_repository(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    assert model_paths.in_repository(tmp_path / "models" / "a.pt") == "a.pt"
    assert model_paths.in_repository(tmp_path / "a.pt") is None
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert model_paths.in_repository(tmp_path / "models" / "a.pt") == "models/a.pt"
    assert model_paths.locate(tmp_path / "models" / "a.pt").inside == "models/a.pt"


@pytest.mark.usefixtures("cache")
def test_inspect_of_a_name_says_the_revision(capsys):
    assert cli.main(["inspect", "hf-hub:org/tiny", "--json"]) == 0
    inspection = json.loads(capsys.readouterr().out)
    assert (inspection["name"], inspection["revision"]) == ("hf-hub:org/tiny", COMMIT)


def test_nothing_is_written_into_a_cache_that_is_read(cache, capsys):
    assert cli.main(["export", "hf-hub:org/tiny", "--format", "open_clip", "--out", str(cache.parent / "new")]) == 2
    assert "--out" in capsys.readouterr().err


# Folders of models.
def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("files", "given", "found"),
    [
        (["b.pt", "a/x.safetensors", "a/notes.md", "c/d/e.ckpt"], ["."], ["a/x.safetensors", "b.pt", "c/d/e.ckpt"]),
        (["hub/config.json", "hub/model.safetensors"], ["."], ["hub"]),
        (["hub/config.json", "hub/model.safetensors"], ["hub"], ["hub"]),
        (["m-00001-of-00002.safetensors", "m.safetensors.index.json"], ["."], ["m.safetensors.index.json"]),
        (["notes.md"], ["."], ["."]),  # the reader refuses it
        (["a.pt", "b.pt"], ["b.pt", "."], ["b.pt", "a.pt"]),
        ([], ["hf-hub:org/model", "missing.pt", "null\0byte"], ["hf-hub:org/model", "missing.pt", "null\0byte"]),
    ],
)
def test_a_folder_stands_for_the_models_in_it(tmp_path, monkeypatch, files, given, found):
    monkeypatch.chdir(touched(tmp_path, *files))
    assert [str(path) for path in model_paths.expanded(map(Path, given))] == found


def test_links_in_a_folder_are_left_out(tmp_path):
    outside = touched(tmp_path / "outside", "secret.pt", "hub/config.json")
    folder = touched(tmp_path / "folder", "a.pt")
    for name, target in (("link.pt", "secret.pt"), ("linked", ""), ("hub", "hub")):
        (folder / name).symlink_to(outside / target)
    (folder / "round").symlink_to(folder)
    assert model_paths.expanded([folder]) == [folder / "a.pt"]


def test_a_folder_of_more_models_than_anybody_has_is_refused(tmp_path):
    touched(tmp_path, *(f"{number}.pt" for number in range(model_paths.MOST_MODELS + 1)))
    with pytest.raises(UsageError):
        model_paths.expanded([tmp_path])


# Against a small server that speaks the hub's protocol.


PLACE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    found = contents(tmp_path_factory.mktemp("model"), tiny.TINY_VIT, size=32)
    return found | {"README.md": b"x", "training.pkl": b"y"}


def published(name, content, size):
    """What the hub says of a file: large ones have a SHA-256, small ones git's digest."""
    told = {"rfilename": name, "size": size, "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
    large = {"lfs": {"size": size, "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 100}}
    return told | (large if name == WEIGHTS else {})


@pytest.fixture
def hub(files):
    """A server with the model org/tiny; what it was asked for, and what it says of sizes, can be changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked, claimed, told, served = [], {}, {}, dict(files)
        address = ""

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            self.asked.append(self.path)
            if self.path.startswith("/api/models/org/tiny"):
                siblings = [published(n, d, self.claimed.get(n, len(d))) for n, d in files.items()]
                told = {"id": "org/tiny", "sha": COMMIT, "siblings": siblings} | self.told
                return self.send(json.dumps(told).encode(), {})
            name = self.path.rpartition("/")[2]
            if f"/org/tiny/resolve/{COMMIT}/" not in self.path or name not in files:
                return self.send(b"", {"X-Error-Code": "RepoNotFound"}, status=404)
            return self.send(self.served[name], {"ETag": '"../../../outside"', "X-Repo-Commit": COMMIT})

        def send(self, body, headers, status=200):
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        Handler.address = f"http://127.0.0.1:{server.server_port}"
        yield Handler
        server.shutdown()


@pytest.fixture
def inspect(hub, tmp_path, monkeypatch, capsys):
    """``clipclean inspect`` with a cache of its own; exit code, JSON and messages. The library reads its settings at import."""

    def run(*arguments, address=hub.address, **variables):
        own = {"HF_HUB_CACHE": str(tmp_path / "cache"), "CI": "", "NO_PROXY": "127.0.0.1"} | variables
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        settings = {"ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": PLACE.format(address)}
        settings["HF_HUB_OFFLINE"] = "HF_HUB_OFFLINE" in variables
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        return cli.main(["inspect", *arguments, "--json"]), *capsys.readouterr()

    return run


def test_nothing_is_asked_of_the_hub_without_the_flag(hub, inspect):
    code, out, _ = inspect("hf-hub:org/tiny")
    assert code == 3
    assert "hf download org/tiny" in out
    assert hub.asked == []


def test_only_files_that_are_needed_are_downloaded(hub, inspect, tmp_path):
    code, out, err = inspect("hf-hub:org/tiny", "--download")
    assert code == 0, err
    assert json.loads(out)["revision"] == COMMIT
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {WEIGHTS, "open_clip_config.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}  # whatever the server says that a file is called
    hub.asked.clear()
    assert inspect(f"hf-hub:org/tiny@{COMMIT}", "--download")[0] == 0  # from the cache
    assert hub.asked == []


@pytest.mark.parametrize(
    ("what", "false", "is_fetched"),
    [
        ("served", None, True),  # one byte is another: its digest is not the published one
        *(("claimed", size, size == 10) for size in (13 * 2**30, -1, None, 10)),  # beyond the limit, or untrue
        *(("told", told, False) for told in ({"siblings": 3}, {"sha": "../../x"}, {"siblings": [{"rfilename": 4}]})),
    ],
)
def test_what_a_hub_says_falsely_is_refused(hub, inspect, what, false, is_fetched):
    if what == "served":
        hub.served[WEIGHTS] = hub.served[WEIGHTS][:-1] + b"!"
    else:
        getattr(hub, what).update(false if what == "told" else {WEIGHTS: false})
    assert inspect("hf-hub:org/tiny", "--download")[0] == 3
    assert any("/resolve/" in path for path in hub.asked) == is_fetched


@pytest.mark.parametrize(
    ("name", "setting", "code"),
    [
        pytest.param("hf-hub:org/other", {}, 2, id="no such model"),
        pytest.param("hf-hub:org/tiny", {"HF_HUB_OFFLINE": "1"}, 3, id="offline"),
        pytest.param("hf-hub:org/tiny", {"address": "http://127.0.0.1:9"}, 3, id="a dead network"),
        pytest.param("hf-hub:org/tiny", {"CI": "true"}, 2, id="a job of CI"),
    ],
)
def test_a_failed_download_says_why_by_its_exit_code(inspect, name, setting, code):
    assert inspect(name, "--download", **setting)[0] == code


SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
INDEX, BIN = "model.safetensors.index.json", "open_clip_pytorch_model.bin"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["open_clip_config.json", BIN, WEIGHTS, "config.json"], [WEIGHTS, "open_clip_config.json", "config.json"]),
        (["config.json", "pytorch_model.bin", "model.safetensors"], ["model.safetensors", "config.json"]),
        ([*SHARDS, "pytorch_model-00001-of-00002.bin", INDEX], [INDEX, *SHARDS]),
        (["model.onnx", "weights.bin"], []),
    ],
)
def test_the_weights_that_open_clip_takes_come_first_then_those_of_transformers(names, chosen):
    assert fetch.weights_among(names) == chosen
