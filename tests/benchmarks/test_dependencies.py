"""The bill of clipclean's own dependencies, by the schema of CycloneDX and by what pyproject.toml says."""

import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(script):
    return script("dependencies").bill("clip-sanitizer")


def test_the_schema_of_cyclonedx_accepts_it(made):
    cyclonedx = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    assert cyclonedx.JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None


def test_it_has_every_dependency_of_a_plain_install_and_what_these_need(made):
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {each["name"] for each in made["components"]}
    assert {Requirement(line).name.replace("_", "-").lower() for line in listed} <= names
    assert "sympy" in names  # torch needs it
    assert not {"pytest", "mkdocs", "transformers"} & names  # of extras


def test_every_reference_leads_to_a_package_of_the_bill(made):
    known = {made["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in made["components"])}
    assert {each["ref"] for each in made["dependencies"]} == known
    assert {ref for each in made["dependencies"] for ref in each["dependsOn"]} <= known
