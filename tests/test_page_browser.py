"""The page in a real browser: files, a microphone, corrections; with the keyboard alone."""

import json
import time

import numpy as np
import pytest
import soundfile
from browsing import chromium
from serving import served
from test_stream import RATE_HZ, said, save_streaming_model

from asr.data import manifest
from asr.recognition.recognizer import load
from asr.server.auth import Tokens
from asr.server.page.corrections import CorrectionFolder

pytestmark = pytest.mark.slow
NAME = "asr.test"  # this machine, under a name that browsers do not trust with a microphone


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """8 s of sound, which the untrained model takes for words; also what the microphone hears."""
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    soundfile.write(path, said(8.0, 3), RATE_HZ, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.asr"
    save_streaming_model(path)
    return load(path, "cpu")


@pytest.fixture(scope="module")
def server(recognizer, model_file, tmp_path_factory):
    models = {"live": recognizer, "whole": load(model_file, "cpu")}
    with served(models, tmp_path_factory.mktemp("spool")) as running:
        running.service.corrections = CorrectionFolder(tmp_path_factory.mktemp("corrected"))
        yield running


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, recording, downloads):
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
    )
    with chromium(tmp_path_factory.mktemp("profile"), *flags, downloads=downloads) as running:
        yield running


@pytest.fixture
def page(browser, server):
    browser.get(server.url)
    until(lambda: browser.find_elements("css selector", "#model option"))
    browser.get_log("browser")
    yield browser
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def until(found, limit_s=120.0):
    """What `found` returns, as soon as it is true."""
    end = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return value


def text(page, id) -> str:
    return page.find_element("id", id).text


def words(page) -> list:
    return page.find_elements("css selector", ".word")


def shown(page) -> list[str]:
    script = "return [...document.querySelectorAll('.word')].map((w) => w.firstChild.textContent)"
    return page.execute_script(script)


def press(page, *keys):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(page).send_keys(getattr(Keys, key, key)).perform()


def focus(page):
    return page.switch_to.active_element


def tab_to(page, id, backwards=False):
    """Move by Tab alone, from wherever the focus is."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    for _ in range(40):
        if focus(page).get_attribute("id") == id:
            return
        chain = ActionChains(page)
        if backwards:
            chain.key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        else:
            chain.send_keys(Keys.TAB).perform()
    raise AssertionError(f"#{id} cannot be reached by Tab")


def transcribe(page, recording):
    page.find_element("id", "file").send_keys(str(recording))
    until(lambda: "utterance" in text(page, "status"))


def plays_from(page, at_s, until_s) -> None:
    """Wait until the player pauses by itself; it must have played this stretch."""
    page.set_script_timeout(60)
    heard = page.execute_async_script(
        "const player = document.querySelector('audio'), done = arguments[0]; const times = [];"
        "const look = () => { times.push(player.currentTime); player.paused && times.length > 3"
        " ? done(times) : setTimeout(look, 20); }; look();"
    )
    assert at_s - 0.3 <= min(heard) and until_s <= max(heard) <= until_s + 1.0


def test_a_file_is_transcribed_as_the_library_does(page, recognizer, recording):
    transcribe(page, recording)
    expected = recognizer.transcribe(str(recording))
    assert shown(page) == [word.text for word in expected.words]
    assert f"{len(expected.words)} words" in text(page, "status")
    lines = page.find_elements("css selector", "#segments li")
    assert len(lines) == len(expected.segments)
    announced = page.find_element("css selector", "#heard").get_attribute("textContent")
    assert "".join(segment.text for segment in expected.segments) == announced


def test_words_are_walked_heard_and_corrected_by_keys(page, server, recognizer, recording):
    transcribe(page, recording)
    expected = recognizer.transcribe(str(recording)).words
    page.find_element("id", "transcript").send_keys("")
    press(page, "TAB")
    assert focus(page) == words(page)[0]
    press(page, "ARROW_RIGHT", "ARROW_RIGHT")
    assert focus(page) == words(page)[2]
    assert f"“{expected[2].text}”" in text(page, "selected")
    press(page, "ENTER")
    plays_from(page, expected[2].start_s, expected[2].end_s)
    press(page, "F2")
    assert focus(page).accessible_name == f"Correct “{expected[2].text}”"
    press(page, "right  words", "ENTER")
    assert focus(page) == words(page)[2] and shown(page)[2] == "right words"
    assert f"corrected from {expected[2].text}" in focus(page).accessible_name
    press(page, "ARROW_RIGHT", "F2", "x", "ESCAPE")  # dropped
    assert shown(page)[3] == expected[3].text
    press(page, "F2", "BACKSPACE", "ENTER")
    assert "removed" in focus(page).accessible_name
    press(page, "END")
    assert focus(page) == words(page)[-1]
    press(page, "ARROW_DOWN", "HOME")
    assert focus(page) == words(page)[0]
    tab_to(page, "speaker")
    press(page, "ann", "TAB")
    assert focus(page).text.startswith("Save ")
    press(page, "ENTER")
    until(lambda: "saved in" in text(page, "status"))
    found = manifest.read(server.service.corrections.manifest)
    assert all(row.speaker == "ann" for row in found)
    assert any("right words" in row.text for row in found)


def test_a_transcript_with_corrections_is_downloaded(page, recording, downloads):
    transcribe(page, recording)
    first = words(page)[0]
    first.click()
    press(page, "F2", "good", "ENTER")
    for format in ("txt", "srt", "vtt", "json"):
        page.find_element("css selector", f"[data-format={format}]").send_keys("\n")
        path = downloads / f"talk.{format}"
        until(path.exists)
        assert "good" in until(path.read_text)
    assert json.loads((downloads / "talk.json").read_text())["text"].startswith("good ")


def test_a_microphone_is_written_down_while_it_hears(page, recognizer):
    page.find_element("css selector", ".skip").send_keys("")
    tab_to(page, "record")
    press(page, "ENTER")
    until(lambda: focus(page).text == "Stop" or "Stop" in text(page, "record"))
    until(lambda: text(page, "partial") or words(page))  # before the end
    until(lambda: words(page))
    page.find_element("id", "record").send_keys("\n")
    until(lambda: "utterance" in text(page, "status"))
    assert text(page, "record") == "Record" and text(page, "fault") == ""
    assert not text(page, "partial")
    duration_s = until(
        lambda: page.execute_script("return document.querySelector('audio').duration")
    )
    assert duration_s > 1.0
    last = words(page)[-1]
    last.click()
    page.set_script_timeout(10)
    until(lambda: page.execute_script("return document.querySelector('audio').currentTime > 0"))


def test_a_bidirectional_model_says_that_text_comes_at_pauses(page):
    assert not page.find_element("id", "microphone").is_displayed()
    page.find_element("css selector", "#model option[value=whole]").click()
    assert "at each pause" in text(page, "microphone")


def test_a_page_that_is_not_local_says_what_a_microphone_needs(browser, server):
    browser.get(server.url.replace("127.0.0.1", NAME))
    until(lambda: browser.find_elements("css selector", "#model option"))
    until(lambda: browser.find_element("id", "microphone").is_displayed())
    assert "localhost or over HTTPS" in text(browser, "microphone")
    assert not browser.find_element("id", "record").is_enabled()


def test_errors_name_the_file_and_the_page_goes_on(page, recording, tmp_path):
    (tmp_path / "notes.wav").write_text("no audio")
    page.find_element("id", "file").send_keys(str(tmp_path / "notes.wav"))
    until(lambda: "notes.wav" in text(page, "fault"))
    page.get_log("browser")  # the status 400
    transcribe(page, recording)
    assert text(page, "fault") == ""


def test_a_token_is_asked_for(browser, recognizer, tmp_path):
    with served({"live": recognizer}, tmp_path, tokens=Tokens((b"secret",))) as server:
        browser.get(server.url)
        until(lambda: focus(browser).get_attribute("id") == "token")
        press(browser, "wrong", "ENTER")
        until(lambda: "refused" in text(browser, "refused"))
        browser.find_element("id", "token").clear()
        browser.find_element("id", "token").send_keys("secret\n")
        until(lambda: browser.find_elements("css selector", "#model option"))
        assert not browser.find_element("id", "sign-in").is_displayed()


def test_every_control_has_a_name_and_focus_is_visible(page, recording):
    transcribe(page, recording)
    controls = page.find_elements("css selector", "button, input, select, audio")
    assert len(controls) > 20
    for control in controls:
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    page.execute_script("document.activeElement.blur()")
    press(page, "TAB")
    link = focus(page)
    assert link.text == "Skip to the transcript" and link.rect["x"] >= 0
    assert link.value_of_css_property("outline-style") == "solid"
    press(page, "ENTER", "TAB")
    assert focus(page) == words(page)[0]
    assert page.find_element("id", "status").aria_role == "status"


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2 of a color such as rgb(1, 2, 3)."""
    values = color[color.index("(") + 1 : color.index(")")].split(",")[:3]
    share = np.array([float(value) for value in values]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_a_narrow_window_does_not_scroll_sideways(page, recording, scheme):
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    transcribe(page, recording)
    body = page.find_element("css selector", "body")
    backdrop = luminance(body.value_of_css_property("background-color"))
    assert (backdrop < 0.2) == (scheme == "dark")
    for selector in ("body", ".hint", ".at", ".word", "#status", "label"):
        color = page.find_element("css selector", selector).value_of_css_property("color")
        lighter, darker = sorted((luminance(color), backdrop), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, selector
    page.set_window_size(500, 900)
    frame = "document.documentElement.style.width = '360px'"  # windows have a least width
    page.execute_script(frame)
    wide = page.execute_script("return document.body.scrollWidth - 360")
    page.set_window_size(1100, 900)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert wide <= 0
