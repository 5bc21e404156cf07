import csv
import html
import json
import re
import tarfile

import jsonschema
import pytest
import tiny

from clipclean import cli, data, files, report
from clipclean.config import recipe
from clipclean.jobs import inputs
from clipclean.schema.results import Screening

LIMITS = inputs.limits(recipe.load("cleanclip"))


def read(path):
    return data.read(path, images=data.ImageCache(LIMITS))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    job = tiny.job(tmp_path_factory.mktemp("job"))
    (job.data / "005.txt").write_text("a <script>alert(1)</script>\x1b[2J circle", encoding="utf-8")
    return job


def command(job, *more, source=None):
    return [
        "screen",
        str(source or job.data),
        "--model",
        str(job.model),
        "--arch",
        str(job.arch),
        "--device",
        "cpu",
        "--quiet",
        *map(str, more),
    ]


@pytest.fixture(scope="module")
def finished(job):
    out = job.folder / "finished"
    out.mkdir()
    code = cli.main(
        command(
            job,
            "--drop",
            "10%",
            "--save-kept",
            out / "kept.csv",
            "--trigger",
            tiny.TRIGGER,
            "--top",
            12,
            "--report",
            f"json={out / 'screening.json'}",
            "--report",
            f"html={out / 'screening.html'}",
            "--report",
            f"text={out / 'screening.txt'}",
        )
    )
    assert code == 0
    return out, json.loads((out / "screening.json").read_text())


def test_the_result_is_as_its_schema_says(finished):
    schema = Screening.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(finished[1], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(finished[1] | {"command": "audit"}, schema)


def test_the_first_pairs_are_listed_in_their_order_with_every_signal(finished):
    found = finished[1]
    assert [row["rank"] for row in found["pairs"]] == list(range(1, 13))
    assert [row["score"] for row in found["pairs"]] == sorted((r["score"] for r in found["pairs"]), reverse=True)
    names = [signal["name"] for signal in found["signals"]]
    assert names[-1] == "found"
    assert all(list(row["signals"]) == names for row in found["pairs"])
    assert found["triggers"][0].startswith("patch:size=0.25,place=corner")


def test_what_is_dropped_is_the_head_of_the_list_and_counted(finished):
    found = finished[1]
    assert [row["dropped"] for row in found["pairs"]] == [True] * 5 + [False] * 7  # 10 % of 48 pairs
    assert (found["screened"]["dropped"], found["screened"]["drop"]) == (5, "10%")


def test_all_that_is_dropped_is_listed_however_short_the_list(job, capsys):
    assert cli.main(command(job, "--drop", "50%", "--top", 1, "--json")) == 0
    assert len(json.loads(capsys.readouterr().out)["pairs"]) == 24


def test_the_kept_table_is_a_clean_set_of_the_other_pairs(job, finished):
    out, found = finished
    dropped = {row["key"] for row in found["pairs"] if row["dropped"]}
    kept = read(out / "kept.csv")
    everything = {
        (pair.image.source.path.resolve(), pair.caption) for pair in read(job.data).pairs if pair.key not in dropped
    }
    assert {(pair.image.source.path.resolve(), pair.caption) for pair in kept.pairs} == everything
    assert found["kept"] == {"name": "kept.csv", "sha256": files.sha256(out / "kept.csv"), "pairs": 43}


def test_a_table_beside_its_images_names_them_relative_to_itself(job, tmp_path):
    tiny.pairs(tmp_path / "pairs", count=24)
    assert (
        cli.main(command(job, "--drop", "auto", "--save-kept", tmp_path / "kept.csv", source=tmp_path / "pairs")) == 0
    )
    with (tmp_path / "kept.csv").open() as stream:
        assert all(row["filepath"].startswith("pairs/") for row in csv.DictReader(stream))


def test_a_kept_shard_holds_copies_that_any_form_of_data_can_give(job, tmp_path):
    shard, again = tmp_path / "kept.tar", tmp_path / "again.tar"
    assert cli.main(command(job, "--drop", "25%", "--save-kept", shard)) == 0
    first = read(shard)
    assert len(first) == 36
    assert cli.main(command(job, "--drop", "25%", "--save-kept", again, source=shard)) == 0
    second = read(again)
    assert len(second) == 27
    assert {pair.caption for pair in second.pairs} <= {pair.caption for pair in first.pairs}
    with tarfile.open(shard) as opened:
        assert {member.mtime for member in opened} == {0}


def test_kept_keys_are_a_line_each(job, tmp_path):
    assert cli.main(command(job, "--drop", "10%", "--save-kept", tmp_path / "kept.txt")) == 0
    keys = (tmp_path / "kept.txt").read_text().splitlines()
    assert len(keys) == 43
    assert set(keys) <= {pair.key for pair in read(job.data).pairs}


@pytest.mark.slow
def test_sanitize_takes_the_kept_table(job, finished, tmp_path):
    arguments = job.sanitize(
        "--out", tmp_path / "out", "--no-panel", "--exit-zero", "--screen", "off", recipe="mmcl@tiny"
    )
    arguments[arguments.index("--data") + 1] = str(finished[0] / "kept.csv")
    assert cli.main(arguments) == 0
    made = report.read(tmp_path / "out" / "report.json").as_json()
    assert made["data"]["pairs"] == 43
    assert made["data"]["screened"] is None


def test_the_page_needs_nothing_else_and_shows_hostile_captions_as_text(finished):
    page = (finished[0] / "screening.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", page)
    assert "<script" not in page
    assert "default-src 'none'" in html.unescape(page)
    assert page.count("<figure>") == 12
    assert "prefers-color-scheme: dark" in page


def test_nothing_from_a_caption_drives_the_terminal(job, capsys):
    assert cli.main(command(job, "--top", 48)) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "pairs stand out" in told
    assert "48 pairs" in told


def test_a_long_key_keeps_its_end_which_tells_files_apart(finished):
    result = Screening.model_validate(finished[1])
    long = result.pairs[0].model_copy(update={"key": "/home/somebody/photographs/cleaned/mixed/00022.png"})
    told = report.screening_text(result.model_copy(update={"pairs": (long, *result.pairs[1:])}), width=100)
    first = told.splitlines()[1]
    assert "/mixed/00022.png " in first
    assert "/home" not in first
    assert first.index(long.caption[:8]) == told.splitlines()[0].index("caption")  # the columns stand under each other


def test_the_summary_names_the_rule_that_left_pairs_out(finished):
    result = Screening.model_validate(finished[1])
    assert ", by 10%." in report.screening_text(result, width=200)
    rule = {"drop": "auto", "rule": "conformal: scores that at most 1 % of clean pairs reach, by 500 trusted pairs"}
    judged = result.model_copy(update={"screened": result.screened.model_copy(update=rule)})
    assert ", by the trusted pairs." in report.screening_text(judged, width=200)


# Bad input: one message, and nothing is written.


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--drop", "0%"], 2, "--drop"),
        (["--drop", "100%"], 2, "--drop"),
        (["--drop", "2"], 2, "--drop"),
        (["--save-kept", "kept.csv"], 2, "no pair would be dropped"),
        (["--drop", "auto", "--save-kept", "kept.zip"], 2, "ends in .csv"),
        (["--drop", "auto", "--save-kept", "nowhere/kept.csv"], 2, "does not exist"),
        (["--drop", "auto", "--save-kept", "there.csv"], 2, "pass --force"),
        (["--report", "sarif=x.sarif"], 2, "is not a format"),
        (["--trigger", "nonsense"], 2, "no trigger family"),
        (["--trigger", "missing.safetensors"], 3, "missing.safetensors"),
        (["--model", "missing.pt"], 3, "no such file"),
    ],
)
def test_bad_options_are_refused(job, tmp_path, monkeypatch, capsys, more, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    assert cli.main(command(job, *more)) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_table_of_images_in_shards_is_refused(job, tmp_path, capsys):
    assert cli.main(command(job, "--drop", "auto", "--save-kept", tmp_path / "kept.tar")) == 0
    more = ["--drop", "auto", "--save-kept", tmp_path / "kept.csv"]
    assert cli.main(command(job, *more, source=tmp_path / "kept.tar")) == 2
    assert "Name a file that ends in .tar" in capsys.readouterr().err
    assert not (tmp_path / "kept.csv").exists()


@pytest.mark.parametrize("name", [" blank.png", "http:", "two\nlines.png", "\udcff.png"])
def test_names_that_a_table_cannot_give_back_are_seen(name):
    from clipclean.jobs import screen

    listed = f"{name}/x.png" if name == "http:" else name
    assert not screen.is_listable(listed)
    assert screen.is_listable("C:/a picture.png")


def test_too_few_pairs_are_inconclusive(job, tmp_path, capsys):
    few = tiny.pairs(tmp_path / "few", count=16)
    assert cli.main(command(job, source=few)) == 4
    assert "16 pairs are too few" in capsys.readouterr().err


# Inside sanitize.


def test_sanitize_reports_and_drops_nothing_unless_asked(job, tmp_path, unread):
    assert cli.main(job.sanitize("--out", tmp_path / "out", "--no-panel", "--exit-zero")) == 0
    made = report.read(tmp_path / "out" / "report.json").as_json()
    assert made["data"]["pairs"] == 48
    assert (made["data"]["screened"]["dropped"], made["data"]["screened"]["dropped_keys"]) == (0, [])


@pytest.mark.slow
def test_sanitize_leaves_out_what_it_is_asked_to_and_says_so(job, tmp_path):
    out = tmp_path / "out"
    assert cli.main(job.sanitize("--out", out, "--no-panel", "--exit-zero", "--screen", "25%", "--keep-failed")) == 0
    made = report.read(out / "report.json").as_json()
    assert made["data"]["pairs"] == 36
    assert made["data"]["screened"]["dropped"] == len(made["data"]["screened"]["dropped_keys"]) == 12
    (note,) = [finding for finding in made["findings"] if finding["rule"] == "CC032"]
    assert note["level"] == "note"
    assert "12 were dropped (--screen 25%)" in note["message"]


def test_a_set_that_is_too_small_once_screened_is_inconclusive(job, tmp_path, capsys):
    assert cli.main(job.sanitize("--out", tmp_path / "out", "--screen", "80%")) == 4
    assert "pairs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def shard(job, folder):
    import shutil

    return shutil.make_archive(str(folder / "packed"), "tar", job.data)


def test_several_data_are_one_set(job, tmp_path, capsys):
    packed = shard(job, tmp_path)
    arguments = ["screen", packed, "--model", str(job.model), "--arch", str(job.arch), "--json"]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["data"]["name"], told["data"]["format"], told["screened"]["pairs"]) == ("packed.tar", "webdataset", 48)
    arguments[1] = f"{packed}::{job.data}"
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["data"]["name"], told["screened"]["pairs"]) == (f"packed.tar + {job.data.name}", 96)


def test_a_table_cannot_name_images_of_a_shard(job, tmp_path, capsys):
    packed = shard(job, tmp_path)
    arguments = [
        "screen",
        packed,
        "--model",
        str(job.model),
        "--arch",
        str(job.arch),
        "--drop",
        "2%",
        "--save-kept",
        str(tmp_path / "k.csv"),
    ]
    assert cli.main(arguments) == 2
    assert "in shards or Parquet" in capsys.readouterr().err


def test_a_false_drop_rate_is_judged_by_trusted_pairs(job, capsys, tmp_path):
    trusted = tiny.job(tmp_path / "trusted").data
    assert cli.main(command(job, "--json", "--false-drop-rate", "10%", "--trusted", trusted)) == 0
    found = json.loads(capsys.readouterr().out)["screened"]
    assert found["rule"].startswith("conformal: scores that at most 10 % of clean pairs reach")
    assert found["dropped"] == found["suspicious"]
    assert found["pairs"] == len(read(job.data).pairs)  # trusted pairs are not judged


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--false-drop-rate", "10%"), "go together"),
        (("--trusted", "DATA"), "go together"),
        (("--false-drop-rate", "10%", "--trusted", "DATA"), "are among those to judge"),
        (("--false-drop-rate", "10%", "--trusted", "DATA", "--drop", "auto"), "Leave one of them out"),
        (("--false-drop-rate", "0%"), "--false-drop-rate"),
    ],
)
def test_a_false_drop_rate_without_what_it_needs_is_refused(job, capsys, more, words):
    assert cli.main(command(job, *(str(job.data) if word == "DATA" else word for word in more))) == 2
    assert words in capsys.readouterr().err
