"""NIST SPHERE files: all codings, compared with libsndfile and FFmpeg, and all kinds of damage."""

import io

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from shorten_encoder import QLPC, ZERO, shorten, sphere, wav_header

from asr import audio
from asr.audio.shorten import ShortenError, decode
from asr.errors import UserError


def walk(count, channels=1, seed=0, scale=100):
    """A random walk with a pause, as in speech: integers (channels, count)."""
    draw = np.random.default_rng(seed)
    x = np.cumsum(draw.standard_normal((channels, count)), axis=1) * scale + 500
    x[:, count // 3 : count // 2] = 0
    return x.clip(-30000, 30000).astype(int)


def integers(found):
    return np.rint(found * 32768).astype(int)


def all_commands(number):
    return (0, 1, 2, 3, QLPC, ZERO)[number % 6]


# ---- shorten -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("means", [0, 4])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("channels", [1, 2])
def test_shorten_as_ffmpeg_reads_it(version, means, shift, channels):
    x = walk(3000, channels) >> shift << shift
    stream = shorten(
        x,
        version,
        means=means,
        shift=shift,
        lpc=3,
        verbatim=wav_header(x, 16000),
        pick=all_commands,
    )
    assert np.array_equal(integers(decode(stream, channels, 3000)), x)
    with av.open(io.BytesIO(stream)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    theirs = np.concatenate(frames, axis=1)
    theirs = theirs if len(theirs) == channels else theirs.reshape(-1, channels).T
    assert np.array_equal(theirs, x)


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=600),
    st.integers(1, 300),
    st.sampled_from([0, 1, 2, 3, QLPC]),
    st.sampled_from([0, 1, 4]),
    st.integers(1, 3),
)
def test_any_samples_come_back(values, block, command, means, version):
    x = np.array([values])
    stream = shorten(x, version, block, means, lpc=4, pick=lambda number: command)
    assert np.array_equal(integers(decode(stream, 1, len(values))), x)


@pytest.mark.parametrize(
    ("kind", "samples", "expected"),
    [
        (1, [-128, 0, 127], [-1, 0, 127 / 128]),
        (2, [0, 128, 255], [-1, 0, 127 / 128]),
        (3, [-32768, 0, 16384], [-1, 0, 0.5]),
        (4, [0, 32768, 49152], [-1, 0, 0.5]),
        (5, [-32768, 0, 16384], [-1, 0, 0.5]),
        (6, [0, 32768, 49152], [-1, 0, 0.5]),
    ],
)
def test_types_of_samples(kind, samples, expected):
    stream = shorten(np.array([samples]), kind=kind)
    assert decode(stream, 1, 3)[0].tolist() == expected


def test_a_part_from_the_beginning():
    x = walk(2000)
    assert np.array_equal(integers(decode(shorten(x), 1, 777)), x[:, :777])


@pytest.mark.parametrize("kind", [0, 7, 8])
def test_mu_law_in_shorten_is_refused(kind):
    with pytest.raises(ShortenError, match="mu-law samples inside shorten; convert it"):
        decode(shorten(np.zeros((1, 10), int), kind=kind), 1, 10)


@given(st.data())
def test_damage_is_an_error_or_other_samples_never_a_crash(data):
    stream = bytearray(shorten(walk(1500, seed=1), lpc=3, pick=all_commands))
    for _ in range(data.draw(st.integers(1, 8))):
        stream[data.draw(st.integers(4, len(stream) - 1))] = data.draw(st.integers(0, 255))
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    try:
        found = decode(bytes(stream), 1, 1500)
    except ShortenError as error:
        assert "\n" not in str(error)
        return
    assert found.shape[0] == 1 and found.shape[1] <= 1500
    assert np.isfinite(found).all() and np.abs(found).max(initial=0) <= 1


@given(st.binary(max_size=200))
def test_noise_is_not_a_shorten_stream(data):
    try:
        found = decode(b"ajkg" + data, 1, 1000)
    except ShortenError:
        return
    assert found.shape[1] <= 1000


# ---- SPHERE --------------------------------------------------------------------------------------


def mu_law(x):
    file = io.BytesIO()
    soundfile.write(file, x.T.astype(np.int16), 8000, "ULAW", format="RAW")
    return file.getvalue()


def a_law(x):
    file = io.BytesIO()
    soundfile.write(file, x.T.astype(np.int16), 8000, "ALAW", format="RAW")
    return file.getvalue()


PLAIN = {
    "pcm, little endian": lambda x: (x.T.astype("<i2").tobytes(), "pcm", 2, "01"),
    "pcm, big endian": lambda x: (x.T.astype(">i2").tobytes(), "pcm", 2, "10"),
    "mu-law": lambda x: (mu_law(x), "ulaw", 1, "1"),
    "A-law": lambda x: (a_law(x), "alaw", 1, "1"),
}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("coding", PLAIN)
def test_plain_files_as_libsndfile_reads_them(tmp_path, coding, channels):
    body, name, n_bytes, order = PLAIN[coding](walk(70_000, channels))
    path = tmp_path / "a.sph"
    path.write_bytes(sphere(body, 8000, channels, 70_000, name, n_bytes, order))
    if name == "pcm":
        theirs, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    else:  # libsndfile reads such a header only where it has written it itself
        theirs, rate_hz = soundfile.read(
            io.BytesIO(body), dtype="float32", always_2d=True, format="RAW", channels=channels,
            samplerate=8000, subtype=name.upper(),
        )  # fmt: skip
    info = audio.info(path)
    assert (info.rate_hz, info.channels, info.duration_s) == (8000, channels, 70_000 / 8000)
    assert rate_hz == 8000 and len(theirs) == 70_000
    for channel in range(channels):
        assert np.array_equal(audio.read(path, 8000, channel=channel), theirs[:, channel])
    part = audio.read(path, 8000, 1.5, 2.25)
    assert np.array_equal(part, theirs[12_000:30_000].T.mean(axis=0))


def shortened(x, rate_hz=16000, count=None):
    coding = "pcm,embedded-shorten-v2.00"
    count = x.shape[1] if count is None else count
    return sphere(shorten(x, pick=all_commands, lpc=3), rate_hz, len(x), count, coding)


@pytest.mark.parametrize("channels", [1, 2])
def test_shortened_files(tmp_path, channels):
    x = walk(20_000, channels)
    path = tmp_path / "a.sph"
    path.write_bytes(shortened(x))
    assert audio.info(path).duration_s == 20_000 / 16000
    for channel in range(channels):
        assert np.array_equal(integers(audio.read(path, 16000, channel=channel)), x[channel])
    part = audio.read(path, 16000, 0.5, 0.25, channel=0)
    assert np.array_equal(integers(part), x[0, 8000:12_000])


def test_a_wav_by_name_that_is_sphere(tmp_path):
    """TIMIT's .WAV files are SPHERE files."""
    path = tmp_path / "SA1.WAV"
    path.write_bytes(shortened(walk(4000)))
    assert len(audio.read(path, 16000)) == 4000


def changed(old, new):
    return lambda data: data.replace(old, new)


DAMAGE = {
    "empty body": (lambda data: data[:1024], "truncated"),
    "half of the body": (lambda data: data[: 1024 + (len(data) - 1024) // 2], "truncated"),
    "half of the header": (lambda data: data[:120], "SPHERE header|truncated"),
    "no end of the header": (changed(b"end_head", b"end_hand"), "SPHERE header has no end"),
    "size is no number": (changed(b"   1024", b"  10x24"), "not begin with a valid SPHERE header"),
    "size is huge": (changed(b"   1024", b"9999999"), "not begin with a valid SPHERE header"),
    "no sample rate": (changed(b"sample_rate", b"sample_rats"), "no valid sample rate"),
    "rate of 0": (changed(b"sample_rate -i 16000", b"sample_rate -i 0"), "0 Hz"),
    "no channels": (changed(b"channel_count -i 1", b"channel_count -i 0"), "0 channels"),
    "more channels than there are": (
        changed(b"channel_count -i 1", b"channel_count -i 2"),
        "1 channels where|truncated",
    ),
    "samples of 7 bytes": (changed(b"n_bytes -i 2", b"n_bytes -i 7"), "samples of 7 bytes"),
    "another compression": (
        lambda data: data.replace(b"-s26 pcm,embedded-shorten-v2.00", b"-s9 pcm,wavpack").replace(
            b"-s3 pcm\n", b"-s11 pcm,wavpack\n"
        ),
        "not supported; convert it with sph2pipe",
    ),
    "nothing": (lambda data: data[:8], "SPHERE header"),
    "more samples than bytes can hold": (
        changed(b"sample_count -i 4000", b"sample_count -i 99999999999999"),
        "truncated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files(tmp_path, damage, packed):
    x = walk(4000)
    whole = shortened(x) if packed else sphere(x.T.astype("<i2").tobytes(), count=4000)
    change, message = DAMAGE[damage]
    path = tmp_path / "a.sph"
    path.write_bytes(change(whole))
    with pytest.raises(UserError, match=message) as error:
        audio.verify(path)
    assert "a.sph" in str(error.value) and "\n" not in str(error.value)


@given(st.binary(max_size=1200))
def test_any_bytes_after_the_magic(data):
    encoded = audio.Encoded(b"NIST_1A\n" + data, "x.sph")
    try:
        audio.verify(encoded)
    except UserError as error:
        assert "\n" not in str(error)
