"""A CycloneDX bill of materials of clipclean itself: what a plain install in this environment consists of.

    make sbom
    python benchmarks/dependencies.py --out dist/clipclean.cdx.json

It lists clip-sanitizer, everything that it depends on without extras, and what these depend on, in the versions that are installed
here. An environment of your own has other versions: make the file where you deploy.
"""

import argparse
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

OWN = "clip-sanitizer"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("dist/clipclean.cdx.json"), help="file to write")
    o = parser.parse_args()
    o.out.parent.mkdir(parents=True, exist_ok=True)
    made = bill(OWN)
    o.out.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(f"{o.out}: {OWN} {made['metadata']['component']['version']} and {len(made['components'])} packages")
    return 0


def bill(root: str) -> dict[str, Any]:
    """The bill of a distribution that is installed here, as CycloneDX 1.6; equal environments give equal bills."""
    graph = closure(root)
    first, *others = (component(name) for name in [canonical(root), *sorted(set(graph) - {canonical(root)})])
    reference = {name: purl(name) for name in graph}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": first | {"type": "application"}},
        "components": others,
        "dependencies": [
            {"ref": reference[name], "dependsOn": sorted(reference[each] for each in needed)}
            for name, needed in sorted(graph.items())
        ],
    }


def closure(root: str) -> dict[str, set[str]]:
    """What each distribution needs, from one on: by canonical name, with the extras that are asked for."""
    graph: dict[str, set[str]] = {}
    open_ = [(canonical(root), frozenset[str]())]
    seen = set(open_)
    while open_:
        name, extras = open_.pop()
        needed = graph.setdefault(name, set())
        for line in metadata.requires(name) or ():
            wanted = Requirement(line)
            if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                continue
            needed.add(canonical(wanted.name))
            step = (canonical(wanted.name), frozenset(wanted.extras))
            if step not in seen:
                seen.add(step)
                open_.append(step)
    return graph


def component(name: str) -> dict[str, Any]:
    """A distribution with its version and, where it states one, its licence."""
    told = metadata.metadata(name)
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(name),
        "name": name,
        "version": metadata.version(name),
        "purl": purl(name),
    }
    if expression := told.get("License-Expression"):
        found["licenses"] = [{"expression": expression}]
    elif text := (told.get("License") or "").strip().splitlines():
        found["licenses"] = [{"license": {"name": text[0][:200]}}]
    return found


def purl(name: str) -> str:
    """The address of a distribution among packages."""
    return f"pkg:pypi/{canonical(name)}@{metadata.version(name).replace('+', '%2B')}"


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    raise SystemExit(main())
