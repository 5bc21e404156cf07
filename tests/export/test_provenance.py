import json
import math
import platform

import open_clip
import pytest
import torch

from clipclean.errors import RefusedInput
from clipclean.export import provenance

OUTPUTS = {"open_clip_model.safetensors": "ef" * 32}


def test_versions_and_hardware_are_those_of_this_process():
    found = provenance.versions()
    assert found["python"] == platform.python_version()
    assert (found["torch"], found["open_clip_torch"]) == (torch.__version__, open_clip.__version__)
    machine = provenance.hardware("cpu")
    assert machine["device"] == "cpu"
    assert machine["threads"] == torch.get_num_threads()
    assert platform.node() not in json.dumps(machine).split('"')


def test_the_record_holds_what_went_in_and_out_what_was_measured_and_no_time(report):
    made = provenance.record(report, outputs=OUTPUTS)
    record = made.model_dump()
    assert record["input"] == report["model"]
    assert record["recipe"]["resolved"] == {"train": {"lr": 1e-5}}
    assert (record["outputs"], record["exports"]) == (OUTPUTS, report["exports"])
    assert record["audits"]["before"]["clean_accuracy"]["value"] == 0.75
    assert record["audits"]["after"]["clean_accuracy"]["value"] == 0.625
    assert record["audits"]["judged"] == report["findings"]
    assert (record["command"], record["seed"], record["verdict"]) == ("sanitize", 3, "pass")
    assert "seconds" not in provenance.text(made)


def test_an_export_has_the_same_record_without_what_it_does_not_do(told):
    record = provenance.record(told("hf", "onnx"), outputs=OUTPUTS)
    assert [getattr(record, key) for key in ("recipe", "policy", "seed", "verdict", "audits")] == [None] * 5
    assert [entry.format for entry in record.exports] == ["hf", "onnx"]


def test_equal_runs_give_equal_records(report):
    slower = report | {"training": {"seconds": 99.0}}
    outputs = {"x": "1" * 64, "y": "2" * 64}
    first = provenance.text(provenance.record(report, outputs=outputs))
    turned = provenance.record(dict(reversed(slower.items())), outputs=dict(reversed(outputs.items())))
    assert provenance.text(turned) == first


def test_a_measure_that_is_no_number_is_null(report):
    report["findings"][0]["value"] = math.nan
    record = provenance.record(report, outputs=OUTPUTS)
    assert record.audits.judged[0]["value"] is None
    assert json.loads(provenance.text(record)) == record.model_dump()


def test_what_only_some_runs_tell_of_their_input_and_data_is_kept(report):
    report["data"]["screened"] = {"dropped": 3}
    assert provenance.record(report, outputs=OUTPUTS).data.screened == {"dropped": 3}


def test_a_record_reads_back_as_it_was(report):
    record = provenance.record(report, outputs=OUTPUTS)
    assert provenance.parse(json.loads(provenance.text(record))) == record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": "2"}, "schema_version"),
        ({"outputs": {"a": "short"}}, "outputs.a"),
        ({"more": 1}, "more"),
        ({"input": None}, "input"),
        ({"seed": "3"}, "seed"),
        ({"exports": [{"path": "x"}]}, "exports.0"),
    ],
)
def test_what_is_no_record_is_refused_with_the_place(report, change, words):
    with pytest.raises(RefusedInput, match=words):
        provenance.parse(provenance.record(report, outputs=OUTPUTS).model_dump() | change)


def test_a_json_value_of_another_kind_is_refused():
    with pytest.raises(RefusedInput):
        provenance.parse(["x"])
