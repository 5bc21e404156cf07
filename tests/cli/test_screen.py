"""``clipclean screen``, and the screening inside ``sanitize``."""

import csv
import html
import json
import re
import shutil
import tarfile
from typing import Any

import jsonschema
import pytest
import tiny
from report.page import Page
from rich.cells import cell_len

from clipclean import cli, data, files, report
from clipclean.jobs import screen
from clipclean.schema.results import Screening


def read(path):
    limits = data.ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.0, max_pairs=None)
    return data.read(path, images=data.ImageCache(limits))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job that no test changes, with its pairs in a shard, too few of them, and others beside."""
    job = tiny.job(tmp_path_factory.mktemp("job"))
    (job.data / "005.txt").write_text("a <script>alert(1)</script>\x1b[2J circle", encoding="utf-8")
    shutil.make_archive(str(job.folder / "packed"), "tar", job.data)
    tiny.pairs(job.folder / "few", count=16)
    tiny.pairs(job.folder / "trusted", count=48)
    return job


@pytest.fixture
def finished(whole_screening):
    return whole_screening.out, json.loads((whole_screening.out / "json").read_text())


def test_the_json_of_a_screening_fits_its_schema(finished):
    (_, screening), schema = finished, Screening.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(screening, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(screening | {"command": "audit"}, schema)


def test_the_most_suspicious_pairs_are_listed_first(finished):
    _, screening = finished
    scores = [row["score"] for row in screening["pairs"]]
    assert [row["rank"] for row in screening["pairs"]] == list(range(1, 13))
    assert scores == sorted(scores, reverse=True)


def test_a_listed_pair_has_every_signal(finished):
    _, screening = finished
    names = [signal["name"] for signal in screening["signals"]]
    assert names[-1] == "found"
    assert all(list(row["signals"]) == names for row in screening["pairs"])
    assert screening["triggers"][0].startswith("patch:size=0.25,place=corner")


def test_the_first_of_the_list_are_dropped(finished):
    _, screening = finished
    assert [row["dropped"] for row in screening["pairs"]] == [True] * 5 + [False] * 7  # 10 % of 48 pairs
    assert (screening["screened"]["dropped"], screening["screened"]["drop"]) == (5, "10%")


def test_the_kept_table_has_all_pairs_that_were_not_dropped(finished, whole_screening):
    out, screening = finished
    dropped = {row["key"] for row in screening["pairs"] if row["dropped"]}
    kept = {(pair.image.source.path.resolve(), pair.caption) for pair in read(out / "kept.csv").pairs}
    others = [pair for pair in read(whole_screening.job.data).pairs if pair.key not in dropped]
    assert kept == {(pair.image.source.path.resolve(), pair.caption) for pair in others}
    assert screening["kept"] == {"name": "kept.csv", "sha256": files.sha256(out / "kept.csv"), "pairs": 43}


def lines_of(finished, width):
    return report.screening_text(Screening.model_validate(finished[1]), width=width).splitlines()


@pytest.mark.parametrize("width", [40, 80])
def test_the_list_fits_its_terminal(finished, width):
    assert max(map(cell_len, lines_of(finished, width))) <= width


@pytest.mark.parametrize("width", [40, 80])
def test_every_row_of_the_list_begins_with_its_rank(finished, width):
    ranks = [int(row[1]) for line in lines_of(finished, width) if (row := re.match(r"^ {2,}(\d+)[!−]? ", line))]
    assert ranks == list(range(1, 13))


def test_a_kept_table_names_images_relative_to_itself(job, tmp_path):
    source = tiny.pairs(tmp_path / "pairs", count=24)
    assert cli.main(job.screen("--drop", "auto", "--save-kept", tmp_path / "kept.csv", source=source)) == 0
    with (tmp_path / "kept.csv").open() as stream:
        assert all(row["filepath"].startswith("pairs/") for row in csv.DictReader(stream))


def test_kept_keys_are_a_line_each(job, tmp_path):
    source = tiny.pairs(tmp_path / "pairs", count=24)
    assert cli.main(job.screen("--drop", "25%", "--save-kept", tmp_path / "kept.txt", source=source)) == 0
    keys = (tmp_path / "kept.txt").read_text().splitlines()
    assert (len(keys), set(keys) <= {pair.key for pair in read(source).pairs}) == (18, True)


def test_a_kept_shard_holds_copies_that_can_be_screened_again(job, tmp_path):
    shard, again = tmp_path / "kept.tar", tmp_path / "again.tar"
    assert cli.main(job.screen("--drop", "25%", "--save-kept", shard)) == 0
    assert cli.main(job.screen("--drop", "25%", "--save-kept", again, source=shard)) == 0
    first, second = read(shard), read(again)
    assert (len(first), len(second)) == (36, 27)
    assert {pair.caption for pair in second.pairs} <= {pair.caption for pair in first.pairs}
    with tarfile.open(shard) as opened:
        assert {member.mtime for member in opened} == {0}


@pytest.fixture
def page(finished):
    return (finished[0] / "html").read_text()


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", page)
    assert "default-src 'none'" in html.unescape(page)


def test_the_page_shows_every_listed_pair(page):
    assert page.count("<figure>") == 12
    parsed = Page(page)
    assert (parsed.faults, len(parsed.all("table")), len(parsed.all("caption"))) == ([], 2, 2)


def test_a_hostile_caption_is_text_on_the_page(page):
    assert "<script" not in page


def test_a_hostile_caption_drives_no_terminal(job, said):
    assert "\x1b" not in said(job.screen("--top", 48))


def test_a_shard_is_screened_like_a_folder(job, said):
    screening = said(job.screen("--json", source=job.folder / "packed.tar"))
    data = screening["data"]
    assert (data["name"], data["format"], screening["screened"]["pairs"]) == ("packed.tar", "webdataset", 48)


def test_several_data_are_one_set(job, said):
    both = f"{job.folder / 'packed.tar'}::{job.data}"
    screening = said(job.screen("--json", "--drop", "50%", "--top", 1, source=both))
    assert (screening["data"]["name"], screening["screened"]["pairs"]) == (f"packed.tar + {job.data.name}", 96)
    assert len(screening["pairs"]) == 48


def test_a_false_drop_rate_is_judged_by_trusted_pairs(job, said):
    trusted = ("--false-drop-rate", "10%", "--trusted", job.folder / "trusted")
    screened = said(job.screen("--json", *trusted))["screened"]
    assert (screened["rule"].startswith("conformal"), screened["dropped"]) == (True, screened["suspicious"])
    assert screened["pairs"] == len(read(job.data).pairs)  # trusted pairs are not judged


@pytest.mark.parametrize("name", [" blank.png", "http:/x.png", "two\nlines.png", "\udcff.png"])
def test_names_that_a_table_cannot_give_back_are_seen(name):
    assert not screen.is_listable(name)
    assert screen.is_listable("C:/a picture.png")


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        *((f"--drop {drop}", 2, "--drop") for drop in ("0%", "100%", "2")),
        ("--save-kept kept.csv", 2, "--save-kept"),
        ("--drop auto --save-kept kept.zip", 2, ".csv"),
        ("--drop auto --save-kept nowhere/kept.csv", 2, "nowhere"),
        ("--drop auto --save-kept there.csv", 2, "--force"),
        ("--drop 2% --save-kept k.csv PACKED", 2, ".tar"),
        ("--report sarif=x.sarif", 2, "sarif"),
        ("--trigger nonsense", 2, "nonsense"),
        ("--trigger missing.safetensors", 3, "missing.safetensors"),
        ("--model missing.pt", 3, "missing.pt"),
        ("FEW", 4, "16 pairs"),
        ("--false-drop-rate 10%", 2, "--trusted"),
        ("--trusted DATA", 2, "--false-drop-rate"),
        ("--false-drop-rate 10% --trusted DATA", 2, "000.png"),
        ("--false-drop-rate 10% --trusted DATA --drop auto", 2, "--drop"),
        ("--false-drop-rate 0%", 2, "--false-drop-rate"),
    ],
)
def test_what_cannot_be_screened_is_refused(job, tmp_path, monkeypatch, refused, more, code, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    *words, last = [str(job.data) if word == "DATA" else word for word in more.split()]
    source = {"PACKED": job.folder / "packed.tar", "FEW": job.folder / "few"}.get(last)
    refused(job.screen(*(words if source else [*words, last]), source=source), tmp_path, code, named)


# Inside sanitize.


def screening_cleaning(job, out, share):
    """The command line of a cleaning that leaves out this share of its pairs."""
    return job.sanitize("--out", out, "--no-panel", "--exit-zero", "--keep-failed", "--screen", share)


def test_sanitize_ends_where_a_screening_leaves_too_little(job, tmp_path):
    assert cli.main(screening_cleaning(job, tmp_path / "out", "80%")) == 4
    assert not (tmp_path / "out").exists()


def test_sanitize_leaves_out_what_a_screening_drops(job, tmp_path, unread):
    assert cli.main(screening_cleaning(job, tmp_path / "out", "25%")) == 0
    written: dict[str, Any] = report.read(tmp_path / "out" / "report.json").as_json()
    screened = written["data"]["screened"]
    assert (written["data"]["pairs"], screened["dropped"], len(screened["dropped_keys"])) == (36, 12, 12)
    assert [each["level"] for each in written["findings"] if each["rule"] == "CC032"] == ["note"]
