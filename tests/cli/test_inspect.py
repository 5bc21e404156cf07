"""``clipclean inspect``: the facts of a file, of one or several, and refusals that hide no other."""

import json
import shutil

import foreign
import pytest
import tiny
import torch
from foreign import CONFIG, READ, STATE, saved

from clipclean import checkpoint, cli, files
from clipclean.jobs import inspect, opening


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=2)


def told(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = cli.main(["inspect", *map(str, arguments)])
    return code, *capsys.readouterr()


def facts(capsys, *arguments):
    code, out, err = told(capsys, "--json", *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_facts_are_those_of_the_file(job, capsys):
    state = tiny.state_dict(tiny.SMALL_VIT)
    state["visual.proj"] = state["visual.proj"].half()  # 64 x 8
    torch.save(state, job.model)
    description, others = facts(capsys, job.model), sum(tensor.numel() for tensor in state.values()) - 64 * 8
    kind = (description["name"], description["format"], description["producer"])
    assert kind == ("model.pt", "torch-zip", "bare state dict")
    assert (description["size"], description["sha256"]) == (job.model.stat().st_size, files.sha256(job.model))
    assert description["tensor_sha256"] == checkpoint.digest(state)
    single = {"tensors": len(state) - 1, "elements": others, "bytes": 4 * others}
    half = {"tensors": 1, "elements": 64 * 8, "bytes": 2 * 64 * 8}
    tensors = description["tensors"]
    assert list(tensors["dtypes"].items()) == [("float32", single), ("float16", half)]  # the largest first
    whole = {key: single[key] + half[key] for key in single}
    assert tensors == whole | {"dtypes": tensors["dtypes"]}
    assert description["architecture"]["name"] == "ViT-1x64-8-16px"
    assert (description["activation"]["name"], description["preprocess"]["size"]) == (None, 16)
    assert (description["config"], description["notes"]) == (None, [])


def test_an_activation_that_no_file_tells_is_what_the_user_says(job, capsys):
    assert "--arch" in told(capsys, job.model)[1]  # what decides the activation
    tiny.written(job.arch, json.dumps(tiny.SMALL_VIT | {"quick_gelu": True}))
    description = facts(capsys, job.model, "--arch", job.arch)
    assert (description["architecture"]["name"], description["activation"]["name"]) == ("arch", "quick_gelu")


@pytest.mark.parametrize(
    ("stated", "activation", "how"),
    [
        ({"quick_gelu": True}, "quick_gelu", "quick_gelu is true"),
        ({"quick_gelu": False}, "gelu", "quick_gelu is false"),
        ({}, "gelu", "no quick_gelu"),
    ],
)
def test_the_activation_is_told_with_what_the_configuration_says_of_it(job, capsys, stated, activation, how):
    config = {key: value for key, value in tiny.SMALL_VIT.items() if key != "quick_gelu"}
    tiny.written(job.arch, json.dumps(config | stated))
    described = facts(capsys, job.model, "--arch", job.arch)["activation"]
    assert (described["name"], how in described["how"], "arch.json" in described["how"]) == (activation, True, True)


def test_what_is_left_out_of_a_file_is_explained(job, capsys):
    torch.save({"epoch": 3, "name": "run", "state_dict": tiny.state_dict(tiny.SMALL_VIT)}, job.model)
    notes = facts(capsys, job.model)["notes"]
    words = {key: next(note for note in notes if f"'{key}'" in note).partition(": ")[2] for key in ("epoch", "name")}
    assert all(told_of not in (key, "") for key, told_of in words.items())


def test_facts_are_as_wide_as_the_terminal_but_for_a_digest(job, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = told(capsys, job.model)[1].splitlines()
    assert [line.split()[-1] for line in lines if len(line) > 60] == [
        files.sha256(job.model),
        checkpoint.digest(checkpoint.read(job.model).tensors),
    ]


def test_the_facts_of_a_file_stand_in_one_column(job, capsys):
    rows = told(capsys, job.model)[1].splitlines()
    (start,) = {
        row.index(words)
        for label, words in (("format", "torch-zip"), ("for transformers", "none"))
        for row in rows
        if row.startswith(label)
    }
    assert start > len("for transformers")


def test_no_embedding_is_computed(job, capsys, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "forward", None)
    assert facts(capsys, job.model)["format"] == "torch-zip"


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A folder with two checkpoints of the same shapes, and files that are none."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.pt", "b.pt", "c.pt")):
        torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=seed), tmp_path / name)
    (tmp_path / "c.pt").rename(tmp_path / "a\x1b[2Jb.pt")
    torch.save({"state_dict": tiny.Command(f"touch {tmp_path / 'ran'}")}, tmp_path / "evil.pt")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    broken = {"empty": b"", "text": b"no checkpoint\n", "zip": b"PK\x03\x04" + b"\0" * 40, "numpy": b"\x93NUMPY" * 9}
    for name, content in broken.items():
        (tmp_path / f"{name}.pt").write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "accepted", "named"),
    [
        ("evil.pt", 3, [], ["evil.pt", "system"]),
        *((f"{name}.pt", 3, [], [f"{name}.pt"]) for name in ("empty", "text", "zip", "numpy", "none")),
        ("other.pt", 3, [], ["CLIP"]),
        ("a.pt --arch ViT-B-32", 3, [], ["ViT-B-32"]),
        ("a.pt b.pt --arch ViT-B32", 2, [], ["ViT-B-32"]),
        ("a.pt empty.pt --arch ViT-B32", 3, [], ["empty.pt"]),  # a refused file is worse
        ("", 2, [], ["MODEL"]),
        ("a.pt b.pt", 0, ["a.pt", "b.pt"], []),
        ("a.pt evil.pt b.pt", 3, ["a.pt", "b.pt"], ["evil.pt", "system"]),
        ("text.pt empty.pt none.pt", 3, [], ["text.pt", "empty.pt", "none.pt"]),
        ("a\x1b[2Jb.pt", 0, ["a\\x1b[2Jb.pt"], []),
    ],
)
def test_each_file_is_described_or_refused_by_name(mixed, capsys, arguments, code, accepted, named):
    exit_code, out, err = told(capsys, *arguments.split(" ") if arguments else ())
    assert exit_code == code
    assert [line.split()[1] for line in out.splitlines() if line.startswith("file ")] == accepted
    assert all(name in err for name in named), err
    assert bool(err) == bool(code)
    assert err.count("error:") <= 1
    assert "\x1b" not in out + err
    assert not (mixed / "ran").exists()


def test_the_json_of_several_is_a_list(mixed, capsys):
    assert facts(capsys, "a.pt", "b.pt") == [{"path": name, **facts(capsys, name)} for name in ("a.pt", "b.pt")]
    assert "path" not in facts(capsys, "a.pt")


def test_the_json_of_a_refused_file_says_why(mixed, capsys):
    code, out, err = told(capsys, "--json", "empty.pt", "a.pt")
    refused, accepted = json.loads(out)
    assert (code, refused["path"], set(refused)) == (3, "empty.pt", {"path", "error", "kind"})
    assert refused["error"] in err
    assert accepted["sha256"] == files.sha256(mixed / "a.pt")
    code, out, err = told(capsys, "--json", "other.pt")
    assert (code, json.loads(out)["name"], json.loads(out)["kind"]) == (3, "other.pt", "unsupported")
    assert json.loads(out)["error"] in err


# Every layout of a CLIP, from the file to the terminal and to the model; other kinds: tests/checkpoint, tests/hostile.


@pytest.mark.parametrize("layout", READ)
def test_every_layout_is_read_as_the_same_model(tmp_path, capsys, layout):
    write, kind, chosen = READ[layout]
    path = write(tmp_path)
    description = facts(capsys, path, *([] if chosen is None else ["--weights", chosen]))
    assert description["format"] == kind
    assert description["tensor_sha256"] == checkpoint.digest(STATE)
    assert description["tensors"]["tensors"] == len(STATE)
    assert description["preprocess"]["size"] == 16
    tells_activation = layout in ("TorchScript", "open_clip directory") or layout.startswith("transformers directory")
    assert description["activation"]["name"] == ("quick_gelu" if tells_activation else None)
    assert any("optimizer" in note for note in description["notes"]) == ("training" in layout)
    arch = tiny.written(tmp_path / "arch.json", json.dumps(CONFIG | {"quick_gelu": True}))
    opened = opening.read(path, arch=str(arch), weights=chosen)
    assert opened.file.tensors.keys() == STATE.keys()
    assert opened.architecture.quick_gelu is True


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("logit_scale", 50.0, 3),  # training never reaches it
        ("logit_scale", -0.5, 3),
        ("logit_scale", 4.6052, 0),
        ("visual.backdoor.weight", 0.0, 3),
    ],
)
def test_a_tensor_that_no_clip_has_is_named(tmp_path, capsys, name, value, code):
    path = saved(tmp_path / "m.pt", STATE | {name: torch.tensor(value)})
    found, out, _ = told(capsys, "--json", path)
    assert found == code
    assert code == 0 or name in json.loads(out)["error"]


@pytest.mark.parametrize(
    ("name", "change", "taken"),
    [
        ("model.safetensors", {}, "these tensors"),
        ("epoch3.safetensors", {}, "those of model.safetensors"),  # which lies beside it
        ("model.safetensors", {"model_type": "bert"}, "none"),
    ],
)
def test_transformers_takes_what_its_folder_says(tmp_path, capsys, name, change, taken):
    folder = foreign.transformers(tmp_path / "hf", shards=1)
    (folder / "config.json").write_text(json.dumps(foreign.transformers_config() | change))
    file = folder / name
    if not file.exists():
        shutil.copy(folder / "model.safetensors", file)
    arch = ("--arch", tiny.written(tmp_path / "arch.json", json.dumps(CONFIG)))
    assert facts(capsys, file, *arch)["loaders"]["transformers"].startswith(taken)


def test_what_lies_beside_a_file_refuses_nothing(job, capsys):
    (job.folder / "config.json").write_text("[")
    assert facts(capsys, job.model)["loaders"]["transformers"].startswith("none")


def test_transformers_takes_nothing_of_a_module_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(foreign.transformers(tmp_path / "hf", shards=1))
    assert inspect.loaders(checkpoint.of_module(torch.nn.Linear(2, 2)))["transformers"].startswith("none")
