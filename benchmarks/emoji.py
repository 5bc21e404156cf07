"""Emoji images in four drawing styles, rendered from npm packages, as captioned image sets.

    python benchmarks/emoji.py --out build/emoji

needs ``npm`` (to fetch the packages) and ``resvg-py`` (to render the vector drawings). It writes
``STYLE.npz`` with ``rgba`` (N, S, S, 4) uint8 and ``concept`` (N,) int64, and ``concepts.json``, the list of
concepts with label, tags, group and subgroup. Nothing of it is committed; ``benchmarks/assets.py`` picks the
images that the package ships. Styles and licences: Noto (Apache-2.0), Fluent flat and 3D (MIT, the same
drawings twice), Twemoji and EmojiOne 2 (CC-BY-4.0); labels from emojibase (MIT).
"""

import argparse
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {
    "noto": "@iconify-json/noto",
    "fluent": "@iconify-json/fluent-emoji-flat",
    "fluent3d": "@lobehub/fluent-emoji-3d",
    "twemoji": "@iconify-json/twemoji",
    "emojione": "@iconify-json/emojione",
    "labels": "emojibase-data",
}
FLAGS = 9  # emojibase's group of flags: hundreds of near-equal images, left out
COMPONENTS = 2  # skin tones and hair: no images of their own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", type=Path, help="a folder with the npm tarballs; default: fetch them into OUT")
    parser.add_argument("--size", type=int, default=40, help="side of the stored image in pixels")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tarballs = fetch(options.packages or options.out / "npm", fetch_missing=options.packages is None)
    concepts = read_concepts(tarballs["labels"])
    (options.out / "concepts.json").write_text(json.dumps(concepts, indent=0, ensure_ascii=False))
    for style in ("noto", "fluent", "fluent3d", "twemoji", "emojione"):
        rgba, concept = render(tarballs[style], style, concepts, size=options.size)
        np.savez(options.out / f"{style}.npz", rgba=rgba, concept=concept)
        print(f"{style}: {len(concept)} pictures")


def fetch(folder: Path, *, fetch_missing: bool) -> dict[str, Path]:
    """The tarball of each package, fetched with ``npm pack`` where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for key, package in PACKAGES.items():
        stem = package.removeprefix("@").replace("/", "-")
        match = sorted(folder.glob(f"{stem}-[0-9]*.tgz"))
        if not match and fetch_missing:
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            match = sorted(folder.glob(f"{stem}-[0-9]*.tgz"))
        found[key] = match[-1]
    return found


def read_concepts(tarball: Path) -> list[dict]:
    """Concepts in emojibase's order: label, tags, group, subgroup, hexcode (without the variation selector)."""
    with tarfile.open(tarball) as archive:
        rows = json.load(archive.extractfile("package/en/data.json"))
        groups = json.load(archive.extractfile("package/meta/groups.json"))
    return [
        {
            "label": row["label"],
            "tags": row.get("tags", []),
            "group": groups["groups"][str(row["group"])],
            "subgroup": groups["subgroups"][str(row["subgroup"])],
            "hexcode": plain(row["hexcode"]),
        }
        for row in rows
        if row.get("group") not in (None, FLAGS, COMPONENTS)
    ]


def plain(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


def slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def render(tarball: Path, style: str, concepts: list[dict], *, size: int) -> tuple[np.ndarray, np.ndarray]:
    pictures, numbers = [], []
    with tarfile.open(tarball) as archive:
        draw = webp_reader(archive) if style == "fluent3d" else svg_renderer(archive, size)
        for number, concept in enumerate(concepts):
            picture = draw(concept)
            if picture is not None:
                pictures.append(np.asarray(picture.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)))
                numbers.append(number)
    return np.stack(pictures), np.array(numbers)


def webp_reader(archive: tarfile.TarFile):
    names = {plain(Path(m.name).stem): m for m in archive.getmembers() if m.name.endswith(".webp")}

    def draw(concept: dict) -> Image.Image | None:
        member = names.get(concept["hexcode"])
        return Image.open(io.BytesIO(archive.extractfile(member).read())) if member else None

    return draw


def svg_renderer(archive: tarfile.TarFile, size: int):
    import resvg_py

    icons = json.load(archive.extractfile("package/icons.json"))
    names = {plain(k): v for k, v in json.load(archive.extractfile("package/chars.json")).items()}

    def draw(concept: dict) -> Image.Image | None:
        name = names.get(concept["hexcode"], slug(concept["label"]))
        name = icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = icons["icons"].get(name)
        if icon is None:
            return None
        width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
            f'width="{size * 3}" height="{size * 3}">{icon["body"]}</svg>'
        )
        return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))

    return draw


if __name__ == "__main__":
    main()
