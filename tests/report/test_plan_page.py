"""The page of plans: what stands in it, and what a browser makes of it.

The tests of the second half drive a real Chromium without a window. They are skipped where there is none, or no
playwright; `.ci/run` puts one there.
"""

import json
import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from math import exp
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from tests.plan.plans_for_tests import (
    figures,
    gpu_and_lpu,
    gpu_only,
    lpu_only,
    plan_of,
    plan_set,
    pool,
    unmet,
)

from takt.plan.plans import Dropped, PlanSet, Targets, WhatIf
from takt.report.plan_page import plan_page
from takt.report.plan_page.axes import position_of_share, scale_of
from takt.report.plan_page.curves import panels_of
from takt.report.plan_page.scatter import views_of
from takt.report.plan_page.table import MOST_OTHERS
from takt.report.plan_page.words import amount, duration, power, share, usd

HOSTILE = '</script><img src=x onerror="window.hurt=1"><b>&amp;{{ 7*7 }}'
COMMAND = "takt plan llama-3.3-70b --rate 50 --seed 0"
VOID = {"meta", "input", "line", "rect", "circle", "path", "img", "br"}


def page(plans: PlanSet | None = None, **changes: str) -> str:
    plans = plan_set() if plans is None else plans
    return plan_page(
        plans, **{"date": "2026-05-12", "version": "0.5", "command": COMMAND} | changes
    )


class Reader(HTMLParser):
    """Elements and texts; complains of ends that don't fit."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    whole: dict[str, Any] = json.loads(found[1])
    return whole


def block(html: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    assert found
    return found[1]


def hostile() -> PlanSet:
    bad = plan_of(
        HOSTILE,
        pool(name=HOSTILE, chip=HOSTILE, engine=HOSTILE, weights=HOSTILE, kv=HOSTILE),
        router=HOSTILE,
        misses=(HOSTILE,),
        basis=frozenset({HOSTILE}),
        assumed=(HOSTILE,),
    )
    return plan_set(
        model=HOSTILE,
        workload=HOSTILE,
        pareto=(bad, gpu_only()),
        dropped=(Dropped(id=HOSTILE, stage="fit", reason=HOSTILE),),
        proof=(HOSTILE,),
        what_ifs=(WhatIf(name=HOSTILE, value=HOSTILE, winner=HOSTILE, usd_per_mtok=1.0),),
        sensitivity=(WhatIf(name=HOSTILE, value=HOSTILE, winner=HOSTILE, usd_per_mtok=None, threshold=HOSTILE),),
        assumptions=((HOSTILE, HOSTILE, HOSTILE, HOSTILE), ("x", "1", "published", f"https://a/{HOSTILE}")),
    )  # fmt: skip


# What stands in it


def test_the_same_plans_make_the_same_bytes() -> None:
    assert page() == page()
    assert page() != page(plan_set(seed=1))


def test_the_answer_is_a_sentence() -> None:
    assert (
        "<h1>32 × NVIDIA H100 SXM meet every target for $2.09 per million output tokens</h1>"
        in page()
    )


def test_without_a_plan_the_nearest_is_named_with_what_it_misses() -> None:
    text = read(page(unmet())).text
    assert "Targets not met" in text
    assert "No plan meets this; the nearest is 64 × NVIDIA H100 SXM" in text
    assert "14 ms a token at the mean, wanted 1 ms" in text
    assert "1,400 % of the target of 1 ms" in text


def test_without_any_plan_the_page_still_says_why() -> None:
    nothing = plan_set(pareto=(), others=(), nearest=None, what_ifs=(), sensitivity=())
    text = read(page(nothing)).text
    assert "No plan meets this, and none comes near" in text
    assert "too small: 9.3 GB of weights on each chip" in text


def test_a_winner_without_a_price_claims_none() -> None:
    text = read(page(plan_set(pareto=(lpu_only(),)))).text
    assert "1,152 × GroqChip 1 in GroqRack meet every target; what they cost is unknown" in text
    assert "No measurement tells how far off the pace may be." in text


@pytest.mark.parametrize(
    ("cost", "error", "words"),
    [
        (1.05, 0.08, "costs 5 % more: less than the expected error, so the two are about equal."),
        (1.5, 0.08, "costs 50 % more, which is beyond the expected error."),
        (1.5, None, "costs 50 % more; how far off either may be is not known."),
    ],
)
def test_a_lead_is_weighed_against_the_expected_error(
    cost: float, error: float | None, words: str
) -> None:
    first = plan_of("a", pool(), figures=figures(usd_per_mtok=1.0))
    alike = plan_of("a2", pool(max_seqs=8), figures=figures(usd_per_mtok=1.0))
    other = pool(chip="h200-sxm", name="NVIDIA H200 SXM")
    second = plan_of("b", other, figures=figures(usd_per_mtok=cost), expected_error=error)
    late = plan_of("c", pool(), figures=figures(usd_per_mtok=0.5), meets=False)
    text = read(page(plan_set(pareto=(first,), others=(alike, second, late)))).text
    assert f"The next cheapest, 32 × NVIDIA H200 SXM, {words}" in text


def test_it_says_what_was_asked_and_how_to_ask_again() -> None:
    text = read(page()).text
    for part in (
        "first token within 1 s for 99 % of requests",
        "each further token within 20 ms on average",
        "at most $500 an hour",
        "no mi300x to be had",
        COMMAND,
        "No candidate left can cost under $2.09.",
        "wins below $0.14 an hour a chip",
        "half of what is drawn under load",
    ):
        assert part in text


@pytest.mark.parametrize("plans", [plan_set(), unmet(), hostile()], ids=["met", "unmet", "hostile"])
def test_it_is_well_formed_and_fetches_nothing(plans: PlanSet) -> None:
    reader = read(page(plans))
    for tag, attributes in reader.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "b&amp")
        assert "src" not in attributes and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        if tag != "a":
            assert "href" not in attributes
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in reader.elements if tag == "a"]
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)


def test_only_its_own_style_and_script_are_allowed() -> None:
    html = page()
    policy = next(
        a["content"] for t, a in read(html).elements if a.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        digest = b64encode(sha256(block(html, tag).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_names_stay_texts() -> None:
    html = page(hostile(), date=HOSTILE, version=HOSTILE, command=HOSTILE)
    assert html.count("</script>") == 2
    assert "<img" not in html
    assert "49" not in read(html).text.partition("million output tokens")[0]
    assert embedded(html)["answer"]["model"] == HOSTILE
    assert HOSTILE in html.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace(
        "&amp;", "&"
    )


def test_only_web_addresses_become_links() -> None:
    sources = ("https://example.com/a?b=1&c=2", "javascript:alert(1)", "see https://example.com")
    html = page(plan_set(assumptions=tuple(("x", "1", "published", s) for s in sources)))
    links = [a["href"] for tag, a in read(html).elements if tag == "a" and a["href"]]
    assert [link for link in links if not link.startswith("#")] == [sources[0]]


def test_the_json_holds_everything_under_the_names_of_the_verb() -> None:
    data = embedded(page())
    assert data["answer"]["dropped"][2]["reason"] == "at least $3.10 per million tokens"
    assert data["command"] == COMMAND
    first = data["plans"][0]
    for name in ("chips", "layout", "usd_per_mtok", "tokens_per_s_user", "j_per_token", "mw", "basis", "expected_error"):  # fmt: skip
        assert name in first
    assert first["chips"] == 32
    assert first["ttft_p99_ms"] == pytest.approx(504)


def test_many_beaten_plans_are_cut_and_the_rest_is_counted() -> None:
    many = tuple(plan_of(f"plan {i}", pool(), scale=2 + i / 100) for i in range(MOST_OTHERS + 37))
    html = page(plan_set(others=many))
    assert "37 more are in the JSON" in html
    assert len(embedded(html)["answer"]["others"]) == MOST_OTHERS + 37


def test_a_target_of_another_percentile_is_the_column() -> None:
    text = read(page(plan_set(targets=Targets(ttft_at="p90")))).text
    assert "first token within 1 s for 90 % of requests" in text
    assert "TTFT p90" in text
    assert "336 ms" in text


# Drawings


def test_points_lie_where_their_figures_say() -> None:
    cheap, fast = plan_of("a", pool(), scale=1.0), plan_of("b", pool(), scale=0.5)
    fast = replace(fast, figures=replace(fast.figures, usd_per_mtok=9.0))
    beaten = plan_of("c", pool(), scale=1.5)
    cost = views_of((cheap, fast, beaten), "p99")[0]
    at = {dot.index: dot for dot in cost.dots}
    assert at[2].x < at[0].x < at[1].x
    assert at[1].y < at[2].y < at[0].y
    corners = {(s.x1, s.y1) for s in cost.front} | {(s.x2, s.y2) for s in cost.front}
    assert (at[0].x, at[0].y) in corners and (at[1].x, at[1].y) in corners
    assert (at[2].x, at[2].y) not in corners


def test_plans_without_a_price_are_counted_not_drawn() -> None:
    views = {view.id: view for view in views_of((gpu_only(), gpu_and_lpu()), "p99")}
    assert (len(views["usd"].dots), views["usd"].left_out) == (1, 1)
    assert (len(views["power"].dots), views["power"].left_out) == (2, 0)
    assert "usd" not in {view.id for view in views_of((lpu_only(),), "p99")}


@pytest.mark.parametrize("values", [[1.0], [0.0], [2.0, 3.0], [0.001, 90.0], [0.0, 5.0], [1e-9, 1e9], [7.0, 7.0]])  # fmt: skip
def test_a_scale_holds_its_values_and_marks_some(values: list[float]) -> None:
    scale = scale_of(values)
    assert all(0 <= scale.place(value) <= 100 for value in values)
    ticks = scale.ticks(amount)
    assert 2 <= len(ticks) <= 12
    assert all(-1e-6 <= tick.at <= 100 + 1e-6 for tick in ticks)
    assert len({tick.text for tick in ticks}) == len(ticks)


def test_shares_are_stretched_at_both_ends() -> None:
    places = [position_of_share(s) for s in (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 100)
    assert places[5] - places[4] > 5 * (0.99 - 0.9)


def test_a_curve_that_meets_its_target_passes_left_of_the_ring() -> None:
    plan = plan_of("a", pool(), figures=figures(curves={"ttft_s": log_normal(0.2, 0.5)}))
    (panel,) = panels_of((plan,), Targets(ttft_s=1.0, ttft_at="p99"))
    assert panel.target and panel.target.y is not None
    points = [tuple(map(float, p.split())) for p in panel.curves[0].path[1:].split("L")]
    at_ring = min(points, key=lambda p: abs(p[1] - 10 * panel.target.y))
    assert at_ring[0] < 10 * panel.target.x
    assert points == sorted(points) and points[0][1] == 1000
    median = min(points, key=lambda p: abs(p[1] - (1000 - 10 * position_of_share(0.5))))
    lowest, highest = points[0][0], points[-1][0]
    assert 0.35 < (median[0] - lowest) / (highest - lowest) < 0.50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (usd(2.088), "$2.09"), (usd(0.0312), "$0.0312"), (usd(58_166.4), "$58,166"), (usd(None), "unknown"),
        (usd(99.999), "$100"), (duration(0.504), "504 ms"), (duration(1.0), "1 s"), (duration(0.0000121), "12.1 µs"),
        (duration(0.9999), "1 s"), (duration(0.00099991), "1 ms"), (power(0.0202), "20.2 kW"), (power(1.5), "1.5 MW"),
        (power(4e-4), "400 W"), (share(0.993), "99.3 %"), (share(0.99999), "> 99.9 %"), (share(1.0), "100 %"),
        (share(0.08), "8 %"), (amount(1136.6), "1,137"), (amount(0.0), "0"), (amount(float("nan")), "unknown"),
    ],
)  # fmt: skip
def test_figures_read_well(text: str, expected: str) -> None:
    assert text == expected


# In a browser


def log_normal(median: float, p99: float) -> tuple[tuple[float, float], ...]:
    normal = NormalDist()
    slope = (p99 / median - 1) / 2.3263
    shares = [i / 200 for i in range(1, 200)] + [0.999]
    return tuple((median * exp(slope * normal.inv_cdf(s)), s) for s in shares)


def shown() -> PlanSet:
    """Plans far apart in everything, with curves; eight more that they beat."""
    best = plan_set().pareto
    others = tuple(
        plan_of(f"h100 {i}", pool(name=f"Chip {i}", kind="tpu"), scale=1.2 + i / 10) for i in range(8)
    )  # fmt: skip
    return plan_set(pareto=best, others=others)


FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


class Seen:
    """A page that was opened, and all that it asked for or complained of."""

    def __init__(self, tab: Any, file: Path) -> None:
        self.tab, self.complaints, self.requests = tab, [], []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.goto(file.as_uri())

    def quiet(self, file: Path) -> bool:
        return self.complaints == [] and self.requests == [file.as_uri()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    plans = {"shown": shown(), "unmet": unmet(), "hostile": hostile()}
    for name, each in plans.items():
        (folder / f"{name}.html").write_text(page(each), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in plans}


@pytest.fixture(scope="module")
def window(browser: Any) -> Iterator[Any]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(5000)
    yield opened
    opened.close()


@pytest.fixture
def tab(window: Any) -> Iterator[Any]:
    opened = window.new_page()
    yield opened
    opened.close()


def test_it_loads_without_a_complaint_or_a_request(tab: Any, files: dict[str, Path]) -> None:
    seen = Seen(tab, files["shown"])
    tab.locator("#latency").scroll_into_view_if_needed()
    assert seen.quiet(files["shown"])
    assert tab.title().startswith("32 × NVIDIA H100 SXM meet every target")
    assert tab.locator("h1").is_visible()


def test_points_show_notes_to_pointer_and_keyboard(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    note = tab.locator("#note")
    dots = tab.locator(".pane-usd a.dot")
    assert dots.count() == 2 + 8  # two of the best have no price
    assert not note.is_visible()
    tab.locator('.pane-usd a.dot[data-plan="1"] g').hover()
    assert "24 × NVIDIA H200 SXM for tokens" in note.inner_text()
    assert "$2.30" in note.inner_text()
    assert tab.locator("#plan-1.lit").count() == 1
    tab.mouse.move(5, 5)
    assert not note.is_visible()
    tab.locator("#view-usd").focus()
    tab.keyboard.press("Tab")  # the best plans alone are stops, the last drawn first
    assert note.is_visible()
    assert note.inner_text().startswith("Plan 2")
    tab.keyboard.press("Escape")
    assert not note.is_visible()


def test_a_point_leads_to_its_row_and_shows_it(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    row = tab.locator("#plan-11")
    assert not row.is_visible()
    tab.locator('.pane-usd a.dot[data-plan="11"] g').click()
    assert row.is_visible()
    assert tab.evaluate("location.hash") == "#plan-11"
    tab.locator("#plan-0 th a").click()
    assert tab.locator("#detail-0").get_attribute("open") is not None
    assert tab.get_by_text("1,048,576 in blocks of 16").first.is_visible()


def test_the_axes_switch(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    tab.get_by_text("Energy", exact=True).first.click()
    assert tab.get_by_text("joules per output token").is_visible()
    assert not tab.get_by_text("↑ $ per million output tokens").first.is_visible()
    assert tab.locator(".pane-energy a.dot").count() == 4 + 8
    tab.keyboard.press("ArrowRight")
    assert tab.get_by_text("kW for the whole system").is_visible()


def names_in_order(tab: Any) -> list[str]:
    rows = tab.locator(".plans tbody tr:visible td:nth-child(2)")
    return [text.replace(",", "") for text in rows.all_inner_texts()]


def test_columns_sort_up_and_down_with_the_unknown_last(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    chips = tab.locator("th[data-sort=chips]")
    assert names_in_order(tab) == ["32", "40", "592", "1152"]
    chips.get_by_role("button").click()
    assert names_in_order(tab) == ["32", "40", "592", "1152"]
    assert chips.get_attribute("aria-sort") == "ascending"
    chips.get_by_role("button").click()
    assert names_in_order(tab) == ["1152", "592", "40", "32"]
    cost = tab.locator("th[data-sort=usd_per_mtok]").get_by_role("button")
    cost.click()
    assert names_in_order(tab)[:2] == ["32", "40"]
    cost.click()
    assert names_in_order(tab)[:2] == ["40", "32"]
    assert chips.get_attribute("aria-sort") is None
    tab.locator("#show-others").check()
    assert len(names_in_order(tab)) == 4 + 8


def test_curves_come_and_go_with_their_boxes(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    assert tab.locator(".panels figure").count() == 3
    assert tab.locator(".panels path.curve:visible").count() == 3 * 4
    tab.locator("#key-1").uncheck()
    assert tab.locator(".panels path.k1:visible").count() == 0
    tab.locator("#key-6").check()
    assert tab.locator(".panels path.curve:visible").count() == 3 * 4
    assert tab.locator(".target text").all_text_contents() == ["p99 ≤ 1 s", "mean ≤ 20 ms"]


def test_the_files_to_take_along_hold_the_plans(tab: Any, files: dict[str, Path]) -> None:
    Seen(tab, files["shown"])
    with tab.expect_download() as waiting:
        tab.locator("[data-save=json]").first.click()
    assert waiting.value.suggested_filename == "plan.json"
    saved = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert saved == embedded(files["shown"].read_text(encoding="utf-8"))
    with tab.expect_download() as waiting:
        tab.locator("[data-save=csv]").first.click()
    lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("mark,standing,family,id,system,chips")
    assert len(lines) == 1 + 4 + 8


@pytest.mark.parametrize("name", ["shown", "unmet", "hostile"])
def test_nothing_sticks_out_sideways(tab: Any, files: dict[str, Path], name: str) -> None:
    Seen(tab, files[name])
    for width in (360, 768, 1600):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        sizes = tab.locator(".area:visible").evaluate_all("all => all.map(e => e.clientWidth)")
        assert len(sizes) == 4 and min(sizes) > 200


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const ratio = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("script, .dot")) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.closest("svg") ? style.fill : style.color);
    found.push([ratio(ink, behind(e)), e.outerHTML.slice(0, 80)]);
  }
  for (const e of document.querySelectorAll(".pane:first-of-type .dot")) {
    const shape = e.querySelector("g > *"), text = e.querySelector("text");
    const fill = parse(getComputedStyle(shape).fill);
    if (text) found.push([ratio(parse(getComputedStyle(text).fill), fill), e.outerHTML.slice(0, 80)]);
  }
  return {texts: found.sort((a, b) => a[0] - b[0]), paper: light(behind(document.body)),
          curves: [...document.querySelectorAll(".keys .curve")].map(
            (e) => ratio(parse(getComputedStyle(e).stroke), behind(e.closest("label"))))};
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_by_day_and_night(tab: Any, files: dict[str, Path], scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    Seen(tab, files["shown"])
    measured = tab.evaluate(CONTRAST)
    assert (measured["paper"] < 0.05) == (scheme == "dark")
    assert len(measured["texts"]) > 150
    assert measured["texts"][0][0] >= 4.5, measured["texts"][0]
    assert len(measured["curves"]) == 8 and min(measured["curves"]) >= 3


def test_hostile_names_do_nothing_in_a_browser(tab: Any, files: dict[str, Path]) -> None:
    seen = Seen(tab, files["hostile"])
    tab.locator(".pane-usd a.dot g").first.hover()
    tab.locator("th[data-sort=chips]").get_by_role("button").click()
    assert HOSTILE in tab.locator("#plan-0 th").inner_text()
    assert tab.evaluate("window.hurt") is None
    assert tab.locator("img").count() == 0
    assert seen.quiet(files["hostile"])


def test_what_slips_in_cannot_run(tab: Any, files: dict[str, Path], tmp_path: Path) -> None:
    html = files["shown"].read_text(encoding="utf-8")
    slipped = tmp_path / "slipped.html"
    bad = '<script>window.hurt=1</script><img src="https://127.0.0.1:9/x" onerror="window.hurt=1">'
    slipped.write_text(html.replace("<main>", f"<main>{bad}"), encoding="utf-8")
    seen = Seen(tab, slipped)
    assert tab.evaluate("window.hurt") is None
    assert any("Content Security Policy" in text for text in seen.complaints)


def test_it_reads_without_its_script(browser: Any, files: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(files["shown"].as_uri())
    assert tab.locator(".pane-usd a.dot").count() == 10
    assert tab.locator(".plans tbody tr").first.is_visible()
    assert not tab.locator("[data-save]").first.is_visible()
    tab.get_by_text("Energy", exact=True).first.click()
    assert tab.locator(".pane-energy").is_visible()
    tab.locator("#key-0").uncheck()
    assert not tab.locator("path.k0").first.is_visible()
    context.close()
