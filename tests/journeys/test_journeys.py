"""Eight ways of a first-time user from a foreign checkpoint and their data to weights that another library loads.

Each takes at most two commands, with no option that ``--help`` does not explain, outside the source tree. The first of one command and
the first of two run the installed clipclean as a program; the others call its ``main`` with the same words, since to start a program
takes longer than what it does here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import containers
import foreign
import hub_cache
import numpy as np
import pytest
import tiny
import torch

import clipclean
from clipclean import cli

pytestmark = pytest.mark.slow

LIMIT = 300  # seconds of a command; it takes about ten


class Journey(NamedTuple):
    """From where to where; ``second`` formats are exported from the cleaned folder by a second command."""

    checkpoint: str
    data: str
    formats: tuple[str, ...]
    second: str = ""


JOURNEYS = [
    Journey("torch.save", "folder", ("open_clip",)),
    Journey("open_clip training", "tsv", ("hf",)),
    Journey("half precision", "coco", ("onnx",)),
    Journey("safetensors", "imagefolder", ("open_clip",)),
    Journey("open_clip directory", "parquet", ("open_clip",), "onnx"),
    Journey("hub cache", "json", ("hf",)),
    Journey("transformers directory", "webdataset", ("open_clip", "hf")),
    Journey("transformers directory in shards", "class folders", ("open_clip",), "hf"),
]
NEEDS_ARCH = ("torch.save", "open_clip training", "half precision", "safetensors")  # nothing beside them says it
PROGRAMS = (JOURNEYS[0], next(journey for journey in JOURNEYS if journey.second))


OPEN_CLIP_TRAINING = """
import csv, importlib.machinery, importlib.util, sys, types
import numpy as np
if importlib.util.find_spec("pandas") is None:  # open_clip reads its table by it, and by nothing else of it
    def read_csv(path, sep):
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=sep))
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}
    sys.modules["pandas"] = pandas = types.ModuleType("pandas")
    pandas.__spec__, pandas.read_csv = importlib.machinery.ModuleSpec("pandas", None), read_csv
import open_clip
open_clip.add_model_config("smallest.json")
from open_clip_train.main import main
main(sys.argv[1:])
"""


def trained(folder):
    """A checkpoint of open_clip's own training."""
    rows = "".join(f"{image},a thing\n" for image in tiny.pairs(folder / "shown").glob("*.png"))
    tiny.written(folder / "shown.csv", f"filepath,title\n{rows}")
    tiny.written(folder / "smallest.json", json.dumps(foreign.CONFIG))
    words = "--dataset-type csv --csv-separator , --model smallest --batch-size 16 --epochs 1 --workers 0 --warmup 1"
    words += " --device cpu --precision fp32 --logs logs --name run --train-data shown.csv"
    command = [sys.executable, "-c", OPEN_CLIP_TRAINING, *words.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "logs/run/checkpoints/epoch_1.pt"


def written(checkpoint, folder):
    """What a user would name on the command line."""
    if checkpoint == "open_clip training":
        return trained(folder)
    if checkpoint == "half precision":
        halves = {name: tensor.half() for name, tensor in foreign.STATE.items()}
        return foreign.saved(folder / "half.pth", halves)
    if checkpoint == "hub cache":
        for path in foreign.open_clip_folder(folder / "local").iterdir():
            hub_cache.put(folder / "hub" / "models--org--tiny", path.name, path.read_bytes())
        return "hf-hub:org/tiny"
    return foreign.READ[checkpoint][0](folder)


def pairs(data, folder):
    """48 of them; those of a class have their captions from ``--templates``."""
    if data == "class folders":
        return tiny.labelled(folder / "labelled", count=48, first=0)
    return containers.WRITERS[data](folder / "data", containers.of_files(tiny.pairs(folder / "pairs")))


def program(*words):
    """Run the interpreter; its exit code, and what it prints."""
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": LIMIT}
    done = subprocess.run([sys.executable, *words], check=False, **told)
    return done.returncode, done.stdout


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run clipclean in an empty folder of a user; what it prints. A verdict other than pass is one, an error is none."""
    for name in [name for name in os.environ if name.startswith("CLIPCLEAN_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "CLIPCLEAN_STATE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name, value in {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*command, as_program):
        words = list(map(str, command))
        capsys.readouterr()
        code, shown = program("-m", "clipclean", *words) if as_program else (cli.main(words), "")
        shown += "".join(capsys.readouterr())
        assert code in (0, 4), f"{code}\n{shown}"
        return shown

    return run


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: "-".join((journey.checkpoint, journey.data)))
def test_a_foreign_checkpoint_becomes_weights_that_another_library_loads(run, tmp_path, journey):
    folder, out = tmp_path, tmp_path / "cleaned"
    model, data = written(journey.checkpoint, folder), pairs(journey.data, folder)
    classes = tiny.written(folder / "classes.txt", tiny.lines(tiny.CLASSES))
    command = [
        "sanitize",
        model,
        "-d",
        data,
        "-o",
        out,
        "--classes",
        classes,
        "--recipe",
        "cleanclip",
        "--set",
        "data.min_pairs=16",
    ]
    command += ["--epochs", 30, "--batch-size", 16, "--no-panel", "--no-search"]
    command += ["--max-accuracy-loss", 0.5]  # random weights have no accuracy to lose
    if journey.checkpoint in NEEDS_ARCH:
        command += ["--arch", tiny.written(folder / "arch.json", json.dumps(foreign.CONFIG | {"quick_gelu": False}))]
    if journey.data == "class folders":
        command += ["--templates", tiny.written(folder / "templates.txt", tiny.lines(tiny.TEMPLATES))]
    for name in journey.formats:
        command += ["-f", name]
    as_program = journey in PROGRAMS
    assert "Load:" in run(*command, as_program=as_program)  # the next line of the user's own program
    places = [(name, out) for name in journey.formats]
    if journey.second:
        exported = folder / "exported"
        run("export", out, "-o", exported, "-f", journey.second, as_program=as_program)
        places.append((journey.second, exported))
    for name, place in places:
        LOADED[name](place)


def embedded_alike(images, texts):
    """Embeddings are finite, of one width, and differ between inputs."""
    assert images.shape[-1] == texts.shape[-1]
    for each in (images, texts):
        assert torch.isfinite(each).all()
        assert not torch.allclose(each[0], each[1])


def by_open_clip(folder):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a red square", "a blue circle"])
    pixels = torch.stack([preprocess(tiny.image(number)) for number in range(2)])
    with torch.no_grad():
        embedded_alike(model.eval().encode_image(pixels), model.encode_text(tokens))


def by_transformers(folder):
    import transformers

    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    drawn = [tiny.image(number) for number in range(2)]
    given = processor(text=["a red square", "a blue circle"], images=drawn, return_tensors="pt", padding=True)
    with torch.no_grad():
        found = model(**given)
    embedded_alike(found.image_embeds, found.text_embeds)


def by_onnx_runtime(folder):
    import onnxruntime

    found = []
    for path in sorted((folder / "onnx").glob("*.onnx") if (folder / "onnx").is_dir() else folder.rglob("*.onnx")):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        shape = [2 if not isinstance(side, int) else side for side in entry.shape]
        rng = np.random.default_rng(0)
        values = rng.random(shape).astype(np.float32) if "float" in entry.type else rng.integers(1, 400, shape)
        found.append(torch.from_numpy(session.run(None, {entry.name: values})[0]))
    assert len(found) == 2
    embedded_alike(found[1], found[0])


LOADED = {"open_clip": by_open_clip, "hf": by_transformers, "onnx": by_onnx_runtime}


def test_the_journeys_use_explained_options(run):
    explained = "".join(run(name, "--help-all", as_program=False) for name in ("sanitize", "export"))
    source = Path(__file__).read_text(encoding="utf-8")
    flags = set(re.findall(r'"(--?[a-z][a-z-]*)"', source)) - {"--help-all", "-m"}
    assert flags >= {"-d", "-o", "-f", "--arch", "--classes", "--templates"}
    for flag in flags:
        assert re.search(rf"^  (-\w, )?{flag}\b", explained, re.MULTILINE) or f"  {flag}, --" in explained, flag


@pytest.mark.usefixtures("run")
def test_the_journeys_use_the_installed_wheel():
    place = program("-c", "import clipclean; print(clipclean.__file__)")[1].strip()
    wheel = os.environ.get("JOURNEYS_WHEEL")
    for each in (place, clipclean.__file__):  # of the program, and of this process
        assert Path(each).is_relative_to(wheel) if wheel else Path(each).name == "__init__.py"
