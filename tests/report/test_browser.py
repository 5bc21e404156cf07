"""The audit's page in a real browser: what it shows, at what width, in which colours."""

import base64
import html
import json
import re
import shutil
import subprocess

import pytest
from hostile.seeds import image_bytes
from report import searches
from report.parsed import report
from report.test_hostile_strings import poisoned

from clipclean.report.document import PageImages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"
PROBE = """
const frame = document.querySelector("iframe"), page = frame.contentDocument, view = frame.contentWindow;
const wide = [...page.querySelectorAll("main *, header *, footer *")].filter(element =>
  element.getBoundingClientRect().right > view.innerWidth + 1 && !element.closest(".scroll, .unseen, thead, pre"));
document.body.textContent = JSON.stringify({
  width: view.innerWidth, reach: page.documentElement.scrollWidth, wide: wide.map(element => `${element.tagName} ${element.getAttribute('class') || element.parentElement.getAttribute('class')}`),
  heading: page.querySelector("h1").innerText, paper: view.getComputedStyle(page.body).backgroundColor,
  map: page.querySelector(".map svg").getBoundingClientRect().height,
  marks: [...page.querySelectorAll(".cloud")].map(cloud => view.getComputedStyle(cloud).stroke),
  first: page.querySelector("a").innerText, hidden: page.querySelectorAll("details:not([open])").length,
  pixelated: view.getComputedStyle(page.querySelector(".mask img")).imageRendering,
  title: page.title, ran: view.ran !== undefined || window.ran !== undefined,
});
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")]


def browse(tmp_path, page, *options, width=1100, height=3000):
    """What Chromium prints, and what it writes to its log, for a page of our own."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    usual = "headless=new no-sandbox disable-gpu disable-dev-shm-usage no-first-run disable-background-networking"
    flags = [f"--{each}" for each in (*usual.split(), "hide-scrollbars", "enable-logging=stderr")]
    own = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},{height}"]
    command = [CHROMIUM, *flags, *own, *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def layout(tmp_path, page, width, *options):
    """Measurements of the page in a frame of the given width, made by a script outside of it."""
    outer = f'<!DOCTYPE html><body><iframe srcdoc="{html.escape(page)}" width="{width}" height="900" frameborder="0"></iframe>'
    outer += f'<script>addEventListener("load", () => {{{PROBE}}})</script>'
    dom, _ = browse(tmp_path, outer, "--dump-dom", *options)
    found = re.search(r"<body>(.*)</body>", dom, re.S)
    assert found
    return json.loads(html.unescape(found[1]))


def audit_page(made):
    return report.html(made, PageImages((image(), image())))


def image():
    data = base64.b64encode(image_bytes(size=(32, 32))).decode()
    return {"title": "Otter → banana", "caption": "As it is, and triggered.", "alt": "A square", "png_base64": data}


def test_a_browser_shows_the_page_without_complaint(tmp_path):
    dom, log = browse(tmp_path, audit_page(searches.backdoored()), "--dump-dom")
    assert re.search(r"<h1>.*Fail</h1>", dom)
    assert dom.count("<article") == len(searches.backdoored()["findings"])
    assert dom.count('class="cloud ') == 3
    assert "CONSOLE" not in log  # a style sheet or image that the page's own policy refuses is told there


def test_the_page_follows_the_readers_choice_of_a_dark_theme(tmp_path):
    page = audit_page(searches.backdoored())
    light, dark = layout(tmp_path, page, 1100), layout(tmp_path, page, 1100, DARK)
    assert (light["paper"], dark["paper"]) == ("rgb(251, 250, 247)", "rgb(20, 23, 27)")
    assert not set(light["marks"]) & set(dark["marks"])


ATTACK = "</title></td></table><script>ran=parent.ran=1</script><img src=x onerror='ran=parent.ran=1'>" + "W" * 300


@pytest.mark.parametrize("attack", ["", ATTACK], ids=["benign", "hostile"])
@pytest.mark.parametrize("width", [390, 1100])
def test_nothing_runs_or_reaches_beyond_the_window_even_of_a_hostile_report(tmp_path, width, attack):
    found = layout(tmp_path, audit_page(poisoned(searches.backdoored(), attack)), width)
    assert (found["width"], found["reach"], found["wide"], found["ran"]) == (width, width, [], False)
    assert attack[:40] in found["title"]
    assert "Fail" in found["heading"]
    assert found["map"] > 150
    assert len(set(found["marks"])) == 3
    assert (found["first"], found["pixelated"]) == ("Skip to the report", "pixelated")


@pytest.mark.parametrize("made", [searches.backdoored, searches.cleaned])
def test_a_page_is_printed_on_eight_sheets_at_most(tmp_path, made):
    target = tmp_path / "page.pdf"
    browse(tmp_path, audit_page(made()), f"--print-to-pdf={target}", "--no-pdf-header-footer")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b(?!s)", target.read_bytes())) <= 8
