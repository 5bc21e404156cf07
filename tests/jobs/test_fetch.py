"""Against a small server that speaks the hub's protocol."""

import hashlib
import http.server
import json
import threading

import pytest
import tiny
from hub_cache import COMMIT
from huggingface_hub import constants

from clipclean import cli
from clipclean.export import open_clip_directory
from clipclean.jobs import fetch

WEIGHTS = "open_clip_model.safetensors"
PLACE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    open_clip_directory.write(
        folder, tiny.state_dict(tiny.TINY_VIT), model_cfg=tiny.TINY_VIT, preprocess_cfg={"size": 32}
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": b"x", "training.pkl": b"y"}


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


def test_nothing_is_asked_without_the_flag_and_with_it_a_model_once_and_nothing_beside_it(hub, inspect, tmp_path):
    code, out, _ = inspect("hf-hub:org/tiny")
    assert code == 3
    assert "hf download org/tiny" in out
    assert hub.asked == []
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


def test_a_model_that_is_not_there_a_dead_network_and_a_ci_job_have_their_exit_codes(inspect):
    assert inspect("hf-hub:org/other", "--download")[0] == 2
    assert inspect("hf-hub:org/tiny", "--download", HF_HUB_OFFLINE="1")[0] == 3
    assert inspect("hf-hub:org/tiny", "--download", address="http://127.0.0.1:9")[0] == 3
    assert inspect("hf-hub:org/tiny", "--download", CI="true")[0] == 2


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
    assert fetch.chosen(names) == chosen
