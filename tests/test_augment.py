"""Augmentation: configured ratios, times and levels that do not change, reproducible results."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AugmentConfig, SpecAugmentConfig, parse
from asr.data.augment import WaveformAugment, fast_length
from asr.data.loader import SpeechDataset, load_batches
from asr.data.manifest import Utterance
from asr.data.sampler import UtteranceDraw, split_batch
from asr.errors import UserError
from asr.model.spec_augment import SpecAugment
from asr.text.tokenizer import CharacterTokenizer

RATE_HZ = 16000


def only(**values) -> AugmentConfig:
    """A configuration with only these settings; augmentation that is on by default is off."""
    return AugmentConfig(pad_silence_s=0, **values)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def decibels(ratio):
    return 10 * np.log10(float(ratio))


def power(samples):
    return samples.square().mean()


def lag(a, b):
    """The delay of b relative to a in samples: the maximum of their cross-correlation."""
    size = fast_length(len(a) + len(b))
    found = torch.fft.irfft(torch.fft.rfft(a, size).conj() * torch.fft.rfft(b, size), size)
    at = int(found.argmax())
    return at if at < size // 2 else at - size


def speech(duration_s=2.0, seed=0, rate_hz=RATE_HZ):
    return torch.from_numpy(noise(duration_s, seed, rate_hz))


def test_silence_is_added_around_the_speech():
    said = speech(1.0)
    augment, lengths = WaveformAugment(AugmentConfig(pad_silence_s=0.3), RATE_HZ), set()
    for seed in range(20):
        found = augment(said, seeded(seed))
        before = lag(said, found)
        assert 0 <= before <= 4800 and len(said) + before <= len(found) <= len(said) + 9600
        assert torch.equal(found[before : before + len(said)], said)
        around = torch.cat([found[:before], found[before + len(said) :]])
        assert -83 < decibels(power(around) / power(said)) < -27
        lengths.add(len(found))
    assert len(lengths) > 15


def test_edges_are_padded_with_the_given_probability():
    said, tight = speech(0.5), 0
    augment = WaveformAugment(AugmentConfig(pad_silence_s=0.3, pad_silence_p=0.5), RATE_HZ)
    for seed in range(60):
        found = augment(said, seeded(seed))
        before = lag(said, found)
        assert torch.equal(found[before : before + len(said)], said)
        tight += (before == 0) + (len(found) == before + len(said))
    assert 45 <= tight <= 75  # of 120 edges


@pytest.fixture
def noises(tmp_path):
    """A folder with a short and a long file of noise at different rates; one is stereo."""
    folder = tmp_path / "noises"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "short.wav", noise(0.3, 1, 8000), 8000)
    both = np.stack([noise(6.0, 2, 44100), noise(6.0, 3, 44100)], axis=1)
    soundfile.write(folder / "deep/long.flac", both, 44100)
    return folder


def impulse_response(rate_hz, before_s=0.02, seed=0):
    """Two channels; the direct sound of the first after `before_s`, of the other 3 ms later."""
    draw = np.random.default_rng(seed)
    time_s = np.arange(round(0.4 * rate_hz)) / rate_hz
    room = draw.standard_normal((len(time_s), 2)) * 10 ** (-3 * time_s[:, None] / 0.4)
    room *= 0.6 / np.linalg.norm(room[:, 0])
    at = round(before_s * rate_hz)
    room[:at] = 1e-4 * draw.standard_normal((at, 2))
    room[at, 0] = room[at + round(0.003 * rate_hz), 1] = 0.9
    return room


@pytest.fixture
def rooms(tmp_path):
    folder = tmp_path / "rooms"
    folder.mkdir()
    for i, rate_hz in enumerate((8000, 16000, 48000)):
        soundfile.write(folder / f"{i}.wav", impulse_response(rate_hz, seed=i), rate_hz)
    return folder


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("snr_db", [-5, 10, 30])
@pytest.mark.parametrize("duration_s", [0.1, 1.0007, 3.0])
def test_noise_has_the_configured_snr(noises, recorded, snr_db, duration_s):
    folder = str(noises) if recorded else None
    config = only(noise_p=1, noise_snr_db=(snr_db, snr_db), noise_folder=folder)
    augment, samples = WaveformAugment(config, RATE_HZ), speech(duration_s)
    for seed in range(4):
        added = augment(samples, seeded(seed)) - samples
        assert decibels(power(samples) / power(added)) == pytest.approx(snr_db, abs=0.05)


def test_ratios_are_drawn_from_the_range():
    config = only(noise_p=1, noise_snr_db=(5, 25))
    augment, samples = WaveformAugment(config, RATE_HZ), speech(0.5)
    found = [
        decibels(power(samples) / power(augment(samples, seeded(seed)) - samples))
        for seed in range(60)
    ]
    assert 5 <= min(found) < 8 and 22 < max(found) <= 25.01


def test_generated_noise_is_colored():
    """Power falls by 0 dB (white) to 6 dB (brown) per octave."""
    augment = WaveformAugment(only(noise_p=1, noise_snr_db=(0, 0)), RATE_HZ)
    falls = []
    for seed in range(40):
        samples = torch.zeros(RATE_HZ)
        samples[0] = 1.0  # of little power beside the noise, in every bin alike
        spectrum = torch.fft.rfft(augment(samples, seeded(seed)) - samples).abs().square()
        falls.append(decibels(spectrum[500:1000].mean() / spectrum[4000:8000].mean()) / 3)
    assert -0.5 < min(falls) < 1 and 5 < max(falls) < 6.5


def test_recorded_noise_comes_from_the_files(tmp_path):
    """A random segment of a long file; a short file is repeated."""
    ramp = np.linspace(0.01, 0.9, 5 * RATE_HZ, dtype=np.float32)  # each value stands for its place
    soundfile.write(tmp_path / "long.wav", ramp, RATE_HZ, "FLOAT")
    config = only(noise_p=1, noise_snr_db=(0, 0), noise_folder=str(tmp_path))
    augment, silence_but_one = WaveformAugment(config, RATE_HZ), torch.zeros(2 * RATE_HZ)
    silence_but_one[0] = 1.0
    steps = torch.from_numpy(ramp).diff()
    starts = []
    for seed in range(30):
        added = augment(silence_but_one, seeded(seed))
        gain = added[2:].diff().mean() / steps.mean()
        assert torch.allclose(added[2:].diff(), gain * steps.mean(), rtol=0.1, atol=1e-6)
        starts.append(float((added[2] / gain - ramp[2]) / steps.mean() / RATE_HZ))
    assert -0.01 <= min(starts) < 0.5 and 2.5 < max(starts) <= 3.01  # seconds into the file

    soundfile.write(tmp_path / "long.wav", ramp[: RATE_HZ // 4], RATE_HZ, "FLOAT")
    added = WaveformAugment(config, RATE_HZ)(silence_but_one, seeded(0))
    period = RATE_HZ // 4
    assert torch.allclose(added[1:-period], added[1 + period :], atol=1e-6)
    assert not torch.allclose(added[1:-100], added[101:], atol=1e-6)
    drops = {
        int(WaveformAugment(config, RATE_HZ)(silence_but_one, seeded(seed))[1:period].argmax())
        for seed in range(5)
    }
    assert len(drops) == 5  # it begins anywhere in the file


def test_silence_stays_finite(noises, rooms):
    config = only(
        noise_p=1, noise_folder=str(noises), reverb_p=1, reverb_folder=str(rooms), codec_p=1
    )
    assert torch.isfinite(WaveformAugment(config, RATE_HZ)(torch.zeros(4000), seeded(0))).all()


MOVES_NOTHING = {
    "simulated rooms": {"reverb_p": 1},
    "recorded rooms": {"reverb_p": 1, "reverb_folder": "rooms"},
    "noise": {"noise_p": 1},
    "recorded noise": {"noise_p": 1, "noise_folder": "noises"},
    "telephone": {"telephone_p": 1},
    "codecs": {"codec_p": 1},
}


@pytest.mark.parametrize("name", MOVES_NOTHING)
@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050])
def test_length_time_and_level_do_not_change(noises, rooms, monkeypatch, name, rate_hz):
    """By cross-correlation with the original, times move by at most half a millisecond."""
    monkeypatch.chdir(noises.parent)
    augment = WaveformAugment(only(**MOVES_NOTHING[name]), rate_hz)
    for seed in range(8):
        samples = speech(1.0 + 0.01237 * seed, seed, rate_hz)
        changed = augment(samples, seeded(seed))
        assert changed.shape == samples.shape and changed.dtype == torch.float32
        assert abs(lag(samples, changed)) <= 0.0005 * rate_hz
        if "rooms" in name:
            assert decibels(power(changed) / power(samples)) == pytest.approx(0, abs=0.01)
        else:
            assert abs(decibels(power(changed) / power(samples))) < 6  # bands that are cut count


def test_a_recorded_room_uses_its_first_channel(tmp_path):
    """Compared with the definition of convolution, starting at the direct sound."""
    room = impulse_response(8000)
    soundfile.write(tmp_path / "room.wav", room, 8000, "FLOAT")
    config = only(reverb_p=1, reverb_folder=str(tmp_path))
    samples = speech(0.2, 0, 8000)
    direct = round(0.02 * 8000)
    expected = np.convolve(samples.numpy(), room[:, 0])[direct : direct + len(samples)]
    expected *= np.sqrt(power(samples).item() / np.square(expected).mean())
    found = WaveformAugment(config, 8000)(samples, seeded(0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_every_codec_loses_something_and_clips_nothing():
    augment, samples = WaveformAugment(only(codec_p=1), RATE_HZ), 10 * speech(1.0)
    found = [augment(samples, seeded(seed)) for seed in range(20)]
    for changed in found:
        lost = decibels(power(samples) / power(changed - samples))
        assert -3 < lost < 40
        assert changed.abs().max() > 0.6 * samples.abs().max()
    # Ogg Opus at so few bits has nothing near 8 kHz, Vorbis has: more than one codec is drawn.
    spectra = torch.stack([torch.fft.rfft(one).abs().square() for one in found])
    high = spectra[:, 7000:].mean(1) / spectra[:, 500:3000].mean(1)
    assert high.max() > 20 * high.min()


def test_extreme_utterances_are_augmented(noises, rooms):
    config = only(
        noise_p=1,
        noise_folder=str(noises),
        reverb_p=1,
        reverb_folder=str(rooms),
        codec_p=1,
        telephone_p=1,
    )
    for rate_hz in (4000, 11025, 44100, 96000):
        augment = WaveformAugment(config, rate_hz)
        for n in (rate_hz // 20, 1 + rate_hz // 7, 4999):
            samples = speech(1.0, 0, rate_hz)[:n]
            for seed in range(3):
                changed = augment(samples, seeded(seed))
                assert changed.shape == samples.shape and torch.isfinite(changed).all()


def test_any_number_of_workers_augments_alike(noises, rooms, recordings):
    values = {
        "name": "t",
        "augment": {
            "noise_p": 0.7,
            "noise_folder": str(noises),
            "reverb_p": 0.7,
            "reverb_folder": str(rooms),
            "codec_p": 0.7,
        },
    }
    utterances = [Utterance(str(i), str(recordings / f"r{i}.wav"), text="a") for i in range(8)]
    dataset = SpeechDataset(utterances, CharacterTokenizer("a"), parse(values, "t"))
    steps = [
        [UtteranceDraw(i, epoch), UtteranceDraw(i + 4, epoch)]
        for i in range(4)
        for epoch in range(2)
    ]
    parts = [part for step in steps for part in split_batch(step, 1)]
    straight, shared = (list(load_batches(dataset, parts, workers)) for workers in (0, 2))
    for a, b in zip(straight, shared, strict=True):
        assert torch.equal(a.waveforms, b.waveforms)
    assert not torch.equal(straight[0].waveforms, straight[1].waveforms)  # another epoch


def write_nothing(folder):
    (folder / "notes.txt").write_text("no audio")


def write_text(folder):
    (folder / "a.wav").write_text("no audio at all")


def write_cut(folder):
    soundfile.write(folder / "a.wav", noise(1.0), RATE_HZ)
    with open(folder / "a.wav", "r+b") as file:
        file.truncate(9000)


@pytest.mark.parametrize("kind", ["noise", "reverb"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: folder.rmdir(), "x: no such folder"),
        (write_nothing, "x: no audio file in this folder"),
        (write_text, "a.wav: not an audio file"),
        (write_cut, "a.wav: truncated: "),
    ],
)
def test_noise_folders_are_checked_before_training(tmp_path, kind, spoil, said):
    (tmp_path / "x").mkdir()
    spoil(tmp_path / "x")
    config = only(**{f"{kind}_p": 0.5, f"{kind}_folder": str(tmp_path / "x")})
    with pytest.raises(UserError) as caught:
        WaveformAugment(config, RATE_HZ)
    assert str(caught.value).startswith(f"augment.{kind}_folder: {tmp_path}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_silent_impulse_response_is_no_room(tmp_path):
    soundfile.write(tmp_path / "zeros.wav", np.zeros(800), 8000)
    augment = WaveformAugment(only(reverb_p=1, reverb_folder=str(tmp_path)), 8000)
    with pytest.raises(UserError, match=r"zeros\.wav: all its samples are zero"):
        augment(speech(0.1, 0, 8000), seeded(0))


def test_a_noise_folder_without_effect_is_refused():
    with pytest.raises(UserError, match="noise_folder noises has no effect with noise_p"):
        parse({"name": "t", "augment": {"noise_folder": "noises"}}, "t")


@given(st.integers(1, 10**7))
def test_fast_lengths_are_near_and_have_small_factors(n):
    found = fast_length(n)
    assert n <= found <= max(n + 1, 1.26 * n)
    for factor in (2, 3, 5):
        while found % factor == 0:
            found //= factor
    assert found == 1


def test_telephone_keeps_only_its_band():
    augment = WaveformAugment(only(telephone_p=1), 16000)
    spectrum = (
        torch.fft.rfft(augment(torch.randn(16000), torch.Generator())).abs().square()
    )  # 1 Hz a bin
    assert spectrum[4000:].mean() < 1e-3 * spectrum[500:3000].mean()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=5), st.integers(0, 99))
def test_spec_augment_masks_no_more_than_its_share(lengths, seed):
    torch.manual_seed(seed)
    config = SpecAugmentConfig(freq_masks=2, freq_share=0.2, time_masks=3, time_share=0.1)
    masked = SpecAugment(config)(torch.ones(len(lengths), 120, 40), torch.tensor(lengths)) == 0
    rows = masked.all(dim=2)  # (B, T) frames masked whole
    bins = masked.all(dim=1)  # (B, F)
    for i, length in enumerate(lengths):
        assert rows[i, :length].sum() <= 3 * (0.1 * length + 1)
        assert not rows[i, length + 1 :].any()
        assert bins[i].sum() <= 2 * (0.2 * 40 + 1)
        outside = masked[i][~rows[i]][:, ~bins[i]]
        assert not outside.any()


def test_masks_are_drawn_evenly_up_to_their_share_and_anywhere():
    """With one mask each, widths are uniform in [0, share of the length], and so are starts."""
    torch.manual_seed(0)
    lengths = torch.tensor([400, 200]).repeat(2000)
    config = SpecAugmentConfig(freq_masks=0, time_masks=1, time_share=0.1)
    kept = SpecAugment(config)(torch.ones(4000, 400, 1), lengths)[:, :, 0]
    for length in (400, 200):
        masked = kept[lengths == length] == 0
        assert not masked[:, length:].any()
        widths = masked.sum(1).float()
        assert widths.max() == 0.1 * length
        assert widths.mean() == pytest.approx(0.05 * length, rel=0.05)
        assert widths.std() == pytest.approx(0.1 * length / 12**0.5, rel=0.05)
        inner = masked[:, length // 8 : -length // 8 or None][:, : length * 3 // 4].float().mean(0)
        assert inner.std() / inner.mean() < 0.25  # as often here as there
