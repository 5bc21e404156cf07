import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import tiny
import torch
from cases import each
from open_clip.model import CLIP

from clipclean import checkpoint, cli, deadline, detect, files, model, own_state, report, train
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.errors import RefusedInput
from clipclean.export import checksums, formats, hf_directory, open_clip_directory, parity
from clipclean.jobs import inputs, prepare, verify
from clipclean.methods import losses
from clipclean.model import Preprocess
from clipclean.train import resume

ROOT = Path(__file__).parents[2]
WEIGHTS = "open_clip_model.safetensors"
PROMISED = {
    "open_clip_config.json",
    WEIGHTS,
    "report.json",
    "report.html",
    "provenance.intoto.json",
    "SHA256SUMS",
    "README.md",
}


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def names(folder):
    return {path.name for path in folder.iterdir()}


def result(out):
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def judged(monkeypatch, word):
    """Let every run end in this verdict: which one is the verdict's own tests' business."""
    monkeypatch.setattr(policy, "verdict", lambda findings: word)


# End to end.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run, nothing left out: 48 pairs, of which 5 are held out, 3 steps of 16."""
    job = tiny.job(tmp_path_factory.mktemp("finished") / "job")
    return job, cli.main(whole(job))


def whole(job, *more):
    """Its command line; every job has the same files, so it gives the same weights wherever it is run."""
    return job.sanitize("--trigger", tiny.TRIGGER, "--target", tiny.TARGET, *more, recipe="cleanclip@tiny")


def test_a_run_writes_what_is_promised_and_leaves_nothing_else(finished):
    job, _ = finished
    assert names(job.out) == PROMISED
    assert names(job.folder) == {"model.pt", "arch.json", "pairs", "classes.txt", "templates.txt", "out"}


def test_a_random_model_is_inconclusive_and_never_passes(finished):
    job, code = finished
    assert (code, result(job.out)["verdict"]) == (4, "inconclusive")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_agrees_with_the_checksums(finished):
    job, _ = finished
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=job.out, capture_output=True, text=True)
    assert done.returncode == 0
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == PROMISED - {"SHA256SUMS"}


def test_open_clip_loads_the_result_and_embeds_as_clipclean_does(finished):
    job, _ = finished
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{job.out}")
    ours = built(job.out)
    drawn, captions = tiny.image(3, side=16), ["a red square.", "a blue circle."]
    pixels = preprocess(drawn)[None]
    image = torch.from_numpy(np.array(drawn)).permute(2, 0, 1)
    tokens = open_clip.get_tokenizer(f"local-dir:{job.out}")(captions)
    with torch.no_grad():
        images = theirs.eval().encode_image(pixels, normalize=True)
        texts = theirs.encode_text(tokens, normalize=True)
    torch.testing.assert_close(ours.embed_images(model.unit_range(ours.fitted(image))[None]), images)
    torch.testing.assert_close(ours.embed_texts(captions), texts)


def built(folder):
    opened = inputs.read(folder, arch=None)
    return inputs.build(opened, None, device="cpu").clip  # the config tells the activation


def test_the_weights_moved_and_kept_their_names_and_shapes(finished):
    job, _ = finished
    old, new = checkpoint.read(job.model).tensors, checkpoint.read(job.out).tensors
    assert {name: tensor.shape for name, tensor in old.items()} == {name: tensor.shape for name, tensor in new.items()}
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_the_report_is_valid_and_its_numbers_agree_with_each_other_and_with_the_files(finished):
    job, _ = finished
    found = report.read(job.out / "report.json").as_json()
    assert found["model"]["sha256"] == files.sha256(job.model)
    assert found["model"]["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.model).tensors)
    (exported,) = found["exports"]
    assert exported["sha256"] == files.sha256(job.out / WEIGHTS)
    assert exported["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.out).tensors)
    assert exported["parity"]["n"] == 5 + 5  # images and captions that were held out
    training = found["training"]
    assert (training["steps"], training["pairs"], training["resumed_at"]) == (3, 3 * 16, 0)
    assert [entry["step"] for entry in training["losses"]] == [0, 1, 2]
    assert training["pairs_per_second"] == pytest.approx(48 / training["seconds"])
    assert 0 < training["data_wait_seconds"] < training["seconds"]
    assert training["data_wait_share"] == pytest.approx(training["data_wait_seconds"] / training["seconds"])
    weight = found["recipe"]["resolved"]["loss"]["self_supervised_weight"]
    for entry in training["losses"]:
        assert entry["loss"] == pytest.approx(entry["clip"] + weight * entry["self_supervised"], rel=1e-5)
    assert found["data"]["pairs"] == 48
    assert found["measurements"] == found["after"]["measurements"]
    assert found["after"]["measurements"]["clean_accuracy"]["n"] == 5  # a tenth of 48, rounded
    first = found["after"]["measurements"]["probes"][0]
    assert (first["trigger"], first["target"], first["known"]) == (
        "patch:size=0.25,place=corner,fill=noise,seed=1",
        "blue circle",
        True,
    )
    assert first["excess_asr"]["value"] == pytest.approx(first["asr"]["value"] - first["base_rate"]["value"])
    assert found["recipe"]["validated"] is False
    assert found["recipe"]["resolved"]["train"]["max_steps"] == 3


def test_the_provenance_names_what_went_in_and_what_came_out(finished):
    job, _ = finished
    found = json.loads((job.out / "provenance.intoto.json").read_text())
    model, *_ = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert model["digest"]["sha256"] == files.sha256(job.model)
    subjects = {entry["name"]: entry["digest"]["sha256"] for entry in found["subject"]}
    assert subjects == {
        name: files.sha256(job.out / name) for name in PROMISED - {"SHA256SUMS", "provenance.intoto.json"}
    }


def test_the_folder_verifies_and_with_a_report_of_another_verdict_does_not(finished, tmp_path):
    folder = shutil.copytree(finished[0].out, tmp_path / "folder")
    found = verify.verify(folder, public_key=None)
    assert (found.exit_code, found.checked["report"]) == (0, "verdict inconclusive, weights at 1 of the way")
    text = (folder / "report.json").read_text().replace('"verdict": "inconclusive"', '"verdict": "pass"')
    (folder / "report.json").write_text(text)
    (folder / "SHA256SUMS").write_text(checksums.text(folder))
    finding = next(each for each in verify.verify(folder, public_key=None).findings if each.check == "report")
    assert (finding.file, finding.kind) == ("report.json", "mismatch")
    assert "clipclean_verdict" in finding.message
    (folder / "report.json").unlink()
    (folder / "SHA256SUMS").write_text(checksums.text(folder))
    finding = next(each for each in verify.verify(folder, public_key=None).findings if each.check == "report")
    assert finding.message == "is missing, and the weights come from sanitize"


def test_equal_seeds_give_equal_bytes_and_another_seed_gives_others(finished, job, unread):
    first = finished[0].out
    for seed, name in ((0, "equal"), (1, "other")):
        cli.main(whole(job, "--out", job.folder / name, "--seed", seed))
    equal, other = job.folder / "equal", job.folder / "other"
    assert (first / WEIGHTS).read_bytes() == (equal / WEIGHTS).read_bytes()
    assert (first / WEIGHTS).read_bytes() != (other / WEIGHTS).read_bytes()
    assert provenance(first) == provenance(equal) != provenance(other)


def provenance(out):
    """What a run was, without the digests of what it wrote: a report tells the time."""
    return json.loads((out / "provenance.intoto.json").read_text())["predicate"]


def test_other_layouts_stand_beside_with_the_same_weights(job, unread, monkeypatch):
    monkeypatch.setattr(hf_directory, "can_check", lambda: False)  # read back here, not in a process with transformers
    assert cli.main(job.sanitize("--format", "open_clip", "--format", "hf")) == 4
    ours, theirs = result(job.out)["exports"]
    assert [(entry["format"], entry["path"]) for entry in (ours, theirs)] == [
        ("open_clip", WEIGHTS),
        ("hf", "model.safetensors"),
    ]
    assert ours["tensor_sha256"] == theirs["tensor_sha256"]
    assert checkpoint.digest(checkpoint.read(job.out / "model.safetensors").tensors) == ours["tensor_sha256"]
    assert set(formats.FORMATS["hf"].files) | PROMISED == names(job.out)
    # a later run in one layout leaves nothing of the other
    assert cli.main(job.sanitize("--force")) == 4
    assert names(job.out) == PROMISED


def test_a_layout_that_has_no_place_for_the_model_is_refused_before_training(tmp_path, capsys):
    resnet = tiny.job(tmp_path / "job", config=tiny.TINY_RESNET, count=2)
    assert cli.main(resnet.sanitize("--format", "hf")) == 2
    assert "ResNet" in capsys.readouterr().err
    assert not resnet.out.exists()


@pytest.mark.slow
def test_every_library_reads_the_sanitized_weights_in_its_own_layout(job):
    pytest.importorskip("transformers")
    options = [word for name in formats.FORMATS for word in ("--format", name)]
    assert cli.main(job.sanitize(*options)) == 4
    entries = result(job.out)["exports"]
    assert [entry["parity"]["reader"].split()[0] for entry in entries] == [
        "open_clip",
        "transformers",
        "onnxruntime",
        "onnxruntime",
    ]
    assert all(entry["parity"]["max_difference"] <= 1e-5 for entry in entries)
    assert {entry["sha256"] for entry in entries} == {files.sha256(job.out / entry["path"]) for entry in entries}


def test_a_planted_backdoor_that_two_steps_leave_in_place_fails(tmp_path, unread):
    job = tiny.job(tmp_path / "job", count=96)
    labelled = tiny.labelled(tmp_path / "labelled", count=96)
    assert cli.main(job.plant("--eval-data", labelled, "--rate", 0.15, steps=100, batch=48)) == 0
    named = ("--eval-data", labelled, "--trigger", tiny.TRIGGER, "--target", tiny.TARGET)
    assert cli.main(job._replace(model=job.folder / "planted.pt").sanitize(*named, steps=2)) == 1
    assert names(job.out) == {"report.json", "report.html", "SHA256SUMS"}
    (error,) = [finding for finding in result(job.out)["findings"] if finding["level"] == "error"]
    assert error["rule"] == "CC001"
    assert error["value"] > 0.5
    # The clean model, in which nothing was planted, is not accused.
    assert cli.main(job.sanitize(*named, "--out", tmp_path / "clean", steps=2)) == 4
    assert not [finding for finding in result(tmp_path / "clean")["findings"] if finding["level"] == "error"]


@pytest.mark.parametrize(("word", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 4)])
def test_the_exit_code_is_that_of_the_verdict(job, unread, monkeypatch, word, code):
    judged(monkeypatch, word)
    assert cli.main(job.sanitize()) == code
    assert result(job.out)["verdict"] == word


def test_zero_is_the_exit_code_of_a_failure_where_it_is_asked_for(job, unread, monkeypatch):
    judged(monkeypatch, "fail")
    assert cli.main(job.sanitize("--exit-zero")) == 0


# Which checkpoints.


def training_checkpoint(config, *, scaler):
    """As open_clip's training loop saves it: wrapped names, the optimizer's state, the loss scaler's."""
    net = CLIP(**config)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    (
        net.encode_image(pixels).sum() + net.encode_text(open_clip.tokenize(["a", "b"], context_length=8)).sum()
    ).backward()
    optimizer.step()
    state = {"epoch": 2, "name": "run", "state_dict": {f"module.{name}": t for name, t in net.state_dict().items()}}
    state["optimizer"] = optimizer.state_dict()
    return state | ({"scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0}} if scaler else {})


def cleanclip_checkpoint(config):
    """As the CleanCLIP code saves it: no scaler, and numpy's numbers where a schedule set the learning rate."""
    state = training_checkpoint(config, scaler=False)
    state["epoch"] = np.int64(64)
    for group in state["optimizer"]["param_groups"]:
        group["lr"] = np.float64(4.5e-6)
    return state


@pytest.mark.parametrize(
    ("written", "producer"),
    [
        (lambda config: training_checkpoint(config, scaler=True), "open_clip training checkpoint"),
        (cleanclip_checkpoint, "open_clip or CleanCLIP training checkpoint"),
    ],
)
def test_training_checkpoints_are_sanitized(job, unread, written, producer):
    state = written(tiny.SMALL_VIT)
    torch.save(state, job.model)
    assert checkpoint.read(job.model).producer == producer
    assert cli.main(job.sanitize(steps=2)) == 4
    assert set(checkpoint.read(job.out).tensors) == {name.removeprefix("module.") for name in state["state_dict"]}
    assert any("optimizer" in note for note in result(job.out)["notes"])


OPEN_CLIP_TRAINING = """
import csv, importlib.machinery, importlib.util, sys, types
import numpy as np
if importlib.util.find_spec("pandas") is None:  # open_clip reads the table by it, and by nothing else of it
    def read_csv(path, sep):
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=sep))
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}
    sys.modules["pandas"] = pandas = types.ModuleType("pandas")
    pandas.__spec__, pandas.read_csv = importlib.machinery.ModuleSpec("pandas", None), read_csv
import open_clip
open_clip.add_model_config(sys.argv[1])
from open_clip_train.main import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_checkpoint_of_open_clips_own_training_is_sanitized(job, unread):
    table = tiny.written(
        job.folder / "pairs.csv",
        "filepath,title\n"
        + "".join(f"{path},{path.with_suffix('.txt').read_text()}\n" for path in job.data.glob("*.png")),
    )
    config = tiny.written(job.folder / "smallest.json", json.dumps(tiny.SMALL_VIT))
    arguments = [
        "--train-data",
        table,
        "--dataset-type",
        "csv",
        "--csv-separator",
        ",",
        "--model",
        "smallest",
        "--batch-size",
        "16",
        "--epochs",
        "1",
        "--workers",
        "0",
        "--warmup",
        "1",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--logs",
        job.folder / "logs",
        "--name",
        "run",
    ]
    subprocess.run([sys.executable, "-c", OPEN_CLIP_TRAINING, config, *arguments], check=True, capture_output=True)
    trained = job._replace(model=job.folder / "logs/run/checkpoints/epoch_1.pt")
    assert cli.main(trained.sanitize(steps=2)) == 4
    assert names(job.out) == PROMISED


def test_the_result_can_be_sanitized_again(finished, unread, tmp_path):
    job, _ = finished
    again = job._replace(model=job.out).sanitize("--out", tmp_path / "again", arch=False)
    assert cli.main(again) == 4
    model = result(tmp_path / "again")["model"]
    assert (model["format"], model["activation"]) == ("open_clip-directory", "gelu")


# Interruptions.


def interrupted_at(monkeypatch, step, number):
    """Send this process a signal when the step is done."""
    original = train.fit

    def steps(*arguments, **settings):
        for done in original(*arguments, **settings):
            if done.number == step:
                os.kill(os.getpid(), number)
            yield done

    monkeypatch.setattr(train, "fit", steps)


STATE = {own_state.MARK, "state.safetensors"}


def hidden(job):
    return own_state.place_of(job.out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_only_its_state_and_goes_on_to_the_same_bytes(finished, job, unread, capsys, number):
    before = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(patch, 1, number)
        assert cli.main(whole(job)) == 130
    assert "after step 2 of 3. Give the same command again" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    assert not job.out.exists()
    assert names(hidden(job)) == STATE
    cli.main(whole(job))
    assert result(job.out)["training"]["resumed_at"] == 2
    assert [entry["step"] for entry in result(job.out)["training"]["losses"]] == [0, 1, 2]
    assert not hidden(job).exists()
    assert (job.out / WEIGHTS).read_bytes() == (finished[0].out / WEIGHTS).read_bytes()


def left_unfinished(job):
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(patch, 1, signal.SIGINT)
        assert cli.main(job.sanitize()) == 130


def test_the_state_of_another_run_is_kept_unless_force_says_otherwise(finished, job, unread, capsys):
    left_unfinished(job)
    kept = (hidden(job) / "state.safetensors").read_bytes()
    assert cli.main(whole(job)) == 2
    assert "Give its settings to go on with it, name another --out, or give --force" in capsys.readouterr().err
    assert (hidden(job) / "state.safetensors").read_bytes() == kept
    cli.main(whole(job, "--force"))
    assert result(job.out)["training"]["resumed_at"] == 0
    assert (job.out / WEIGHTS).read_bytes() == (finished[0].out / WEIGHTS).read_bytes()


def decides(**changes):
    """The fingerprint of a run in which one thing differs."""
    recipe = recipes.load("mmcl@tiny")
    values = {
        "sha256": "a",
        "config": {},
        "size": 16,
        "digest": "b",
        "keys": ("1", "2"),
        "eval_data": None,
        "recipe": recipe,
        "seed": 0,
        "precision": "fp32",
        "device": "cpu",
        "references": (),
    } | changes
    values["architecture"] = SimpleNamespace(config=values["config"], preprocess=Preprocess(values["size"]))
    request = SimpleNamespace(**{key: values[key] for key in ("eval_data", "recipe", "seed", "precision")})
    tested = SimpleNamespace(
        file=SimpleNamespace(sha256=values["sha256"]),
        clip=SimpleNamespace(net=None, architecture=values["architecture"], device=torch.device(values["device"])),
    )
    pairs = [SimpleNamespace(key=key) for key in values["keys"]]
    clean = SimpleNamespace(digest=values["digest"], pairs=pairs)
    trusted = [(None, SimpleNamespace(file=SimpleNamespace(sha256=sha256))) for sha256 in values["references"]]
    ready = SimpleNamespace(loaded=tested, clean=clean, vocabulary=None, named=(), trusted=trusted)
    return prepare.fingerprint(request, ready)


@each(
    "change",
    [
        {"sha256": "c"},
        {"config": {"quick_gelu": True}},
        {"size": 32},
        {"digest": "c"},
        {"keys": ("2", "1")},
        {"eval_data": Path("x")},
        {"seed": 1},
        {"precision": "bf16"},
        {"device": "cuda:0"},
        {"references": ("d",)},
        {"recipe": recipes.override(recipes.load("mmcl@tiny"), ["train.lr=1e-4"])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_runs_that_differ_in_what_decides_the_weights_have_different_fingerprints(change):
    assert decides() == decides()
    assert json.dumps(decides(**change)) != json.dumps(decides())


def test_a_run_may_be_judged_anew_by_other_thresholds_without_training_again():
    load, override = recipes.load, recipes.override
    assert decides(recipe=override(load("mmcl@tiny"), ["audit.max_accuracy_loss=0.05"])) == decides()


def test_a_second_run_on_one_output_is_refused_while_the_first_goes_on(job, unread, capsys):
    with resume.RunState.of(job.out, {}).locked():
        assert cli.main(job.sanitize()) == 2
        assert hidden(job).exists()
    assert "Another clipclean run is writing this output" in capsys.readouterr().err
    assert not job.out.exists()


def test_ctrl_c_before_training_leaves_nothing(job, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(detect, "measure", stop)
    before = names(job.folder)
    assert cli.main(job.sanitize()) == 130
    assert names(job.folder) == before


SAVING_EACH_STEP = """
import sys, torch
torch.set_num_threads(1)
from clipclean import cli
from clipclean.train import run
run.SAVE_SECONDS = 0.0
sys.exit(cli.main())
"""


def started(arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SAVING_EACH_STEP, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bytes_of_an_undisturbed_one(job):
    arguments = job.sanitize(steps=150)
    process = started(arguments)
    wait_for(hidden(job) / "state.safetensors", process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert not job.out.exists()
    done = subprocess.run(
        [sys.executable, "-m", "clipclean", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 4
    assert 0 < result(job.out)["training"]["resumed_at"] < 150
    assert names(job.out) == PROMISED
    assert not hidden(job).exists()
    cli.main([*arguments, "--out", str(job.folder / "whole")])
    assert (job.out / WEIGHTS).read_bytes() == (job.folder / "whole" / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_gets_a_signal_exits_130(job, number):
    process = started(job.sanitize(steps=400))
    wait_for(hidden(job) / "state.safetensors", process)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Give the same command again" in told
    assert not job.out.exists()
    assert (hidden(job) / "state.safetensors").exists()


def test_data_that_break_during_the_run_end_it_and_once_they_are_whole_it_goes_on(finished, job, unread, capsys):
    original = train.fit

    def breaks(net, batches, how, /, **settings):
        def broken():
            for number, batch in enumerate(batches):
                if number == 2:
                    raise RefusedInput("pairs.tar is cut off after 512 bytes.")
                yield batch

        return original(net, broken(), how, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", breaks)
        assert cli.main(whole(job)) == 3
    assert "cut off after 512 bytes" in capsys.readouterr().err
    assert names(hidden(job)) == STATE
    assert not job.out.exists()
    cli.main(whole(job))
    assert result(job.out)["training"]["resumed_at"] == 2
    assert (job.out / WEIGHTS).read_bytes() == (finished[0].out / WEIGHTS).read_bytes()


def exhausted_at(monkeypatch, step):
    """Memory runs out in this step, however few pairs are taken at a time."""
    objective, begun = losses.cleanclip, []

    def short(parts):
        loss = objective(parts)

        def limited(batch):
            begun.append(batch.keys)
            if len(dict.fromkeys(begun)) > step:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return loss(batch)

        return limited

    monkeypatch.setitem(losses.LOSSES, "cleanclip", short)
    monkeypatch.setitem(losses.LOSSES, "mmcl", short)


def test_a_run_that_runs_out_of_memory_for_good_goes_on_from_its_last_whole_step(finished, job, unread, capsys):
    with pytest.MonkeyPatch.context() as patch:
        exhausted_at(patch, 2)
        assert cli.main(whole(job)) == 5
    assert "Out of memory (CUDA out of memory.)" in capsys.readouterr().err
    assert not job.out.exists()
    cli.main(whole(job))
    assert result(job.out)["training"]["resumed_at"] == 2
    assert (job.out / WEIGHTS).read_bytes() == (finished[0].out / WEIGHTS).read_bytes()


# Several processes.

ONE_OF_TWO = """
import os, signal, sys, torch
torch.set_num_threads(1)
from clipclean import cli, train
original = train.fit
def steps(*arguments, **settings):
    for done in original(*arguments, **settings):
        if os.environ["RANK"] == "1" and done.number == 1:
            {event}
        yield done
train.fit = steps
sys.exit(cli.main())
"""


def two(arguments, event="pass"):
    """The exit codes and the output of two processes of one run; ``event`` happens to the second after its second step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_RUN_ID": "test",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO.format(event=event), *arguments],
            cwd=ROOT,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=900) for process in processes]
    return [process.returncode for process in processes], told


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_the_first_alone_writes_and_prints(finished, job):
    codes, told = two([argument for argument in whole(job) if argument != "--quiet"])
    assert codes == [4, 0], told
    assert "INCONCLUSIVE" in told[0][0]
    assert told[1] == ("", "")
    assert names(job.out) == PROMISED
    assert not hidden(job).exists()
    ours, alone = (result(out)["training"] for out in (job.out, finished[0].out))
    # To 1e-3, as for parts of a batch: AdamW's first steps turn the rounding of a tiny gradient into a whole step.
    assert [step["loss"] for step in ours["losses"]] == pytest.approx(
        [step["loss"] for step in alone["losses"]], abs=1e-4
    )
    assert (ours["steps"], ours["pairs"]) == (alone["steps"], alone["pairs"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "codes", "words"),
    [
        ("os._exit(9)", [5, 9], "one of them has ended"),
        ("os.kill(os.getpid(), signal.SIGTERM)", [130, 130], "Interrupted after step 2 of 3"),
    ],
    ids=["dead", "terminated"],
)
def test_what_ends_one_process_ends_both_and_the_same_command_goes_on(job, unread, event, codes, words):
    found, told = two(whole(job), event)
    assert found == codes, told
    assert words in told[0][1]
    assert names(hidden(job)) == STATE
    assert not job.out.exists()
    assert cli.main(whole(job)) == 4  # by one process: it may be another number
    assert result(job.out)["training"]["resumed_at"] == 2


# Outputs.


def test_a_folder_with_content_is_refused_and_left_alone(job, capsys):
    job.out.mkdir()
    tiny.written(job.out / "notes.txt", "mine")
    assert cli.main(job.sanitize()) == 2
    assert "is not empty. Name another folder, or pass --force" in capsys.readouterr().err
    assert names(job.out) == {"notes.txt"}


def test_force_replaces_clipcleans_files_alone(job, unread):
    assert cli.main(job.sanitize()) == 4
    tiny.written(job.out / "notes.txt", "mine")
    assert cli.main(job.sanitize("--force", "--seed", 1)) == 4
    assert names(job.out) == PROMISED | {"notes.txt"}
    assert (job.out / "notes.txt").read_text() == "mine"
    assert result(job.out)["seed"] == 1


def test_an_empty_folder_is_taken_and_a_missing_one_is_made_with_its_parents(job, unread):
    (job.folder / "empty").mkdir()
    for name in ("empty", "new/folder"):
        assert cli.main(job.sanitize("--out", job.folder / name)) == 4
        assert names(job.folder / name) == PROMISED


def test_a_file_or_a_link_is_no_output(job, capsys):
    (job.folder / "other").mkdir()
    (job.folder / "link").symlink_to(job.folder / "other")
    tiny.written(job.folder / "notes.txt", "mine")
    for name in ("link", "notes.txt"):
        assert cli.main(job.sanitize("--out", job.folder / name)) == 2
        assert "is a file or a link. Name a folder." in capsys.readouterr().err


@pytest.mark.parametrize("place", ["model.pt/out", "model.pt/a/b"])
def test_an_output_that_cannot_be_written_is_a_resource_error_before_anything_is_read(job, capsys, monkeypatch, place):
    monkeypatch.setattr(checkpoint, "read", None)
    assert cli.main(job.sanitize("--out", job.folder / place)) == 5
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_place_where_nobody_may_write_is_a_resource_error(job):
    assert cli.main(job.sanitize("--out", "/proc/clipclean-out")) == 5


def test_refused_input_leaves_no_folder_behind(job):
    job.model.write_bytes(b"")
    assert cli.main(job.sanitize("--out", job.folder / "a/b/c")) == 3
    assert not (job.folder / "a").exists()


def test_a_mounted_output_holds_the_result_and_nothing_else_afterwards(job, unread, monkeypatch):
    job.out.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == job.out)
    left_unfinished(job)
    assert names(job.out) == set()
    assert cli.main(job.sanitize()) == 4
    assert result(job.out)["training"]["resumed_at"] == 2
    assert names(job.out) == PROMISED


def full(path, *_, **__):
    """Write a part, as a disk does that fills up."""
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_disk_that_is_full_when_the_state_is_saved_leaves_nothing(job, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    before = names(job.folder)
    assert cli.main(job.sanitize()) == 5
    assert "No space left while writing" in capsys.readouterr().err
    assert names(job.folder) == before


def full_for(monkeypatch, what):
    if what == "weights":
        write = checkpoint.write_safetensors
        monkeypatch.setattr(
            checkpoint,
            "write_safetensors",
            lambda path, *a, **k: (full if path.name == WEIGHTS else write)(path, *a, **k),
        )
        return
    original = Path.write_text

    def write_text(path, *arguments, **settings):
        return full(path) if what in path.name else original(path, *arguments, **settings)

    monkeypatch.setattr(Path, "write_text", write_text)


@pytest.mark.parametrize("what", ["weights", "report.json", "SHA256SUMS"])
def test_a_disk_that_is_full_at_the_end_loses_no_training_and_leaves_no_half_file(job, unread, capsys, what):
    before = names(job.folder)
    with pytest.MonkeyPatch.context() as patch:
        full_for(patch, what)
        assert cli.main(job.sanitize()) == 5
    assert "No space left while writing" in capsys.readouterr().err
    assert names(job.folder) == before
    assert names(hidden(job)) == STATE
    assert cli.main(job.sanitize()) == 4
    assert result(job.out)["training"]["resumed_at"] == 3
    assert names(job.folder) == before | {"out"}


def test_a_failed_audit_writes_reports_and_no_weights_until_they_are_asked_for(job, unread, monkeypatch, capsys):
    judged(monkeypatch, "fail")
    assert cli.main(job.sanitize()) == 1
    assert capsys.readouterr().out.startswith("clipclean: fail model.pt: ")
    assert names(job.out) == {"report.json", "report.html", "SHA256SUMS"}
    assert result(job.out)["exports"] == []
    assert cli.main(job.sanitize("--keep-failed", "--force")) == 1
    assert names(job.out) == PROMISED
    assert result(job.out)["training"]["resumed_at"] == 3
    assert not hidden(job).exists()


def test_weights_of_an_earlier_run_do_not_stay_beside_a_failed_report(job, unread, monkeypatch):
    assert cli.main(job.sanitize()) == 4
    judged(monkeypatch, "fail")
    assert cli.main(job.sanitize("--force", "--seed", 1)) == 1
    assert names(job.out) == {"report.json", "report.html", "SHA256SUMS"}


def test_an_export_that_open_clip_reads_otherwise_is_not_published(job, monkeypatch):
    def differs(*_, **__):
        raise parity.ExportMismatch("told")

    monkeypatch.setattr(open_clip_directory, "check", differs)
    assert cli.main(job.sanitize()) == 5
    assert not job.out.exists()


# What is held out, and what is measured.


def test_the_split_depends_on_the_number_of_pairs_alone():
    recipe = recipes.load("cleanclip")
    training, held_out = inputs.split(list(range(50)), recipe, hold_out=True)
    assert (len(training), len(held_out)) == (45, 5)
    assert sorted(training + held_out) == list(range(50))
    again = inputs.split([n + 100 for n in range(50)], recipe, hold_out=True)[1]
    assert again == [n + 100 for n in held_out]
    assert inputs.split(list(range(50)), recipe, hold_out=False) == (list(range(50)), [])


@pytest.mark.parametrize(("pairs", "kept"), [(96, 19), (1200, 300), (2000, 500), (9000, 900)])
def test_as_many_pairs_are_kept_out_as_show_the_budget(pairs, kept):
    training, held_out = inputs.split(list(range(pairs)), recipes.load("auto"), hold_out=True)
    assert (len(training), len(held_out)) == (pairs - kept, kept)
    assert inputs.split(list(range(pairs)), recipes.load("auto"), hold_out=False)[1] == []


def test_a_larger_share_to_keep_out_holds_for_a_method_that_chooses():
    recipe = recipes.override(recipes.load("auto"), ["data.held_out_share=0.3"])
    assert len(inputs.split(list(range(1000)), recipe, hold_out=True)[1]) == 300


def test_held_out_captions_that_name_one_class_are_labels_and_recall_stands_beside(tmp_path, unread):
    job = tiny.job(tmp_path / "job", count=96)
    demand = tiny.written(tmp_path / "policy.yaml", "version: 1\nname: ours\nthresholds: {min_images: 8}\n")
    cli.main(job.sanitize("--policy", demand))
    found = result(job.out)["after"]["measurements"]
    assert "zero-shot top-1 over 12 classes" in found["clean_accuracy"]["definition"]
    assert "recall@1" in found["recall"]["definition"]
    assert found["clean_accuracy"]["n"] == found["recall"]["n"] == found["agreement"]["n"] == 10  # a tenth of 96


def test_labelled_images_measure_and_all_pairs_train(job, unread, tmp_path):
    cli.main(job.sanitize("--eval-data", tiny.labelled(tmp_path / "labelled", count=24)))
    found = result(job.out)
    assert found["after"]["measurements"]["clean_accuracy"]["n"] == 24
    assert "zero-shot top-1 over 12 classes" in found["after"]["measurements"]["clean_accuracy"]["definition"]


def test_a_trigger_that_was_found_is_measured_again_as_a_known_one(job, unread, monkeypatch):
    """The first trigger of the panel is said to lead to one class; it is also named, and yet measured once as known."""
    monkeypatch.setattr(detect, "suspects", lambda measured, *, limits: measured.panel[:1])
    cli.main(job.sanitize())
    found = result(job.out)
    strongest = found["before"]["measurements"]["probes"][0]
    known = [probe for probe in found["after"]["measurements"]["probes"] if probe["known"]]
    assert [(probe["trigger"], probe["target"]) for probe in known] == [(strongest["trigger"], strongest["target"])]
    cli.main(job.sanitize("--force", "--trigger", strongest["trigger"], "--target", strongest["target"]))
    known = [probe for probe in result(job.out)["after"]["measurements"]["probes"] if probe["known"]]
    assert len(known) == 1


def test_without_the_panel_and_without_a_name_nothing_is_shown(job, unread):
    assert cli.main(job.sanitize("--no-panel")) == 4
    assert result(job.out)["after"]["measurements"]["probes"] == []


def test_one_estimate_is_told_after_the_screening_and_before_anything_is_measured(job, unread, capsys):
    cli.main([word for word in job.sanitize("--no-panel") if word != "--quiet"])
    told = capsys.readouterr().err
    assert told.count("estimated: about") == 1
    assert told.index("screening the pairs") < told.index("estimated: about") < told.index("measuring before")


def test_bf16_moves_the_weights_otherwise_and_leaves_them_in_fp32(finished, job, unread):
    cli.main(whole(job, "--precision", "bf16"))
    assert (job.out / WEIGHTS).read_bytes() != (finished[0].out / WEIGHTS).read_bytes()
    assert checkpoint.read(job.out).tensors["visual.proj"].dtype == torch.float32


def test_a_few_pairs_at_a_time_give_the_losses_of_whole_batches(finished, job, unread):
    """Weights are not compared: AdamW's first steps turn the rounding of a tiny gradient into a whole step."""
    cli.main(whole(job, "--set", "train.micro_batch=5", "--set", "train.checkpoint_activations=true"))
    ours, whole_batches = (result(out)["training"] for out in (job.out, finished[0].out))
    assert [step["loss"] for step in ours["losses"]] == pytest.approx(
        [step["loss"] for step in whole_batches["losses"]], abs=1e-3
    )
    assert (ours["micro_batch"], whole_batches["micro_batch"]) == (5, None)


def test_a_run_that_runs_out_of_memory_goes_on_with_smaller_parts_and_says_so(job, unread, monkeypatch):
    objective = losses.cleanclip

    def greedy(parts):
        def limited(pixels):
            if len(pixels) > 2 * 4:  # two views of four pairs fit
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            return clip_images(pixels)

        clip_images = micro_encode["images"]
        return objective(replace(parts, images=micro_encode["micro"].over(limited)))

    micro_encode, over = {}, train.MicroBatches.over

    def watched(micro, encode):
        if encode.__name__ == "encode_images":
            micro_encode.update(images=encode, micro=micro)
        return over(micro, encode)

    monkeypatch.setattr(train.MicroBatches, "over", watched)
    monkeypatch.setitem(losses.LOSSES, "cleanclip", greedy)
    assert cli.main(whole(job)) == 4
    found = result(job.out)
    assert found["training"]["micro_batch"] == 4
    (note,) = [note for note in found["notes"] if "Memory ran out" in note]
    assert "--set train.micro_batch=4" in note


# The walk back. A rate of 0.01 costs the five held-out pairs 0.43 at the cleaned end, and nothing at 0.85 of the way.


def test_a_loss_over_the_budget_is_walked_back_and_the_weights_are_those_that_were_measured(job, unread):
    cli.main(job.sanitize("--lr", 0.01, recipe="cleanclip@tiny"))
    found = result(job.out)
    assert [point["share"] for point in found["cleaning"]["way"]] == [1.0, 0.85]
    assert found["cleaning"]["share"] == 0.85
    assert (
        json.loads((job.out / "provenance.intoto.json").read_text())["predicate"]["runDetails"]["metadata"][
            "clipclean_share"
        ]
        == 0.85
    )
    halfway = (job.out / WEIGHTS).read_bytes()
    cli.main(job.sanitize("--lr", 0.01, "--set", "audit.walk_back=false", "--force", recipe="cleanclip@tiny"))
    assert result(job.out)["cleaning"]["share"] == 1.0
    assert (job.out / WEIGHTS).read_bytes() != halfway


# A deadline.


def test_a_deadline_before_the_cleaning_begins_gives_one_message_and_writes_nothing(job, capsys):
    assert cli.main(whole(job, "--max-minutes", 1e-6)) == 4
    assert "minutes of --max-minutes ended before" in capsys.readouterr().err
    assert not job.out.exists()


def test_a_cleaning_that_ends_at_its_deadline_is_written_and_goes_on_with_more_time(job, unread):
    command = job.sanitize("--no-panel", steps=4)
    finetune = train.fit

    def steps(*given, **settings):
        for done in finetune(*given, **settings):
            if done.number == 1:
                deadline._end.set(0.0)  # time passes in the second step
            yield done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", steps)
        cli.main([*command, "--max-minutes", "60"])
    cut = result(job.out)
    (told,) = [found for found in cut["findings"] if found["rule"] == "CC024"]
    assert "Time was over after step 2 of 4 of the cleaning" in told["message"]
    assert cut["verdict"] != "pass"
    assert cut["exports"]
    assert cut["training"]["steps"] == 2
    assert hidden(job).exists()
    cli.main([*command, "--force"])
    whole = result(job.out)["training"]
    assert (whole["resumed_at"], whole["steps"]) == (2, 4)
    assert not hidden(job).exists()
