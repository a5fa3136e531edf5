"""The report in a real browser, where one is installed: it fits, it is quiet, it says what it has to."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orch.mission import events as ev
from orch.mission.chronicler import chronicle
from orch.mission.events import Outcome
from orch.view.report.page import render
from orch.view.report.verdict import Standing
from tests.mission import tales
from tests.mission.casts import spec

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</style><script>window.broken = 1</script><img src=x onerror='broken=1'> " + "unbroken" * 40
WIDTHS = (320, 390, 768, 1280)
LIMIT_S = 60
PROBE = """
<script>
const widths = WIDTHS, found = [];
addEventListener('load', async () => {
  for (const width of widths) {
    const frame = document.createElement('iframe');
    frame.style.cssText = `width:${width}px;height:700px;border:0`;
    frame.srcdoc = document.getElementById('page').textContent;
    document.body.append(frame);
    await new Promise(done => frame.addEventListener('load', done, {once: true}));
    const page = frame.contentDocument, view = frame.contentWindow;
    for (const details of page.querySelectorAll('details')) details.open = true;
    found.push({
      width, needed: page.documentElement.scrollWidth,
      headings: [...page.querySelectorAll('h1,h2,h3')].map(h => h.tagName),
      ground: view.getComputedStyle(page.body).backgroundColor,
      rows: [...page.querySelectorAll('.track:not(.key)')].map(t => t.getBoundingClientRect().width),
      ran: 'broken' in view, loaded: view.performance.getEntriesByType('resource').length,
      boxes: [...page.querySelectorAll('.box')].every(b => b.tabIndex === 0 && b.ariaLabel),
    });
  }
  document.getElementById('found').textContent = JSON.stringify(found);
});
</script>
"""


def looked_at(page: str, folder: Path, *flags: str) -> list[dict[str, Any]]:
    """Open a page in frames of several widths, and return what the browser says of each."""
    assert BROWSER is not None
    probe = PROBE.replace("WIDTHS", json.dumps(WIDTHS))
    text = page.replace("&", "&amp;").replace("<", "&lt;")
    outer = folder / "outer.html"
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><textarea id="page" hidden>{text}</textarea>'
        f'<pre id="found"></pre>{probe}',
        encoding="utf-8",
    )
    profile = folder / "profile"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--window-size=1400,900", *flags]
    ran = subprocess.run(
        [*command, "--dump-dom", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    found = re.search('<pre id="found">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found is not None
    return [dict(one) for one in json.loads(found[1])]


@pytest.mark.skipif(BROWSER is None, reason="no browser here")
@pytest.mark.timeout(120)
def test_the_page_fits_every_width_and_runs_nothing(tmp_path: Path) -> None:
    """No scrolling sideways from 320 px on, all rows drawn, nothing loaded, no script of the mission run."""
    events = tales.sealed(HOSTILE, HOSTILE)
    for one in looked_at(render(chronicle(events), Standing(Outcome.SEALED, HOSTILE)), tmp_path):
        assert one["needed"] <= one["width"]
        assert one["headings"][:2] == ["H1", "H2"]
        assert len(one["rows"]) == len(chronicle(events).sessions) + 1
        assert min(one["rows"]) > 150
        assert one["boxes"]
        assert (one["ran"], one["loaded"]) == (False, 0)
        assert one["ground"] == "rgb(255, 255, 255)"


@pytest.mark.skipif(BROWSER is None, reason="no browser here")
@pytest.mark.timeout(120)
def test_a_large_plan_scrolls_in_its_own_box_also_in_the_dark(tmp_path: Path) -> None:
    """Two hundred items, dark: the page stays as wide as its window."""
    items = [spec(f"i{n}", after=[f"i{n // 3}"] if n >= 3 else []) for n in range(200)]
    events = tales.Teller().begin().plan(items).tell(ev.MissionStopped(signal=ev.StopSignal.INTERRUPT)).events
    page = render(chronicle(events), Standing(Outcome.STOPPED))
    dark = "--blink-settings=preferredColorScheme=0"
    for one in looked_at(page, tmp_path, dark):
        assert one["needed"] <= one["width"]
        assert one["ground"] == "rgb(15, 18, 22)"
