import json
import os
import re

import pytest
import tiny
import torch

from clipclean import checkpoint, cli, data, report


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def refused(job, capsys, *more, **settings):
    """Exit code and message of a run that ends before it writes anything."""
    before = listing(job.folder)
    code = cli.main(job.sanitize(*more, **settings))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert listing(job.folder) == before
    return code, captured.err


def listing(folder):
    return sorted(path for path in folder.rglob("*"))


# Bad input: one message that says what was found, why it is refused, and what to do.


class Command:
    """What pickle would run."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def missing(job):
    job.model.unlink()


def folder(job):
    job.model.unlink()
    job.model.mkdir()


def truncated(job):
    job.model.write_bytes(job.model.read_bytes()[:-2000])


def hostile(job):
    torch.save({"state_dict": Command(f"touch {job.folder / 'ran'}")}, job.model)


def not_finite(job):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["visual.proj"][0, 0] = float("nan")
    torch.save(weights, job.model)


def other_model(job):
    torch.save({"layer.weight": torch.zeros(3)}, job.model)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, ["there is no such file", "Check the path"]),
        (folder, ["the directory has no open_clip_config.json"]),
        (truncated, ["model.pt: "]),
        (hostile, ["system", "never runs", "safetensors"]),
        (not_finite, ["visual.proj", "finite"]),
        (other_model, ["38 missing", "1 unknown (layer.weight)", "Name the right architecture by --arch"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_checkpoint_is_refused_before_the_data_are_read(job, capsys, monkeypatch, spoil, words):
    spoil(job)
    monkeypatch.setattr(data, "read", None)
    code, told = refused(job, capsys)
    assert code == 3
    assert told.startswith("clipclean: error: ")
    assert all(word in told for word in words), told


def no_data(job):
    for path in job.data.iterdir():
        path.unlink()


def one_pair(job):
    for path in list(job.data.iterdir()):
        if path.stem != "000":
            path.unlink()


def no_images(job):
    for path in job.data.glob("*.png"):
        path.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (no_data, 3, ["holds no samples", "Give images"]),
        (one_pair, 4, ["1 usable pair", "others to contrast with"]),
        (no_images, 3, ["48 of 48 samples", "000.png"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_data_are_refused(job, capsys, spoil, code, words):
    spoil(job)
    found, told = refused(job, capsys)
    assert found == code
    assert all(word in told for word in words), told


def table(job, header="image_path,words"):
    rows = "".join(f"pairs/{path.name},{path.with_suffix('.txt').read_text()}\n" for path in job.data.glob("*.png"))
    return tiny.written(job.folder / "pairs.csv", f"{header}\n{rows}")


def test_a_table_without_known_columns_names_the_flags_and_the_flags_work(job, capsys, unread):
    pairs = table(job)
    code, told = refused(job, capsys, "--data", pairs)
    assert code == 2
    assert "Columns found: 'image_path', 'words'" in told
    assert "--image-key NAME and --caption-key NAME" in told
    code, told = refused(job, capsys, "--data", pairs, "--image-key", "image_path", "--caption-key", "wrds")
    assert code == 2
    assert cli.main(job.sanitize("--data", pairs, "--image-key", "image_path", "--caption-key", "words")) == 4
    assert report.read(job.out / "report.json").as_json()["data"]["format"] == "csv"


@pytest.mark.parametrize("wrong", ["model", "data", "eval_data"])
def test_a_path_that_leads_nowhere_is_refused_before_torch_comes(job, capsys, wrong):
    paths = {"model": job.model, "data": job.data, "eval_data": job.data} | {wrong: job.folder / "none.pt"}
    given = ["--data", paths["data"], "--eval-data", paths["eval_data"], "--out", job.out]
    assert cli.main([*map(str, ["sanitize", paths["model"], *given])]) == 3
    told = capsys.readouterr().err
    assert "none.pt" in told
    assert "PyTorch" not in told


def short_forms(job, *more):
    """The command line of a newcomer: no recipe's keys, only short forms; 43 pairs make 2 steps."""
    files = ["--arch", job.arch, "--classes", job.classes, "--templates", job.templates, "--device", "cpu"]
    command = ["sanitize", job.model, "-d", job.data, "-o", job.out, "--epochs", 1, "--batch-size", 16, "--no-panel"]
    return [*map(str, [*command, "--recipe", "cleanclip@usual", *files, *more])]


def test_a_short_run_shortens_the_warm_up_of_its_recipe_and_says_so(job, capsys, unread):
    assert cli.main(short_forms(job, "--exit-zero", "--keep-failed")) == 0
    written = json.loads((job.out / "report.json").read_text(encoding="utf-8"))
    assert (written["recipe"]["resolved"]["train"]["warmup_steps"], written["training"]["steps"]) == (0, 2)
    assert not written["recipe"]["validated"]
    told = "The warm-up of recipe cleanclip, 50 steps, does not fit into a run of 2 steps, so it is 0 steps."
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_warm_up_that_the_user_chose_is_not_shortened(job, capsys):
    assert cli.main(short_forms(job, "--set", "train.warmup_steps=20")) == 2
    assert "train.warmup_steps: 20 is not shorter than the run of 2 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--trigger", "patch", "--target", "blue circel"], 2, ["'blue circel'", "Did you mean 'blue circle'"]),
        (["--target", "blue circle"], 2, ["--target 'blue circle' without --trigger"]),
        (["--trigger", "pach"], 2, ["no trigger family 'pach'", "patch"]),
        (["--trigger", "patch:siez=0.1"], 2, ["'siez'", "size"]),
        (["--recipe", "cleanclp"], 2, ["There is no recipe", "Did you mean 'cleanclip'"]),
        (["--set", "train.epoch=3"], 2, ["train.epoch=3"]),
        (["--set", "train.batch_size=64"], 2, ["train.batch_size", "43"]),  # pairs: 48 without the 5 held out
        (["--set", "train.warmup_steps=500"], 2, ["train.warmup_steps"]),
        (["--classes", "none.txt"], 2, ["none.txt", "does not exist"]),
        (["--templates", "none.txt"], 2, ["none.txt", "does not exist"]),
        (["--arch", "ViT-B32"], 2, ["Did you mean ViT-B-32"]),
        (["--arch", "none.json"], 2, ["none.json"]),
        (["--arch", "ViT-B-32"], 3, ["do not fit ViT-B-32"]),
        (["--device", "gpu"], 2, ["'gpu' is not a device"]),
        (["--seed", "-1"], 2, ["--seed"]),
        (["--data", "none"], 3, ["none cannot be read"]),
        (["--data", "https://example.org/x"], 3, ["example.org/x"]),
        (["--eval-data", "none"], 3, ["none cannot be read"]),
        (["--report", "json=none/report.json"], 2, ["--report json=none/report.json"]),
        (["--report", "pdf=x.pdf"], 2, ["'pdf' is not a format"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_refused(job, capsys, monkeypatch, arguments, code, words):
    monkeypatch.chdir(job.folder)
    found, told = refused(job, capsys, *arguments)
    assert found == code
    assert all(word in told for word in words), told


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(job, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "read", None)
    assert refused(job, capsys, "--device", "cuda") == (
        2,
        "clipclean: error: --device cuda: PyTorch sees no CUDA device(s) here. Use --device cpu or auto.\n"
        "clipclean: more: clipclean explain cli\n",
    )


def test_a_typo_in_a_recipe_is_told_with_file_and_line(job, capsys):
    recipe = tiny.written(
        job.folder / "my.yaml",
        "version: 1\nname: mine\nrevision: 1\ndescription: x\nmethod: mmcl\ntrain:\n  epochs: 3\n  batchsize: 8\n",
    )
    code, told = refused(job, capsys, "--recipe", recipe)
    assert code == 2
    assert re.search(r"my\.yaml:8: .*batchsize.*batch_size", told)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"caf\xe9\ntable\n", 3, ["not UTF-8", "Save it as UTF-8"]),
        (b"dog\ndog\n", 2, ["'dog' more than once"]),
        (b"dog\n", 2, ["1 class names"]),
        (b"", 2, ["0 class names"]),
    ],
)
def test_bad_class_names_are_refused(job, capsys, content, code, words):
    job.classes.write_bytes(content)
    found, told = refused(job, capsys)
    assert found == code
    assert all(word in told for word in words), told


def test_a_template_without_its_place_is_refused(job, capsys):
    tiny.written(job.templates, "a photo.\n")
    code, told = refused(job, capsys)
    assert code == 2
    assert "a photo." in told


def test_labels_that_are_no_class_are_refused_with_near_names(job, capsys, tmp_path):
    labelled = tiny.labelled(tmp_path / "labelled", count=12)
    (labelled / "red square").rename(labelled / "red squares")
    code, told = refused(job, capsys, "--eval-data", labelled)
    assert code == 2
    assert "did you mean 'red square'?" in told


# The activation, where neither the file nor the user tells it.


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_an_activation_measured_on_the_pairs_is_reported_and_exported(job, unread, quick_gelu):
    tiny.fit_to_pairs(job, quick_gelu=quick_gelu)
    cli.main(job.sanitize("--keep-failed", arch=False))  # a model that was made to fit these pairs soon forgets them
    found = report.read(job.out / "report.json").as_json()["model"]
    assert found["activation"] == ("quick_gelu" if quick_gelu else "gelu")
    assert found["activation_how"].startswith("measured on clean pairs: ")
    config = json.loads((job.out / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is quick_gelu


# What is printed and written.


def test_the_result_goes_to_stdout_and_progress_to_stderr(job, unread, capsys):
    arguments = [argument for argument in job.sanitize() if argument != "--quiet"]
    assert cli.main(arguments) == 4
    captured = capsys.readouterr()
    assert "INCONCLUSIVE" in captured.out
    assert f'open_clip.create_model_and_transforms("local-dir:{job.out}")' in captured.out
    assert captured.err.startswith("clipclean ")
    for stage in ("reading the model: 1/1", "reading the data: 48/48", "finetuning: 3/3", "exporting open_clip: 1/1"):
        assert stage in captured.err
    assert cli.main(job.sanitize("--force")) == 4
    assert capsys.readouterr().err == ""  # --quiet


def test_a_report_on_stdout_stands_alone_and_others_go_to_their_files(job, unread, capsys):
    places = {form: job.folder / f"x.{form}" for form in ("html", "sarif", "junit", "markdown", "text")}
    outputs = [part for form, path in places.items() for part in ("--report", f"{form}={path}")]
    assert cli.main(job.sanitize(*outputs, "--json")) == 4
    assert json.loads(capsys.readouterr().out) == report.read(job.out / "report.json").as_json()
    assert all(path.stat().st_size > 100 for path in places.values())


def test_an_override_is_reported_as_one(job, unread):
    cli.main(job.sanitize("--set", "train.lr=1e-4"))
    found = report.read(job.out / "report.json").as_json()
    assert found["recipe"]["resolved"]["train"]["lr"] == 1e-4
    assert found["recipe"]["evidence"]["standing"] == "other values"


def test_skipped_pairs_are_reported(job, unread):
    (job.data / "007.png").write_bytes(b"no picture")
    cli.main(job.sanitize())
    found = report.read(job.out / "report.json").as_json()
    assert [skipped["key"] for skipped in found["data"]["skipped"]] == ["007.png"]
    assert found["data"]["pairs"] == 47
    assert any(finding["rule"] == "CC030" for finding in found["findings"])
