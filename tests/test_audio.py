"""Every audio format is read back; every damaged or foreign file is an error of one line."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import audio
from asr.errors import UserError

RATE_HZ = 16000
TONE_HZ = 440.0


def tone(duration_s=3.0, rate_hz=RATE_HZ, tone_hz=TONE_HZ) -> np.ndarray:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * tone_hz * t)).astype(np.float32)


def frequency_of(samples: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate_hz / len(samples))


def write_container(
    path, codec, *, format=None, rate_hz=RATE_HZ, video_s=0.0, sound=True, **options
):
    """Encode a tone with PyAV, together with a video stream of `video_s` seconds."""
    with av.open(str(path), "w", format=format, options=options) as container:
        if video_s:
            video = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=10)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        if sound:
            stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        if video_s:
            for i in range(round(video_s * 10)):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8))
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        if sound:
            fifo = av.AudioFifo()
            frame = av.AudioFrame.from_ndarray(tone(rate_hz=rate_hz)[None], "fltp", "mono")
            frame.sample_rate, frame.pts = rate_hz, 0
            fifo.write(frame)
            to_codec = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate_hz)
            for part in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
                for converted in to_codec.resample(part):
                    container.mux(stream.encode(converted))
            container.mux(stream.encode(None))
    return path


SOUNDFILE_FORMATS = {  # name: (subtype, largest difference of a sample)
    "s16.wav": ("PCM_16", 1e-4),
    "s24.wav": ("PCM_24", 1e-6),
    "float.wav": ("FLOAT", 0),
    "u8.wav": ("PCM_U8", 1e-2),
    "telephone.wav": ("ULAW", 2e-2),
    "s.flac": ("PCM_16", 1e-4),
    "s.ogg": ("VORBIS", 0.05),
    "s.opus": ("OPUS", 0.05),
    "s.mp3": ("MPEG_LAYER_III", 0.05),
}


@pytest.mark.parametrize("name", SOUNDFILE_FORMATS)
def test_formats_of_soundfile_read_back(tmp_path, name):
    subtype, tolerance = SOUNDFILE_FORMATS[name]
    path = tmp_path / name
    container = "OGG" if path.suffix == ".opus" else None
    soundfile.write(path, tone(), RATE_HZ, subtype=subtype, format=container)
    samples = audio.read(path, RATE_HZ)
    assert samples.dtype == np.float32
    assert samples.shape == (3 * RATE_HZ,)
    assert np.abs(samples - tone())[800:-800].max() <= tolerance
    assert audio.info(path) == audio.AudioInfo(3.0, RATE_HZ, 1)


CONTAINERS = {  # name: (codec, rate, video seconds)
    "a.m4a": ("aac", 16000, 0),
    "film.mp4": ("aac", 44100, 3.0),
    "a.webm": ("libopus", 48000, 0),
    "film.webm": ("libopus", 48000, 3.0),
    "a.mkv": ("pcm_s16le", 16000, 0),
    "a.aac": ("aac", 16000, 0),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_read_back(tmp_path, name):
    codec, rate_hz, video_s = CONTAINERS[name]
    path = tmp_path / name
    format = "adts" if path.suffix == ".aac" else None
    write_container(path, codec, rate_hz=rate_hz, video_s=video_s, format=format)
    samples = audio.read(path, RATE_HZ)
    found = audio.info(path)
    assert (found.rate_hz, found.channels) == (rate_hz, 1)
    assert found.duration_s == pytest.approx(3.0, abs=0.1)  # encoders pad
    assert len(samples) / RATE_HZ == pytest.approx(found.duration_s, abs=0.02)
    middle = samples[RATE_HZ : 2 * RATE_HZ]
    assert frequency_of(middle, RATE_HZ) == pytest.approx(TONE_HZ, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.03)


def test_an_mp3_of_variable_bit_rate_without_a_header_is_read_to_its_end(tmp_path):
    """Recorders omit the header, and the length that FFmpeg estimates from the start is wrong."""
    draw = np.random.default_rng(0)
    loud = draw.standard_normal(10 * RATE_HZ).astype(np.float32) * 0.2
    samples = np.concatenate([tone(5.0), loud, np.zeros(5 * RATE_HZ, np.float32)])
    whole, headless = tmp_path / "whole.mp3", tmp_path / "headless.mp3"
    soundfile.write(whole, samples, RATE_HZ, bitrate_mode="VARIABLE", compression_level=0.5)
    data = whole.read_bytes()
    assert b"Xing" in data[:200]
    headless.write_bytes(data[data.index(data[:2], 20) :])
    assert audio.info(whole).duration_s == 20.0
    assert len(audio.read(whole, RATE_HZ)) == 20 * RATE_HZ
    assert audio.info(headless).duration_s == pytest.approx(20.0, abs=0.1)
    found_s = len(audio.read(headless, RATE_HZ)) / RATE_HZ
    assert found_s == pytest.approx(audio.info(headless).duration_s, abs=0.01)


def test_a_tag_before_the_mp3_does_not_hide_its_length(tmp_path):
    plain, tagged = tmp_path / "plain.mp3", tmp_path / "tagged.mp3"
    soundfile.write(plain, tone(), RATE_HZ)
    picture = bytes(5000)
    size = bytes([0, 0, len(picture) >> 7, len(picture) & 127])
    tagged.write_bytes(b"ID3\x04\x00\x00" + size + picture + plain.read_bytes())
    assert audio.info(tagged) == audio.info(plain)


def test_channels_are_averaged(tmp_path):
    left, right = tone(tone_hz=300), tone(tone_hz=700)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(
        audio.read(tmp_path / "two.wav", RATE_HZ), (left + right) / 2, atol=1e-6
    )
    assert audio.info(tmp_path / "two.wav").channels == 2


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_pitch_level_and_length(tmp_path, rate_hz):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate_hz=rate_hz), rate_hz, subtype="FLOAT")
    samples = audio.read(path, RATE_HZ)
    assert abs(len(samples) - 3 * RATE_HZ) <= 1
    assert frequency_of(samples, RATE_HZ) == pytest.approx(TONE_HZ, abs=0.5)
    np.testing.assert_allclose(samples[1600:46400], tone()[1600:46400], atol=1e-3)


def test_resampling_is_logged_once_per_rate(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("asr.audio.io._logged_rates", set())
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tone(rate_hz=8000), 8000)
    with caplog.at_level(logging.INFO, logger="asr"):
        audio.read(tmp_path / "a.wav", RATE_HZ)
        audio.read(tmp_path / "b.wav", RATE_HZ)
    (record,) = caplog.records
    assert "a.wav: resampled from 8000 Hz to 16000 Hz" in record.getMessage()


@given(
    start=st.integers(0, 15999),
    count=st.integers(1, 20000) | st.none(),
    name=st.sampled_from(["noise.wav", "noise.flac", "noise.mka"]),
)
@settings(max_examples=60)
def test_a_segment_is_a_slice_of_the_whole(noises, start, count, name):
    samples = audio.read(
        noises / name, RATE_HZ, start / RATE_HZ, None if count is None else count / RATE_HZ
    )
    whole = audio.read(noises / name, RATE_HZ)
    np.testing.assert_array_equal(samples, whole[start : None if count is None else start + count])


@given(
    block_s=st.floats(0.01, 3.0),
    name=st.sampled_from(["noise.wav", "noise.flac", "noise.mka"]),
    rate_hz=st.sampled_from([8000, 16000, 22050]),
)
@settings(max_examples=60)
def test_blocks_joined_are_the_file(noises, block_s, name, rate_hz):
    blocks = list(audio.blocks(noises / name, rate_hz, block_s))
    assert {len(block) for block in blocks[:-1]} <= {round(block_s * rate_hz)}
    assert 0 < len(blocks[-1]) <= round(block_s * rate_hz)
    whole = audio.read(noises / name, rate_hz)
    joined = np.concatenate(blocks)
    if rate_hz == RATE_HZ:
        np.testing.assert_array_equal(joined, whole)
    else:
        assert abs(len(joined) - len(whole)) <= 1
        n = min(len(joined), len(whole))
        np.testing.assert_allclose(joined[:n], whole[:n], atol=1e-3)


@pytest.fixture(scope="session")
def noises(tmp_path_factory) -> Path:
    """One second of noise in three lossless formats."""
    folder = tmp_path_factory.mktemp("noises")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE_HZ)
    for name in ("noise.wav", "noise.flac"):
        soundfile.write(folder / name, samples, RATE_HZ)
    with av.open(str(folder / "noise.mka"), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        values = (samples * 32767).astype(np.int16)
        for at in range(0, RATE_HZ, 1000):
            part = values[None, at : at + 1000]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "s16", "mono")
            frame.sample_rate, frame.pts = RATE_HZ, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def test_a_segment_past_the_end_is_refused(noises):
    with pytest.raises(UserError, match=r"noise\.wav: no samples between 2 s and the end"):
        audio.read(noises / "noise.wav", RATE_HZ, 2.0)


@pytest.mark.parametrize("name", ["12:30:00.m4a", "data:x.m4a", "señal ﺹ.m4a", "-i.m4a", "%d.m4a"])
def test_a_name_is_never_taken_for_an_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_container(tmp_path / "a.m4a", "aac").rename(tmp_path / name)
    assert audio.info(name).duration_s == pytest.approx(3.0, abs=0.1)
    assert len(audio.read(name, RATE_HZ)) > 2.9 * RATE_HZ


def test_a_playlist_opens_no_other_file(tmp_path):
    write_container(tmp_path / "secret.m4a", "aac")
    playlist = tmp_path / "list.wav"
    playlist.write_text("ffconcat version 1.0\nfile secret.m4a\n")
    with pytest.raises(UserError, match="playlist"):
        audio.read(playlist, RATE_HZ)


def test_unknown_lengths_in_headers_are_ignored(tmp_path):
    """Programs that write to a pipe write 0xFFFFFFFF instead of the length."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), RATE_HZ)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(audio.read(path, RATE_HZ)) == 3 * RATE_HZ


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "fast.m4a", "a.webm", "a.mkv"]
)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.85])
def test_a_file_whose_end_is_missing_is_refused(tmp_path, name, share):
    path = tmp_path / name
    if path.suffix in (".m4a", ".webm", ".mkv"):
        codec = {".m4a": "aac", ".webm": "libopus", ".mkv": "pcm_s16le"}[path.suffix]
        rate_hz = 48000 if codec == "libopus" else RATE_HZ
        options = {"movflags": "faststart"} if name == "fast.m4a" else {}
        write_container(path, codec, rate_hz=rate_hz, **options)
    else:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ)
        soundfile.write(path, noise, RATE_HZ)
    cut(path, share)
    with pytest.raises(UserError, match=r"truncated|damaged|its end is missing") as caught:
        audio.read(path, RATE_HZ)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["x" * 300, "nul\0byte.wav", "file.wav/below.wav"])
def test_an_impossible_path_is_a_users_mistake(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    soundfile.write("file.wav", tone(), RATE_HZ)
    with pytest.raises(UserError):
        audio.info(path)


def test_a_format_that_cannot_seek_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "gsm.wav"
    samples = np.sin(2 * np.pi * 400 * np.arange(8000) / 8000).astype(np.float32) / 2
    soundfile.write(path, samples, 8000, "GSM610")
    read = audio.read(path, 8000)
    assert len(read) >= 8000 and np.corrcoef(read[:8000], samples)[0, 1] > 0.9
