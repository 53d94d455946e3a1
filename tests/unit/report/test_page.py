"""The text of the page: embedded data, security policy, escapes. test_browser.py tests the page in a browser."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import unescape

import pytest
from report_study import write_run

from ssr_hydra.report import Options, build
from ssr_hydra.report.exports import as_json
from ssr_hydra.report.page import embedded, page
from ssr_hydra.report.page_data import payload
from ssr_hydra.report.tables import main_table
from ssr_hydra.studies import from_csv, load


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "]]>", "\u2028\u2029", "<script", "&lt;", "\ud800", "\\u003c", '"', "\x00"]
)
def test_embedded_json_is_safe_in_html_and_can_be_read_back(text):
    encoded = embedded({text: [text]})
    assert not re.search(r"[<>&\u2028\u2029\x00]", encoded)
    assert encoded.isascii()
    assert json.loads(encoded) == {text: [text]}


@pytest.fixture(scope="module")
def page_html(content):
    return page(content, b"<svg/>")


def attributes(html, name):
    """Return the values of an attribute in the tags of a page."""
    tags = re.findall(r"<\w[^>]*>", re.sub(r"(?s)(<(script|style)\b[^>]*>).*?</", r"\1</", html))
    return [unescape(value) for tag in tags for value in re.findall(rf'\s{name}="([^"]*)"', tag)]


def test_content_security_policy_allows_only_the_script_and_style_of_the_page(page_html):
    (policy,) = (text for text in attributes(page_html, "content") if text.startswith("default-src"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for kind in ("script", "style"):
        (text,) = re.findall(rf"(?s)<{kind}>(.*?)</{kind}>", page_html)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def test_no_part_of_the_page_names_one_ssr_if_the_choice_depends_on_the_tolerance(content, page_html):
    """The headline, the tiles, the chart, the tables and report.json name no single SSR."""
    free = build(content.study)
    assert not free.is_settled
    assert free.choice is not None
    answers = {(step.choice.recipe, step.choice.ssr) for step in free.steps}
    text = page(free)
    tiles = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)<", text)
    assert tiles[0][0] == "if any gain counts"
    assert all(name.endswith(f"at SSR {free.choice.ssr:g}") for name, _ in tiles[1:3])
    assert "recommended" not in {name for name, _ in tiles}
    assert payload(free)["choice"] is None
    rows = {row.of: row for row in main_table(free).rows if row.chosen}
    assert {(recipe, "") for recipe, _ in answers} == set(rows)
    assert sum(row.chosen for row in main_table(free).rows) == len(answers)
    answer = json.loads(as_json(free))["answer"]
    assert [answer[key] for key in ("ssr", "certainty", "budget", "rivals")] == [None, None, None, []]
    assert "<dt>recommended</dt>" in page_html
    assert payload(content)["choice"] is not None


def test_page_fetches_no_resource(page_html):
    links = [link for name in ("src", "href", "srcset", "action", "data") for link in attributes(page_html, name)]
    assert links
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|sendBeacon|WebSocket", page_html)
    assert attributes(page_html, r"(?:on\w+|style)") == []


def test_the_same_records_give_the_same_page(page_html, study_folder):
    again = build(load(study_folder), Options(tolerance=0.005, target=0.95, price_per_hour=2.0))
    assert page(again, b"<svg/>") == page_html


def test_page_has_all_sections_and_links_to_them(page_html):
    links = [link for link in attributes(page_html, "href") if link.startswith("#")]
    sections = "details setup quality doubling recipes controls fits curves problems method".split()
    assert links == [f"#{section}" for section in sections]
    assert set(sections) <= set(attributes(page_html, "id"))


def test_caption_of_the_frontier_explains_its_marks(page_html, resnet50):
    assert "on the frontier by steps. Tinted marks are no better within noise. Hollow marks are dominated." in page_html
    assert "shows the fits that did not pass" in page_html
    alone = page(build(from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds")))
    assert "Each mark is one run. Filled" in alone  # no seeds, no intervals
    assert "no better by the mean" in alone


def test_the_caption_of_learning_rates_says_how_often_they_were_logged(tmp_path):
    write_run(tmp_path / "s/0", ssr=0.5)  # 60 times in 600 steps
    assert "Dots are rates that were logged every 10 steps." in page(build(load(tmp_path / "s")))
    write_run(tmp_path / "s/1", ssr=1.0)  # this run logs every 20 steps, so the runs have no common number
    assert "Dots are rates that were logged." in page(build(load(tmp_path / "s")))


def test_page_explains_dots_and_clock_noise_only_where_they_apply(content, tmp_path):
    (tmp_path / "t.csv").write_text("ssr,acc,n,sd\n0.5,0.8,3,0.01\n1,0.9,4,0.01\n", encoding="utf-8")
    means = page(build(from_csv(tmp_path / "t.csv", "ssr", "acc", n="n", sd="sd")))
    dots, clock = "Each faint dot is one run.", "Intervals of speed-ups include the noise of the clock."
    assert (dots in page(content), dots in means) == (True, False)
    assert (clock in page(replace(content, equal="seconds")), clock in page(content)) == (True, False)
