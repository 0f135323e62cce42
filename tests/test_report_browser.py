"""The report in a real browser, with the keyboard alone."""

import numpy as np
import pytest
import soundfile
from browsing import chromium

from asr.data.manifest import Utterance
from asr.scoring.report import write_report
from asr.scoring.wer import Pair, score
from asr.transcript import Word

pytestmark = pytest.mark.slow
EVIL = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser, tmp_path):
    """A report of 120 utterances of three words; the one with the most errors has audio."""
    t = np.arange(16000 * 3) / 16000
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.sin(2000 * t), 16000)
    pairs = [Pair(f"u{i:03d}", "one two three", "one two tree", f"s{i % 3}") for i in range(118)]
    pairs += [
        Pair("bad", "one two three four five", "on too tree for", "s0"),
        Pair(EVIL, EVIL, "", "s1"),
    ]
    words = [Word(w, 0.5 * i, 0.5 * i + 0.4, 0.9) for i, w in enumerate("on too tree for".split())]
    utterances = {"bad": Utterance("bad", str(tmp_path / "tone.wav"), duration_s=3.0)}
    issue = {"description": f"hypotheses are {EVIL}", "ids": [EVIL], "is_error": True}
    places = {f"s{n}": [i for i, p in enumerate(pairs) if p.speaker == f"s{n}"] for n in range(3)}
    by = {s: score([pairs[i] for i in at]).to_dict() for s, at in places.items()}
    figures = score(pairs).to_dict() | {"issues": [issue], "by": {"speaker": by}}
    groups = {"speaker": places}
    out = tmp_path / "out"
    path = write_report(out, "Report", pairs, figures, utterances, {"bad": words}, groups)
    browser.get(path.as_uri())
    return browser


def press(browser, *keys):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key, key)).perform()


def focused(browser) -> str:
    return browser.switch_to.active_element.text


def rows(browser) -> list[str]:
    return [e.text for e in browser.find_elements("css selector", "#list .row")]


def test_it_opens_sorted_by_errors_and_runs_nothing_from_outside(page):
    assert page.title == "Report"
    assert rows(page)[0] == "bad" and len(rows(page)) == 50
    assert EVIL in page.find_element("id", "list").text or EVIL in rows(page)
    assert not page.find_elements("css selector", "img")
    assert [e for e in page.get_log("browser") if e["level"] == "SEVERE"] == []
    assert page.find_element("id", "count").text == "1 to 50 of 120 utterances"


def test_rows_are_found_opened_and_played_by_keys(page):
    press(page, "/", "bad", "ARROW_DOWN")
    assert rows(page) == ["bad"] and focused(page) == "bad"
    press(page, "ENTER")
    words = page.find_elements("css selector", ".details button.step")
    assert [" ".join(word.accessible_name.replace(" ,", ",").split()) for word in words] == [
        "reference one, hypothesis on, confidence 90%",
        "reference two, hypothesis too, confidence 90%",
        "reference three, hypothesis tree, confidence 90%",
        "reference four, hypothesis for, confidence 90%",
        "deleted: five",
    ]
    press(page, "TAB", "TAB", "TAB")
    assert page.switch_to.active_element == words[2]
    press(page, "ENTER")
    page.set_script_timeout(10)
    at_s = page.execute_async_script(
        "const audio = document.querySelector('audio'), done = arguments[0];"
        "const look = () => audio.currentTime > 0.95 && !audio.paused"
        " ? done(audio.currentTime) : setTimeout(look, 50); look();"
    )
    assert 0.95 < at_s < 3.0
    press(page, "ARROW_RIGHT", "ARROW_RIGHT")  # what was left out: from where "for" ends
    assert page.switch_to.active_element == words[4]
    press(page, "SPACE")
    page.execute_async_script(
        "const audio = document.querySelector('audio'), done = arguments[0];"
        "const look = () => audio.currentTime > 1.84 ? done() : setTimeout(look, 20); look();"
    )
    press(page, "ARROW_LEFT")
    assert page.switch_to.active_element == words[3]
    press(page, "ESCAPE")
    assert focused(page) == "bad"
    press(page, "ARROW_RIGHT")
    assert page.switch_to.active_element == words[0]


def test_an_error_lists_its_utterances(page):
    (common,) = [e for e in page.find_elements("css selector", ".only") if "tree" in e.text]
    assert common.text == "\u2068three\u2069 → \u2068tree\u2069"
    common.send_keys("\n")
    assert page.find_element("id", "count").text == "1 to 50 of 119 utterances"
    assert focused(page) == "bad"
    press(page, "PAGE_DOWN")
    assert page.find_element("id", "count").text == "51 to 100 of 119 utterances"
    page.find_element("css selector", "#chosen button").send_keys("\n")
    assert page.find_element("id", "count").text == "1 to 50 of 120 utterances"
    assert page.switch_to.active_element.get_attribute("id") == "find"


def test_a_group_lists_its_utterances(page):
    (group,) = [e for e in page.find_elements("css selector", ".only") if e.text == "s2"]
    group.send_keys("\n")
    assert page.find_element("id", "count").text == "1 to 39 of 39 utterances"
    assert page.find_element("id", "chosen").text == "✕ only s2" and focused(page) == "u002"
    page.find_element("css selector", "#chosen button").send_keys("\n")
    assert page.find_element("id", "count").text == "1 to 50 of 120 utterances"


def test_the_number_of_found_rows_is_announced(page):
    (note,) = page.find_elements("css selector", "#notes .fault")
    assert note.text == f"Attention: 1 hypotheses are {EVIL}: {EVIL}"
    assert not page.find_elements("css selector", "img") and page.title == "Report"


def test_a_recording_that_is_gone_is_named(browser, tmp_path):
    pairs = [Pair("a", "one two", "one two")]
    words = {"a": [Word("one", 0.0, 0.4, 0.9), Word("two", 0.5, 0.9, 0.9)]}
    soundfile.write(tmp_path / "go ne.wav", np.zeros(16000), 16000)
    gone = {"a": Utterance("a", str(tmp_path / "go ne.wav"), duration_s=1.0)}
    path = write_report(tmp_path / "out", "t", pairs, score(pairs).to_dict(), gone, words)
    (tmp_path / "go ne.wav").unlink()
    browser.get(path.as_uri())
    press(browser, "/", "ARROW_DOWN", "ENTER", "ARROW_RIGHT", "ENTER")
    browser.set_script_timeout(10)
    said = browser.execute_async_script(
        "const done = arguments[0], look = () => { const text ="
        " document.querySelector('.details .fault').textContent;"
        " text ? done(text) : setTimeout(look, 20); }; look();"
    )
    assert said == "The recording cannot be played from ../go ne.wav."


def test_rows_are_walked_sorted_and_turned_by_keys(page):
    press(page, "/", "ARROW_DOWN", "ARROW_DOWN")
    assert focused(page) == rows(page)[1]
    press(page, "ARROW_UP")
    assert focused(page) == "bad"
    press(page, "END")
    assert focused(page) == rows(page)[-1]
    page.find_element("css selector", '[data-sort="id"]').send_keys("\n")
    assert rows(page)[0] == EVIL and rows(page)[1] == "bad"
    assert page.find_element("css selector", 'th[aria-sort="ascending"]').text.startswith("id")
    page.find_element("css selector", '[data-sort="id"]').send_keys("\n")
    assert rows(page)[0] == "u117"
    following = page.find_elements("css selector", "#pages button")[1]
    following.send_keys("\n")
    assert page.find_element("id", "count").text == "51 to 100 of 120 utterances"
    assert focused(page) == rows(page)[0] == "u067"


def test_focus_is_visible_and_the_first_link_skips(page):
    press(page, "TAB")
    link = page.switch_to.active_element
    assert link.text == "Skip to the utterances" and link.rect["x"] >= 0
    assert link.value_of_css_property("outline-style") == "solid"
    press(page, "ENTER", "TAB")
    assert page.switch_to.active_element.get_attribute("id") == "find"


def test_a_narrow_window_does_not_scroll_sideways(page):
    page.set_window_size(420, 900)
    wide = page.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    page.set_window_size(1100, 900)
    assert wide <= 0


def test_hebrew_is_written_from_the_right_and_chinese_from_the_left(browser, tmp_path):
    pairs = [Pair("he", "שלום עולם טוב", "שלום עולם רע"), Pair("zh", "你 好 世 界", "你 好 事 界")]
    path = write_report(tmp_path / "out", "Report", pairs, score(pairs).to_dict(), {}, {}, {})
    browser.get(path.as_uri())
    lefts = {}
    for row in browser.find_elements("css selector", "#list tbody button.row"):
        name = row.text
        row.send_keys("\n")
        steps = browser.find_elements("css selector", "tr.details .steps")[-1]
        lefts[name] = [each.location["x"] for each in steps.find_elements("css selector", ".step")]
        row.send_keys("\n")
    assert lefts["he"] == sorted(lefts["he"], reverse=True) and len(set(lefts["he"])) == 3
    assert lefts["zh"] == sorted(lefts["zh"]) and len(set(lefts["zh"])) == 4
