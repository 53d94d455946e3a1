"""The page in a real browser: headless Chromium, opened from disk, without a network."""

import os
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from report_study import write_run, write_study
from study_runs import study_of

from ssr_hydra.errors import visible
from ssr_hydra.report import Options, build
from ssr_hydra.report.page import page
from ssr_hydra.report.write import write
from ssr_hydra.studies import Note, load

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def box_of(locator):
    """Return left, top, right, bottom."""
    box = locator.bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


@pytest.fixture(scope="module")
def browser():
    """A Chromium of the machine, or the one that CHROMIUM names; nothing is downloaded."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium), and CHROMIUM names none")
    with sync_api.sync_playwright() as play:
        # Few containers allow Chromium's sandbox, and this package wrote the page.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = play.chromium.launch(executable_path=path, args=arguments, timeout=180_000)
        yield chromium
        chromium.close()


class Opened:
    """A page, and every forbidden action that it took."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.context.set_offline(True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(180_000)  # a slow machine must not fail the test
        self.requests = []
        self.complaints = []
        self.failures = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.failures.append(request.failure))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.goto(path.as_uri())

    def _dialog(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def hover(self, mark):
        """Move the mouse to a mark, and return the lines of the tooltip."""
        left, top, right, bottom = box_of(mark)
        self.page.mouse.move((left + right) / 2, (top + bottom) / 2)
        return self.tip()

    def button(self, bar, text):
        return self.page.locator(f"#{bar} button", has_text=re.compile(f"^{re.escape(text)}$"))

    def count(self, selector):
        return self.page.locator(selector).count()

    def tip(self, chart="frontier"):
        """Return the lines of the tooltip, or an empty list without a tooltip."""
        tip = self.page.locator(f"#{chart} .tip")
        return [] if tip.is_hidden() else tip.locator("b, span").all_text_contents()

    def background(self):
        colour = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in re.findall(r"\d+", colour)[:3]]


@pytest.fixture(scope="module")
def report(content, tmp_path_factory):
    return write(content, tmp_path_factory.mktemp("report"))[0]


@pytest.fixture
def opened(browser, report):
    with Opened(browser, report) as report_page:
        yield report_page
        assert report_page.complaints == []
        assert [url for url in report_page.requests if not url.startswith(("file:", "data:"))] == []


def test_page_opens_from_disk_without_a_network(opened):
    assert opened.page.locator("h1").text_content() == "Run wsd at SSR 2 or longer; 1 of 5 runs diverged."
    assert [opened.count(f"#{chart} svg") for chart in ("frontier", "gains", "learning", "rates")] == [1, 1, 1, 1]
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1  # the page itself


def test_tooltip_shows_the_values_and_the_folder_of_a_run(opened, content):
    marks = opened.page.locator("#frontier svg path.raw")
    frame = content.study.completed
    assert marks.count() == len(frame)
    marks.first.scroll_into_view_if_needed()
    tips = (opened.hover(marks.nth(place)) for place in (0, 5, 40))
    title, *lines = next(tip for tip in tips if "mean of" not in " ".join(tip))  # a mean may cover a mark
    row = frame[frame["folder"] == lines[-1]].iloc[0]
    name = f"{row['recipe']} ({row['control']})" if row["control"] else row["recipe"]
    assert title == f"{name}, SSR {row['ssr']:g}"
    assert lines[:2] == [f"eval/accuracy {row['quality']:.6g}", f"seed {row['seed']}"]
    opened.page.mouse.move(5, 5)
    assert opened.tip() == []


def test_tooltip_shows_a_mean_with_its_interval(opened, content):
    row = content.summary.iloc[0]
    mark = opened.page.locator("#frontier svg path.dot").first  # the shortest run of the first recipe
    mark.scroll_into_view_if_needed()
    title, first, second, third, last = opened.hover(mark)
    assert title == f"{row['recipe']}, SSR 0.125"
    assert first == f"eval/accuracy {row['mean']:.4f}, mean of 4"
    assert second.startswith("95 % interval ")
    # The page has rounded numbers, so the last digit may differ by one.
    low, high = (float(each) for each in second.removeprefix("95 % interval ").split(" to "))
    assert (low, high) == pytest.approx((row["low"], row["high"]), abs=1e-4)
    assert third.startswith("150 steps, 2400 samples, 0.75 s, cost ")
    assert last == "on the frontier, by steps"
    opened.button("frontier-bar", "Time").click()  # the tooltip still has the comparison by steps
    opened.page.locator("#frontier svg").focus()
    opened.page.keyboard.press("ArrowRight")
    assert any(line.endswith(", by steps") for line in opened.tip())


def test_arrow_keys_move_through_the_marks(opened):
    opened.page.locator("#gains svg").focus()
    tips = []
    for _ in range(3):
        opened.page.keyboard.press("ArrowRight")
        tips.append(opened.tip("gains")[0])
    assert len(set(tips)) == 3
    opened.page.keyboard.press("Escape")
    assert opened.tip("gains") == []


def test_buttons_hide_and_show_marks(opened):
    marks = {"each run": "path.raw", "intervals": "path.whisker", "controls": "path.line.control"}
    for text, selector in marks.items():
        before = opened.count(f"#frontier svg {selector}")
        assert before > 0
        button = opened.button("frontier-bar", text)
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert opened.count(f"#frontier svg {selector}") == 0
        button.click()
        assert opened.count(f"#frontier svg {selector}") == before


def test_a_recipe_can_be_hidden_in_every_chart(opened):
    charts = ("frontier", "gains", "learning", "rates")
    assert all(opened.count(f"#{chart} svg .hue2") for chart in charts)
    opened.button("frontier-bar", "wsd").click()
    assert [opened.count(f"#{chart} svg .hue2") for chart in charts] == [0, 0, 0, 0]
    assert all(opened.count(f"#{chart} svg .hue0") for chart in charts)
    assert opened.button("curves-bar", "wsd").get_attribute("aria-pressed") == "false"


def ticks(opened, chart="frontier"):
    return opened.page.locator(f"#{chart} svg text[text-anchor=middle]").all_text_contents()


def test_buttons_change_the_axis(opened):
    labels = {"SSR": "Scale schedule ratio (SSR)", "Steps": "optimizer steps", "Samples": "samples"}
    labels |= {"Cost": "cost of a run", "Time": "training time (seconds)"}
    for text, label in labels.items():
        opened.button("frontier-bar", text).click()
        assert label in opened.page.locator("#frontier svg text.title").all_text_contents()
    opened.button("frontier-bar", "SSR").click()
    # The ticks are the SSRs that were run, although a fit reaches twice the largest SSR.
    assert ticks(opened) == ["0.125", "0.25", "0.5", "1", "2"]


def test_each_gain_is_drawn_at_the_tick_of_its_ssr(opened, content):
    places = [box_of(line)[0] for line in opened.page.locator("#gains svg line.tick").all()]
    assert len(places) == content.doublings["ssr"].nunique()
    gap = min(b - a for a, b in pairwise(places))
    marks = [box_of(mark) for mark in opened.page.locator("#gains svg path.dot").all()]
    assert marks
    for left, _, right, _ in marks:
        assert min(abs((left + right) / 2 - place) for place in places) < 0.05 * gap + 1


def test_very_large_intervals_do_not_stretch_the_axis(browser, tmp_path):
    study = study_of({"a": {1.0: [0.80, 0.82], 2.0: [0.84, 0.90], 4.0: [0.90, 0.92]}})
    content = build(replace(study, objective="q"), Options(noise="cell"))  # no bounds
    assert content.summary["high"].max() > 1.2  # +-12.7 standard errors with two seeds; an accuracy is at most 1
    with Opened(browser, write(content, tmp_path / "out")[0]) as opened:
        numbers = opened.page.locator("#frontier svg text[text-anchor=end]:not(.title)").all_text_contents()
        assert max(float(text) for text in numbers if text != "recommended") < 1
        _, top, _, bottom = box_of(opened.page.locator("#frontier svg"))
        for whisker in opened.page.locator("#frontier svg path.whisker").all():
            assert top < box_of(whisker)[1] < box_of(whisker)[3] < bottom - 40


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("width", [1280, 390])
def test_names_in_a_chart_do_not_cover_intervals_or_lines(browser, tmp_path, width):
    # Two seeds give intervals that cross the whole plot. The target is just above the recommended mark's value.
    cells = {2.0**i: [0.8 + 0.05 * i, 0.82 + 0.07 * i] for i in range(3)}
    content = build(study_of({"a": cells, "b": cells}), Options(tolerance=0.045, target=0.935))
    report = write(content, tmp_path / "out")[0]
    with Opened(browser, report, viewport={"width": width, "height": 900}) as opened:
        for chart, names in (("frontier", ["recommended", "target 0.935"]), ("gains", ["tolerance 0.045"])):
            assert opened.page.locator(f"#{chart} svg text.over").all_text_contents() == names
            lines = opened.page.locator(f"#{chart} svg").locator("path.whisker, line.level, path.dot")
            obstacles = [box_of(line) for line in lines.all()]
            for name in opened.page.locator(f"#{chart} svg text.over").all():
                left, top, right, bottom = box_of(name)
                letters = (left + 1, top + 3, right - 1, bottom - 3)  # they are smaller than the box of their line
                assert not any(overlap(letters, box) for box in obstacles), name.text_content()


def test_marks_of_recipes_at_the_same_steps_do_not_overlap(opened):
    def places():
        """Return the positions of the first marks of the three recipes and their controls."""
        marks = opened.page.locator("#frontier svg path.dot")
        boxes = [box_of(marks.nth(place)) for place in (0, 5, 8, 13, 16, 21)]
        return [(box[0] + box[2]) / 2 for box in boxes]

    opened.button("frontier-bar", "Steps").click()
    apart = [b - a for a, b in pairwise(places())]
    assert all(5 < gap < 15 for gap in apart)  # pixels: 4% of a doubling
    opened.button("frontier-bar", "Time").click()
    assert max(places()) - min(places()) < 1  # these runs took exactly the same time


def test_run_with_one_evaluation_is_drawn_as_a_point(browser, tmp_path):
    write_run(tmp_path / "s/0", evaluations=1)
    write_run(tmp_path / "s/1", ssr=2.0, evaluations=4)
    report = write(build(load(tmp_path / "s")), tmp_path / "out")[0]
    with Opened(browser, report) as opened:
        assert opened.count("#learning svg path.thin") == 2
        assert opened.count("#learning svg path.dot") == 1
        assert box_of(opened.page.locator("#learning svg path.dot"))[2] > 0


def test_legend_shows_the_ssr_of_each_shade(opened):
    shades = opened.page.locator("#curves-bar .shade")
    assert shades.all_text_contents() == ["0.125", "0.25", "0.5", "1", "2"]
    swatches = [float(each.get_attribute("stroke-opacity")) for each in shades.locator("path").all()]
    assert swatches == sorted(swatches)
    lines = opened.page.locator("#learning svg path.thin").all()
    assert {float(line.get_attribute("stroke-opacity")) for line in lines} == set(swatches)


def test_on_a_phone_tiles_fill_their_rows_and_tables_show_that_they_can_be_scrolled(browser, report):
    with Opened(browser, report, viewport={"width": 390, "height": 800}) as opened:
        tiles = opened.page.locator(".facts div")
        right = box_of(opened.page.locator(".facts"))[2]
        # With five tiles, the last tile is alone in its row.
        opened.page.evaluate("document.querySelector('.facts div').remove()")
        assert tiles.count() == 5
        assert box_of(tiles.last)[2] > right - 3
        table = opened.page.locator("#quality ~ .scroll").first
        row = table.locator("tbody tr").first
        assert box_of(row.locator("td").nth(3))[2] < 390  # the quality
        assert box_of(row.locator("td").nth(4))[0] < 330  # most of the interval is visible
        assert "local" in table.evaluate("e => getComputedStyle(e).backgroundAttachment")  # the edge's shadow
        why = opened.page.locator("#fits ~ .scroll").first.locator("tr.below td > div").first
        assert box_of(why)[2] <= 390
        assert box_of(why)[3] - box_of(why)[1] < 100


def test_axis_can_be_linear_or_logarithmic(opened):
    def places():
        return [mark.bounding_box()["x"] for mark in opened.page.locator("#frontier svg path.dot").all()[:5]]

    opened.button("frontier-bar", "Steps").click()
    log = places()
    gaps = [b - a for a, b in pairwise(log)]
    assert max(gaps) - min(gaps) < 1.5  # 150, 300, ... 2400: doublings are equal distances
    opened.page.locator("#frontier-bar [aria-label=Horizontal] button", has_text="linear").click()
    linear = places()
    gaps = [b - a for a, b in pairwise(linear)]
    assert gaps[3] / gaps[0] == pytest.approx(8, rel=0.05)  # (2400 - 1200) / (300 - 150)


def test_untrusted_fit_is_not_drawn_beyond_the_measured_range(opened, content):
    trusted = [fit for fit in content.fits if fit.verdict == "trusted"]
    others = [fit for fit in content.fits if fit.verdict != "trusted"]
    assert others
    assert opened.count("#frontier svg path.fit") == 2 * len(trusted)  # one path for the measured range, one beyond
    opened.button("frontier-bar", "other fits").click()
    assert opened.count("#frontier svg path.fit") == 2 * len(trusted) + len(others)
    opened.button("frontier-bar", "fits that predict").click() if trusted else None
    right = max(mark.bounding_box()["x"] for mark in opened.page.locator("#frontier svg path.dot").all())
    for fit in opened.page.locator("#frontier svg path.fit").all():
        box = fit.bounding_box()
        assert box["x"] + box["width"] < right + 12


def test_page_remembers_whether_the_user_chose_light_or_dark(browser, report):
    for scheme, bright in (("light", True), ("dark", False)):
        with Opened(browser, report, color_scheme=scheme) as opened:
            assert (sum(opened.background()) > 600) == bright
            opened.page.locator("#theme").click()
            assert (sum(opened.background()) > 600) != bright
            for _ in range(10):  # the browser stores the choice asynchronously, so the first reload may be too early
                opened.page.reload()
                if (sum(opened.background()) > 600) != bright:
                    break
            assert (sum(opened.background()) > 600) != bright
            opened.page.emulate_media(media="print")
            assert sum(opened.background()) > 600  # paper is white


@pytest.mark.parametrize("width", [320, 400, 1600])
def test_the_page_is_never_wider_than_the_window(browser, report, width):
    with Opened(browser, report, viewport={"width": width, "height": 800}) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        for chart in ("frontier", "gains", "learning", "rates"):
            box = opened.page.locator(f"#{chart} svg").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width


def test_without_scripts_the_page_shows_tables_and_a_picture(browser, report):
    with Opened(browser, report, java_script_enabled=False) as opened:
        assert opened.page.locator("noscript img").bounding_box()["height"] > 100
        assert opened.page.locator("table").first.is_visible()
        assert opened.page.locator("#theme").is_hidden()


def test_security_policy_blocks_an_injected_script_and_every_fetch(browser, report):
    with Opened(browser, report) as opened:
        opened.page.evaluate("""() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = 1";
            const image = document.createElement("img");
            image.src = "https://example.com/x.png";
            document.body.append(script, image);
        }""")
        assert opened.page.evaluate("window.ran") is None
        assert opened.page.evaluate("fetch('https://example.com').then(() => 'sent', () => 'refused')") == "refused"
        assert set(opened.failures) == {"csp"}  # the policy, not the missing network, stopped the fetch
        assert any("Content Security Policy" in complaint for complaint in opened.complaints)


RUN = "window.pwned=1;alert(1)"
PAYLOADS = [
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f'"><img src=x onerror="{RUN}">',
    f"'><svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"<style>@import 'https://example.com/x.css';</style><script>{RUN}</script>",
    f"<!--<script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"<!--<script></script><script>{RUN}//-->",
    f"]]><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</noscript><script>{RUN}</script>",
    f"</table></bdi><script>{RUN}</script>",
    f"{{{{ ''.__class__.__mro__ }}}}{{% print(1) %}}<script>{RUN}</script>",
    f"${{{RUN}}}`;{RUN};`",
    f'";{RUN};//',
    f"';{RUN};//",
    f'\\";{RUN};//',
    f"\u2028{RUN}\u2029",
    f"\u202e<script>{RUN}</script>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;&#60;img src=x onerror={RUN}&#62;",
    f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    f"<base href=https://example.com/><link rel=stylesheet href=x><script>{RUN}</script>",
    f"<form action=https://example.com><button formaction=javascript:{RUN} autofocus onfocus={RUN}>",
]


# The numbers of these elements in a page without hostile names.
OWN = dict.fromkeys(("img", "iframe", "form", "base"), 0)
OWN |= {"script": 2, "style": 1, "meta": 4, "link": 1, "title": 1, "body": 1}


def assert_inert(opened):
    """Check that the page opens no dialog, runs no foreign script, has only its own elements and fetches nothing."""
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("window.pwned") is None
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    for tag, count in OWN.items():
        assert opened.count(tag) == count, tag
    # Only tooltips have style attributes.
    handlers = """[...document.querySelectorAll("*:not(.tip)")].filter(
        (e) => [...e.attributes].some((a) => /^on|^style$|^srcdoc$/i.test(a.name))).length"""
    assert opened.page.evaluate(handlers) == 0


def test_hostile_names_of_recipes_are_shown_as_text(browser, tmp_path):
    assert len(set(PAYLOADS)) == 30
    recipes = {
        payload: {ssr: [ssr + place, ssr + place + 1] for ssr in (1.0, 2.0)} for place, payload in enumerate(PAYLOADS)
    }
    content = build(study_of(recipes))
    with Opened(browser, write(content, tmp_path / "out")[0]) as opened:
        assert_inert(opened)
        text = opened.page.evaluate("document.querySelector('main').textContent")
        cells = opened.page.locator("#quality ~ .scroll").first.locator("td.name bdi").all_text_contents()
        names = [visible(recipe) for recipe in content.study.recipes]
        assert set(cells) == set(names)
        assert all(name in text for name in names)
        # Each recipe has a button and tooltips with its name.
        assert opened.page.locator("#frontier-bar .recipes button").all_text_contents() == names
        opened.page.locator("#frontier svg").focus()
        titles = set()
        for _ in range(6 * len(PAYLOADS)):
            opened.page.keyboard.press("ArrowRight")
            titles.add(opened.tip()[0])
        assert titles == {f"{name}, SSR {ssr}" for name in names for ssr in (1, 2)}
        assert_inert(opened)


def test_hostile_values_of_records_are_shown_as_text(browser, tmp_path):
    study = write_study(tmp_path / "s", recipes=("wsd",), ssrs=(1.0, 2.0), seeds=(0, 1), controls=("",))
    for place, payload in enumerate(PAYLOADS):
        folder = study / f"{place} {payload.replace('/', '_')}"[:200]
        write_run(folder, "wsd", 4.0, place, None, status="failed", error=payload, evaluations=0, rates=False)
    loaded = load(study)
    notes = tuple(Note("lost", text) for text in PAYLOADS)
    hardware = tuple({payload: payload, "nested": {payload: [payload]}} for payload in PAYLOADS[:10])
    hostile = replace(loaded, objective=PAYLOADS[1], notes=notes, hardware=hardware)
    report = tmp_path / "report.html"
    report.write_text(page(build(hostile, Options(tolerance=0.01))), encoding="utf-8")
    with Opened(browser, report) as opened:
        assert_inert(opened)
        sentences = opened.page.locator("p.note bdi").all_text_contents()
        end = " has no quality at any SSR, so it is not compared: 0 runs, ."
        assert {f"{visible(text)}{end}" for text in PAYLOADS} <= set(sentences)
        reasons = opened.page.locator("#problems ~ .scroll").first.locator("td.wide bdi").all_text_contents()
        assert sorted(reasons) == sorted(visible(problem.reason) for problem in loaded.problems)
        assert len(reasons) == 30
        label = opened.page.locator("#frontier svg text.title").all_text_contents()
        assert f"{visible(PAYLOADS[1])} (higher is better)" in label
