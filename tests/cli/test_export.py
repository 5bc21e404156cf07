import json

import pytest
import tiny

from clipclean import cli
from clipclean.cli import export as command
from clipclean.export import formats
from clipclean.schema.results import Exported


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job", count=12)


def told(capsys, job, *arguments):
    """Exit code, stdout, stderr."""
    given = ["export", job.model, "--out", job.out, "--arch", job.arch, "--data", job.data, "--quiet", *arguments]
    code = cli.main([str(argument) for argument in given])
    return code, *capsys.readouterr()


def exported(parity):
    """What an export of one file returns."""
    digest = "ab" * 32
    model = {
        "name": "m.pt",
        "sha256": digest,
        "format": "torch-zip",
        "architecture": "ViT-B-32",
        "tensor_sha256": digest,
    }
    entry = {"format": "hf", "path": "model.safetensors", "sha256": digest, "tensor_sha256": digest, "parity": parity}
    return Exported.model_validate(
        {
            "tool": {"name": "clipclean", "version": "1"},
            "command": "export",
            "model": model,
            "data": {"format": "folder", "pairs": 1, "skipped": [], "digest": digest},
            "exports": [entry],
            "environment": {},
            "notes": [],
        }
    )


def test_the_result_is_a_line_for_each_file_with_what_it_was_compared_with(job, capsys, unread):
    code, out, err = told(capsys, job, "--format", "open_clip")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith(f"{job.out / 'open_clip_model.safetensors'}  sha256 ")
    assert "nobody: largest difference 0, smallest cosine 1.0000000, same best caption for 100.0%, n 24" in out


def test_json_is_the_record(job, capsys, unread):
    code, out, _ = told(capsys, job, "--format", "open_clip", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["exports"][0]["format"] == "open_clip"
    assert found["model"]["name"] == "model.pt"


@pytest.mark.parametrize("flag", ["--fp16", "--normalize"])
def test_what_is_of_onnx_alone_is_refused_without_it(job, capsys, flag):
    code, _, err = told(capsys, job, "--format", "hf", flag)
    assert code == 2
    assert "Add --format onnx" in err


def test_an_option_that_is_gone_elsewhere_is_not_told_as_gone_here(job, capsys):
    code, _, err = told(capsys, job, "--format", "onnx", "--onnx-preset", "clip-as-service")
    assert code == 2
    assert "clip-as-service is gone" in err
    assert "--onnx-preset is gone" not in err


def test_a_format_must_be_named(job, capsys):
    assert told(capsys, job)[0] == 2
    assert told(capsys, job, "--format", "tensorrt")[0] == 2


def test_a_tokenizer_that_reads_captions_otherwise_is_said(tmp_path):
    parity = {
        "reader": "transformers 5",
        "max_difference": 0.0,
        "min_cosine": 1.0,
        "top1_agreement": 1.0,
        "n": 10,
        "captions": 5,
        "captions_alike": 5,
    }
    assert "note:" not in command.table(exported(parity), tmp_path)
    assert "reads 2 of 5 captions otherwise" in command.table(exported(parity | {"captions_alike": 3}), tmp_path)


def test_control_characters_in_a_path_do_not_reach_the_terminal(tmp_path):
    parity = {"reader": "x", "max_difference": 0.0, "min_cosine": 1.0, "top1_agreement": 1.0, "n": 1}
    assert "\x1b" not in command.table(exported(parity), tmp_path / "a\x1b[2J")


@pytest.mark.slow
def test_the_bundled_images_serve_where_none_are_given_and_every_library_reads_its_layout(tmp_path, capsys):
    pytest.importorskip("transformers")
    job = tiny.job(tmp_path / "job", config=tiny.TINY_VIT, count=2)
    options = [word for name in formats.FORMATS for word in ("--format", name)]
    given = ["export", job.model, "--out", job.out, "--arch", job.arch, "--json", *options]
    assert cli.main([str(argument) for argument in given]) == 0
    out, err = capsys.readouterr()
    entries = json.loads(out)["exports"]
    readers = [entry["parity"]["reader"].split()[0] for entry in entries]
    assert readers == ["open_clip", "transformers", "onnxruntime", "onnxruntime"]
    assert all(entry["parity"]["n"] == 126 and entry["parity"]["max_difference"] < 1e-5 for entry in entries)
    assert all(line.startswith(("reading ", "exporting ")) for line in err.splitlines())
    assert not [path for path in job.folder.iterdir() if path.name.startswith(".clipclean")]
