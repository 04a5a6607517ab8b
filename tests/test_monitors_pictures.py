"""Pictures are well-formed SVG, and their lengths are the numbers'."""

import re
from xml.etree import ElementTree

import pytest

from llmspec.pictures import bars, curve, number

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def widths(picture: str, height: str) -> list[float]:
    rects = ElementTree.fromstring(picture).iter(f"{SVG}rect")
    return [float(node.attrib["width"]) for node in rects if node.attrib["height"] == height and node.attrib["width"] != "10"]


def test_bars_are_as_long_as_their_scores() -> None:
    picture = bars("scores", {"token_f1": (0.8, 0.4, ">= 0.75"), "exact_match": (0.25, None, None)})
    assert widths(picture, "15") == [280 * 0.8, 280 * 0.25]
    assert widths(picture, "5") == [280 * 0.4]
    assert {"scores", "token_f1", "0.8", "was 0.4", ">= 0.75", "champion"} <= set(texts(picture))


def test_a_score_beyond_one_is_drawn_against_the_larger_of_the_two() -> None:
    value, champion = widths(bars("", {"perplexity": (4.0, 8.0, None)}), "15")[0], 280 / 1.1
    assert value == pytest.approx(champion / 2, abs=0.1)


def test_without_a_champion_there_is_no_legend() -> None:
    assert "champion" not in texts(bars("scores", {"token_f1": (0.8, None, None)}))


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), 1e300])
def test_odd_numbers_draw_a_picture_all_the_same(value: float) -> None:
    ElementTree.fromstring(bars("odd", {"m": (value, None, None), "n": (0.5, value, None)}))
    ElementTree.fromstring(curve("odd", {"a": [(0, value), (1, 0.5)]}))


def test_names_and_gates_cannot_break_out_of_the_picture() -> None:
    picture = bars("<b>&", {"a<b": (0.5, 0.4, "x <= 'champion' & \"y\"")}) + curve("</svg>", {"<i>": [(0, 1)]}, x="<", y="&")
    assert not re.search(r"<b>|<i>|</svg>.*</svg>.*</svg>", picture)
    assert "x <= 'champion' & \"y\"" in texts(bars("", {"a": (0.5, None, "x <= 'champion' & \"y\"")}))


def test_a_curve_has_a_gap_where_nothing_was_measured() -> None:
    picture = curve("latency", {"p95": [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 0.0)], "p50": [(2, 1.0)]}, x="minutes")
    lines = [node.attrib["points"].split() for node in ElementTree.fromstring(picture).iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [2, 2]
    assert len(list(ElementTree.fromstring(picture).iter(f"{SVG}circle"))) == 1
    assert lines[0][1].endswith(",34.0"), "the largest value touches the top"
    assert lines[1][1].endswith(",190.0"), "zero is the ground"


def test_a_curve_of_nothing_says_so() -> None:
    assert "nothing to show yet" in texts(curve("latency", {"p95": []}))


@pytest.mark.parametrize(("value", "short"), [(0.83124, "0.831"), (1234.5, "1,234"), (12.0, "12"), (0.0, "0")])
def test_numbers_are_short(value: float, short: str) -> None:
    assert number(value) == short
