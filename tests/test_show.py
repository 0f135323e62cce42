"""Pictures of a recording: their content in seconds and hertz, and error messages."""

import io
import math
import re
import sys
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise
from PIL import Image
from typer.testing import CliRunner

from asr.cli import app, pictures, terminal
from asr.config import AugmentConfig, FeatureConfig, parse
from asr.errors import UserError
from asr.model.features import Features
from asr.model.model_file import Model
from asr.plotting import figures
from asr.plotting.recording import IN_TERMINAL, OF_MODEL, OF_SOUND, inside, model, sound
from asr.plotting.recording.batch import as_batch
from asr.plotting.recording.excerpt import Excerpt, read
from asr.plotting.recording.pictures import draw
from asr.recognition.recognizer import Recognizer, load
from asr.text.tokenizer import BLANK, CharacterTokenizer

ROOT = Path(__file__).parent.parent
RATE_HZ = 16000


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """Half a second of a loud 500 Hz tone, then half a second of a soft 6000 Hz tone."""
    path = tmp_path_factory.mktemp("show") / "tones.wav"
    time_s = np.arange(RATE_HZ // 2) / RATE_HZ
    low, high = (np.sin(2 * np.pi * hertz * time_s) for hertz in (500, 6000))
    soundfile.write(path, np.concatenate([0.5 * low, 0.05 * high]), RATE_HZ)
    return path


@pytest.fixture(scope="module")
def excerpt(tones) -> Excerpt:
    return read(tones)


@pytest.fixture(scope="module")
def recognizer(model_file) -> Recognizer:
    return load(model_file, "cpu")


@pytest.fixture(scope="module")
def speech(recordings, recognizer) -> Excerpt:
    return read(recordings / "r4.wav", recognizer.config)


def image_of(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


# ---- the sound ----------------------------------------------------------------------------------


def test_a_waveform_shows_every_sample_at_its_second(tones, excerpt):
    whole, near, nearest = draw("waveform", excerpt).figure.axes
    samples, _ = soundfile.read(tones, dtype="float32")
    line = whole.lines[-1]
    np.testing.assert_array_equal(line.get_ydata(), samples)
    np.testing.assert_allclose(line.get_xdata(), np.arange(len(samples)) / RATE_HZ)
    assert whole.get_xlim() == (0.0, 1.0)
    left, right = near.get_xlim()
    assert right - left == pytest.approx(sound.NEAR_S) and 0 <= left < 0.5  # the loud half
    left, right = nearest.get_xlim()
    dots = nearest.lines[-1]
    assert len(dots.get_xdata()) == pytest.approx(sound.NEAREST_S * RATE_HZ, abs=1)
    assert (dots.get_xdata() >= left).all() and (dots.get_xdata() < right).all()


def test_an_excerpt_keeps_the_seconds_of_the_file(tones):
    later = read(tones, start_s=0.4, duration_s=0.3)
    samples, _ = soundfile.read(tones, dtype="float32")
    np.testing.assert_array_equal(later.samples, samples[6400:11200])
    for name in ("waveform", "spectrogram", "log-mel"):
        axes = draw(name, later).figure.axes[0]
        assert axes.get_xlim() == pytest.approx((0.4, 0.7))
        wave = axes.lines[1].get_xdata()
        assert (wave[0], wave[-1]) == pytest.approx((0.4, 0.7), abs=1e-4)


def test_the_spectrum_names_the_vowel_like_and_the_hiss_like_moment(excerpt):
    picture = draw("spectrum", excerpt)
    strongest = []
    for axes in picture.figure.axes[1::2]:
        hertz, power = axes.lines[0].get_data()
        assert axes.get_xlim() == (0, 8000)
        strongest.append(hertz[power.argmax()])
    assert strongest == pytest.approx([500, 6000], abs=40)
    vowel_s, hiss_s = map(float, re.findall(r"([\d.]+) s", picture.caption))
    assert vowel_s < 0.5 < hiss_s


def test_the_spectrogram_is_that_of_the_features_in_decibels(excerpt):
    axes = draw("spectrogram", excerpt).figure.axes[1]
    power = Features(FeatureConfig(kind="spectrogram", dither=0)).power(
        torch.from_numpy(excerpt.samples)[None]
    )[0]
    decibels = 10 * torch.log10(power.clamp(min=1e-8))
    np.testing.assert_allclose(image_of(axes), decibels - decibels.max(), atol=0.1)
    left, right, bottom, top = axes.images[0].get_extent()
    assert (left, right) == pytest.approx((-0.005, 1.005))  # frames are centered on 0, 10, ... ms
    assert (bottom, top) == (0, 8000)
    assert axes.get_xlim() == (0.0, 1.0)
    column = image_of(axes)[:, 25]
    assert np.linspace(0, 8000, len(column))[column.argmax()] == pytest.approx(500, abs=40)


def test_mel_bands_are_labelled_with_the_hertz_they_hold(excerpt):
    axes = draw("log-mel", excerpt).figure.axes[1]
    labels = {float(tick.get_text()): place for tick, place in zip(
        axes.get_yticklabels(), axes.get_yticks(), strict=True
    )}  # fmt: skip
    for hertz in (250, 500, 1000, 4000):
        time_s = np.arange(RATE_HZ) / RATE_HZ
        tone = np.sin(2 * np.pi * hertz * time_s).astype(np.float32)
        recognized = Excerpt("tone", tone, 0.0, excerpt.features).log_mel
        assert labels[hertz] == pytest.approx(recognized[50].argmax(), abs=1.01)


def test_the_mel_filters_are_those_of_the_features(excerpt):
    axes = draw("mel", excerpt).figure.axes[1]
    filters = Features(FeatureConfig()).mel.fb.T.numpy()
    np.testing.assert_allclose([line.get_ydata() for line in axes.lines], filters, atol=1e-5)
    assert axes.get_xlim() == (0, 8000)


# ---- augmentation -------------------------------------------------------------------------------


def test_augmentation_shows_what_the_configuration_asks_for(speech):
    config = AugmentConfig(speed=[1.0, 0.5], pad_silence_s=0.2, gain_db=6, noise_p=0.1)
    excerpt = Excerpt("a", speech.samples, 0.0, speech.features, config)
    axes = draw("augment", excerpt).figure.axes
    titles = [one.get_title(loc="left").partition(":")[0] for one in axes[::2]]
    assert titles == ["original", "speed 0.5", "silence padding", "noise", "gain"]
    original, slow, quiet, noisy, loud = (one.lines[-1].get_ydata() for one in axes[::2])
    np.testing.assert_array_equal(original, speech.samples)
    assert len(slow) == 2 * len(original)
    assert len(original) < len(quiet) < len(slow)
    assert not np.allclose(noisy, original)
    ratio = np.median(loud[original != 0] / original[original != 0])
    assert ratio != 1 and abs(20 * math.log10(ratio)) <= 6
    np.testing.assert_allclose(loud, ratio * original, atol=1e-6)
    assert len({one.get_xlim() for one in axes}) == 1


def test_voices_show_each_kind_that_the_configuration_asks_for(speech):
    asked = {"tempo": (0.5, 1.0), "vtlp": 0.2, "noise_floor_p": 0.1}
    excerpt = Excerpt("a", speech.samples, 0.0, speech.features, AugmentConfig(**asked))
    state = torch.get_rng_state()
    axes = draw("voices", excerpt).figure.axes
    assert torch.equal(torch.get_rng_state(), state)
    titles = [one.get_title(loc="left").partition(":")[0] for one in axes]
    assert titles == ["original", "tempo 0.5", "vocal tract", "noise floor"]
    original, slow, warped, noisy = map(image_of, axes)
    assert slow.shape[1] == 2 * original.shape[1]
    assert warped.shape == original.shape and not np.allclose(warped, original)
    assert (noisy >= original - 1e-3).all() and not np.allclose(noisy, original)
    plain = Excerpt("a", speech.samples, 0.0, speech.features, AugmentConfig())
    assert len(draw("voices", plain).figure.axes) == 1


def test_spec_augment_hides_and_changes_nothing_else(speech):
    state = torch.get_rng_state()
    before, after = (image_of(axes) for axes in draw("spec-augment", speech).figure.axes[:2])
    assert torch.equal(torch.get_rng_state(), state)
    hidden = before != after
    assert 0 < hidden.mean() < 0.9
    assert (after[hidden] == 0).all()
    np.testing.assert_allclose(before.mean(axis=1), 0, atol=1e-4)  # (F, T): each band normalized


# ---- the model ----------------------------------------------------------------------------------


def test_feature_maps_are_what_the_convolutions_give(speech, recognizer):
    maps = inside.feature_maps(speech, recognizer)
    front_end = recognizer.emitter.acoustic.front_end
    features, frames = recognizer.emitter.features.eval()(*as_batch(speech.samples))
    assert len(maps) == len(front_end.convolutions)
    with torch.no_grad():
        projected = front_end.project(torch.from_numpy(maps[-1])[None].transpose(1, 2).flatten(2))
        torch.testing.assert_close(projected, front_end(features, frames)[0])
    axes = draw("cnn", speech, recognizer).figure.axes
    shown = [one for one in axes if one.get_title(loc="left").startswith("channel")]
    assert len(shown) == 2 * inside.COLUMNS
    for number, one in enumerate(shown):
        channel = int(one.get_title(loc="left").split()[1])
        np.testing.assert_array_equal(image_of(one), maps[number // inside.COLUMNS][channel].T)
        assert one.get_xlim() == pytest.approx((0.0, speech.end_s))


def test_deepspeech2_shows_the_inputs_of_its_recurrences(speech, tiny_config):
    values = tiny_config.model_dump(mode="json") | {
        "model": {"preset": "deepspeech2", "layers": 1, "hidden": 8, "channels": 4}
    }
    other = Recognizer(Model.build(parse(values, "other"), CharacterTokenizer("ab")), "cpu")
    given: list[torch.Tensor] = []
    other.emitter.acoustic.layers[0].register_forward_pre_hook(
        lambda _, inputs: given.append(inputs[0])
    )
    maps = inside.feature_maps(speech, other)
    np.testing.assert_array_equal(
        given[0][0], maps[-1].transpose(1, 0, 2).reshape(len(given[0][0]), -1)
    )
    assert "convolution 2 has 4 channels" in draw("cnn", speech, other).caption


def test_emissions_show_probabilities_and_the_words_under_them(speech, recognizer):
    sound_axes, lines, words = draw("emissions", speech, recognizer).figure.axes
    (log_probs,) = recognizer.emissions([speech.samples]).rows()
    hypothesis = recognizer.decode(log_probs)[0]
    pieces = recognizer.tokenizer.pieces
    drawn = {patch.get_label(): patch.get_data() for patch in lines.patches if patch.get_label()}
    for token in {BLANK, *hypothesis.tokens}:
        values, edges, _ = drawn["blank" if token == BLANK else pieces[token]]
        np.testing.assert_allclose(values, np.exp(log_probs[:, token]))
        np.testing.assert_allclose(edges, recognizer.frame_s * np.arange(len(log_probs) + 1))
    assert [text.get_text().split("\n")[0] for text in words.texts] == hypothesis.text.split()
    for bar, word in zip(words.collections, hypothesis.words, strict=True):
        (path,) = bar.get_paths()
        assert path.vertices[:, 0].min() == pytest.approx(word.start_s)
        assert path.vertices[:, 0].max() == pytest.approx(word.end_s)
    assert sound_axes.get_xlim() == lines.get_xlim() == words.get_xlim()
    assert lines.get_xlim() == pytest.approx((0, speech.end_s))


def test_the_path_of_the_alignment_reads_as_the_text(speech, recognizer):
    recognized = model.recognize(speech, recognizer)
    trellis = draw("alignment", speech, recognizer).figure.axes[1]
    _, rows = trellis.lines[-1].get_data()
    states = 2 * len(recognized.alignment.tokens) - np.asarray(rows)  # from the top
    assert (np.diff(states) >= 0).all() and (np.diff(states) <= 2).all()
    tokens = [
        BLANK if state % 2 == 0 else recognized.alignment.tokens[state // 2] for state in states
    ]
    read = [token for token, _ in groupby(tokens) if token != BLANK]
    assert read == list(recognized.hypothesis.tokens)
    score = sum(row[token] for row, token in zip(recognized.log_probs, tokens, strict=True))
    assert score == pytest.approx(recognized.alignment.score, abs=1e-3)
    probabilities = image_of(trellis)[::-1]  # (states, T), the first at the top
    of_states = np.full(len(probabilities), BLANK)
    of_states[1::2] = recognized.hypothesis.tokens
    expected = np.exp(recognized.log_probs[:, of_states]).T
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-30)


def test_the_probability_of_the_text_is_the_sum_over_its_paths(recognizer):
    samples = noise(0.2, seed=4)
    recognized = model.recognize(Excerpt("a", samples, 0.0, recognizer.config.features), recognizer)
    assert recognized.hypothesis.tokens
    tokens = {BLANK, *recognized.hypothesis.tokens}
    total = sum(
        math.exp(sum(row[token] for row, token in zip(recognized.log_probs, path, strict=True)))
        for path in product(tokens, repeat=len(recognized.log_probs))
        if tuple(token for token, _ in groupby(path) if token != BLANK)
        == recognized.hypothesis.tokens
    )
    assert recognized.total == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("name", OF_SOUND + OF_MODEL)
def test_a_very_short_recording_is_drawn(name, recognizer):
    moment = noise(0.02)
    excerpt = Excerpt("moment", moment, 0.0, recognizer.config.features)
    assert draw(name, excerpt, recognizer).caption


# ---- files --------------------------------------------------------------------------------------


def test_files_are_png_or_svg_by_their_suffix_and_the_same_each_time(excerpt, tmp_path):
    for suffix in ("png", "svg"):
        files = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for file in files:
            figures.save(file, draw("log-mel", excerpt).figure)
        assert files[0].read_bytes() == files[1].read_bytes()
    assert Image.open(tmp_path / "0.png").size[0] > 800
    assert "<svg" in (tmp_path / "0.svg").read_text()
    with pytest.raises(UserError, match=r"a\.jpg: unknown format of a plot"):
        figures.save(tmp_path / "a.jpg", draw("log-mel", excerpt).figure)


# ---- the terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("name", IN_TERMINAL)
def test_a_terminal_shows_no_line_longer_than_it_is_wide(name, color, speech, recognizer):
    for width in (40, 100):
        text = terminal.view(name, speech, recognizer, width, color).plain
        assert max(map(len, text.splitlines())) <= width
        assert text.splitlines()[-1].split() == ["0.00", "s", f"{speech.end_s:.2f}", "s"]


def test_a_terminal_shows_a_tone_where_it_sounds(excerpt):
    lines = terminal.view("spectrogram", excerpt, None, 89, color=False).plain.splitlines()
    brightest = [max(lines[:-1], key=lambda line: line[at] == "█") for at in (20, 30)]
    assert brightest == [lines[13], lines[13]]  # 500 Hz, of 571 Hz a line
    assert lines[3][70] == "▓"  # 6000 Hz, 20 dB softer
    assert lines[3][30] == " "


def test_fit_keeps_the_greatest(excerpt):
    levels = np.array([[0.0, 1.0, 0.2, 0.3, 0.9, 0.1]])
    np.testing.assert_array_equal(terminal.fit(levels, 3, axis=1), [[1.0, 0.3, 0.9]])
    np.testing.assert_array_equal(terminal.fit(levels[:, :2], 4, axis=1), [[0, 0, 1, 1]])


# ---- the command --------------------------------------------------------------------------------


def show(*arguments):
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def test_a_folder_gets_every_picture_even_of_silence(model_file, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    done = show(tmp_path / "silence.wav", "--model", model_file, "-o", tmp_path / "all")
    assert done.exit_code == 0, done.output
    assert {file.stem for file in (tmp_path / "all").iterdir()} == {*OF_SOUND, *OF_MODEL}
    assert len(done.stdout.splitlines()) == len(OF_SOUND + OF_MODEL)
    assert "nan" not in done.output


def test_without_a_model_there_are_the_pictures_of_the_sound():
    assert pictures._usual(None, Path("folder")) == [*OF_SOUND]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "cnn", "-o", "a.png"], "cnn: this picture needs a model; add --model"),
        (["--what", "spectrum"], "spectrum: cannot be drawn in a terminal; add -o spectrum.png"),
        (["-o", "a.jpg"], "a.jpg: unknown format of a plot; give it the suffix .png or .svg"),
        (["--what", "mel", "--what", "log-mel", "-o", "a.png"], "one file for 2 pictures"),
        (["--start", "5"], "no samples between 5 s and the end"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = show(tones, *arguments).exception
    assert isinstance(error, UserError) and message in str(error) and "\n" not in str(error)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_terminal_still_works_and_files_say_how(
    tones, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, module, None)
    done = show(tones)
    assert done.exit_code == 0 and "8000 Hz" in done.stdout
    error = show(tones, "-o", tmp_path / "a.png").exception
    assert isinstance(error, UserError)
    assert str(error) == "plots need matplotlib: pip install 'asr[plots]'"
    assert not (tmp_path / "a.png").exists()


# ---- the guide ----------------------------------------------------------------------------------


def test_each_picture_of_the_guide_is_made_by_a_command_in_it():
    page = (ROOT / "docs/from-sound-to-text.md").read_text()
    shown = re.findall(r"!\[([^\]]+)\]\((pictures/[^)]+)\)", page)
    assert [path for _, path in shown] == re.findall(r"-o docs/(pictures/\S+)", page)
    for text, path in shown:
        assert len(text) > 50  # what a reader who cannot see it would miss
        file = ROOT / "docs" / path
        assert file.stat().st_size < 80_000
        Image.open(io.BytesIO(file.read_bytes())).verify()


def test_every_picture_is_shown_on_some_page():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {path for page in pages for path in re.findall(r"pictures/(\S+)\)", page.read_text())}
    assert shown == {file.name for file in (ROOT / "docs/pictures").iterdir()}
