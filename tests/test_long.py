"""Recordings of any length: no word is lost, doubled or invented where chunks are cut."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tones
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from asr import audio
from asr.audio.chunking import EDGE_S, END_S, LONGEST_S, chunks
from asr.audio.vad import HOP_S, Energy, Everything, Silero, detector, silero_installed
from asr.data.manifest import Utterance
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.recognition import stitching
from asr.recognition.emissions import Emissions
from asr.recognition.recognizer import load
from asr.recognition.segments import DecodedSegment
from asr.recognition.transcribe import Failure, transcribe_many
from asr.recognition.waveforms import LONG_S
from asr.text.tokenizer import WORD_START

RATE_HZ = tones.RATE_HZ


class ToneRecognizer:
    """Recognizes tones by their power in frames of 20 ms, correctly for any chunking."""

    rate_hz, frame_s, streams = RATE_HZ, 0.02, False
    tokenizer = SimpleNamespace(pieces=["<blank>", *(WORD_START + word for word in tones.TONES_HZ)])

    def emissions(self, waveforms) -> Emissions:
        rows = [self.hear(np.asarray(samples)) for samples in waveforms]
        lengths = np.array([len(row) for row in rows])
        return Emissions(pad_sequence(rows, batch_first=True).numpy(), lengths, self.frame_s)

    def hear(self, samples: np.ndarray) -> torch.Tensor:
        size = round(self.frame_s * RATE_HZ)
        frames = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
        t = np.arange(size) / RATE_HZ
        power = [
            np.abs(frames @ np.exp(2j * np.pi * hz * t)) / size for hz in tones.TONES_HZ.values()
        ]
        scores = torch.tensor(np.stack([np.full(len(frames), 0.05), *power], axis=1))
        return (scores * 100).log_softmax(dim=1).float()

    def decode_segments(self, log_probs):
        found = GreedyDecoder(self.tokenizer.pieces).decode(log_probs, self.frame_s)
        return [DecodedSegment(0, len(log_probs), found, "")]


@pytest.fixture
def recognizer() -> ToneRecognizer:
    return ToneRecognizer()


def say(count: int, pause_s: float, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Sentences of five words with pauses of `pause_s` between them."""
    draw = np.random.default_rng(seed)
    words, parts = [], []
    for _ in range(count):
        sentence = draw.choice(list(tones.TONES_HZ), size=5).tolist()
        quiet = 0.003 * draw.standard_normal(int(pause_s * RATE_HZ))
        words += sentence
        parts += [tones.speak(sentence, draw), quiet]
    return words, np.concatenate(parts).astype(np.float32)


def heard(recognizer: ToneRecognizer, path, vad="energy"):
    ((_, result),) = transcribe_many(recognizer, [Utterance("x", str(path))], vad=vad)
    assert not isinstance(result, Failure), result
    return result


@pytest.mark.parametrize(("pause_s", "vad"), [(1.0, "energy"), (0.0, "off"), (0.1, "off")])
def test_no_word_is_lost_or_doubled(recognizer, tmp_path, pause_s, vad):
    words, samples = say(120, pause_s)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    assert len(samples) / RATE_HZ > 2 * LONG_S
    result = heard(recognizer, tmp_path / "long.wav", vad)
    assert result.text.split() == words
    assert len(result.segments) > 4
    assert result.duration_s == pytest.approx(len(samples) / RATE_HZ)
    times = [time for word in result.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= result.duration_s


def test_times_are_those_of_the_file(recognizer, tmp_path):
    """Each word has its true time, also in a segment of the file."""
    draw = np.random.default_rng(1)
    samples = 0.003 * draw.standard_normal(RATE_HZ * 200)
    places = [7.0, 64.0, 131.0, 190.0]
    for at_s, word in zip(places, ["low", "mid", "high", "low"], strict=True):
        said = tones.speak([word], draw)
        samples[int(at_s * RATE_HZ) :][: len(said)] += said
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    result = heard(recognizer, tmp_path / "long.wav")
    assert result.text == "low mid high low"
    for word, at_s in zip(result.words, places, strict=True):
        assert at_s - 0.1 < word.start_s < word.end_s < at_s + 0.5
    asked = Utterance("x", str(tmp_path / "long.wav"), start_s=60.0, duration_s=100.0)
    ((_, later),) = transcribe_many(recognizer, [asked], vad="energy")
    assert later.text == "mid high" and later.duration_s == 100.0
    assert later.words[0].start_s == pytest.approx(result.words[1].start_s, abs=0.15)


def test_silence_gives_no_words(recognizer, tmp_path):
    draw = np.random.default_rng(2)
    for name, level in (("zeros", 0.0), ("hiss", 0.0003)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, level * draw.standard_normal(RATE_HZ * 90), RATE_HZ)
        result = heard(recognizer, path)
        assert result.text == "" and result.segments == () and result.duration_s == 90.0


def test_long_and_short_recordings_among_bad_ones_stay_in_order(recognizer, tmp_path):
    words, samples = say(30, 0.4)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    soundfile.write(tmp_path / "short.wav", samples[: RATE_HZ * 4], RATE_HZ)
    whole = (tmp_path / "long.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    names = ["short", "cut", "long", "missing", "short", "long"]
    asked = [Utterance(str(i), str(tmp_path / f"{name}.wav")) for i, name in enumerate(names)]
    asked.append(Utterance("late", str(tmp_path / "long.wav"), start_s=999.0, duration_s=99.0))
    done = []
    results = list(transcribe_many(recognizer, asked, on_progress=done.append))
    assert [utterance for utterance, _ in results] == asked
    failed = [isinstance(result, Failure) for _, result in results]
    assert failed == [False, True, False, True, False, False, True]
    assert results[2][1].text == results[5][1].text == " ".join(words)
    assert " ".join(words).startswith(results[0][1].text)
    whole_s = 2 * len(samples) / RATE_HZ + 2 * 4.0
    assert whole_s - 1e-6 <= sum(done) < whole_s + len(samples) / RATE_HZ / 2


def test_progress_comes_with_each_batch(recognizer, tmp_path):
    _, samples = say(60, 1.0)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    told = []
    asked = [Utterance("x", str(tmp_path / "long.wav"))]
    ((_, result),) = transcribe_many(
        recognizer, asked, batch_s=8.0, vad="energy", on_progress=told.append
    )
    assert len(result.words) == 300
    assert sum(told) == pytest.approx(result.duration_s) and min(told) >= 0
    assert max(told) < 20 and len(told) >= 12


def test_a_slow_decoder_bounds_the_queue(recognizer, tmp_path, monkeypatch):
    monkeypatch.setattr("asr.recognition.transcribe.WINDOW", 8)
    monkeypatch.setattr("asr.recognition.transcribe.MAX_QUEUED", 8)
    words, samples = say(90, 1.0)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    gate, made = Event(), []
    decode, emissions = recognizer.decode_segments, recognizer.emissions

    def slow(log_probs):
        gate.wait(30)
        return decode(log_probs)

    def counted(waveforms):
        made.extend(waveforms)
        return emissions(waveforms)

    recognizer.decode_segments, recognizer.emissions = slow, counted
    with ThreadPoolExecutor(1) as other:
        result = other.submit(heard, recognizer, tmp_path / "long.wav")
        before = -1
        while before != len(made):  # until nothing more happens
            before = len(made)
            sleep(0.3)
        assert 8 <= before <= 24  # what waits, and the window that it is taken from
        gate.set()
        assert result.result().text.split() == words
    assert len(made) >= 90


def test_ctrl_c_stops_reading_and_decoding(recognizer, tmp_path, monkeypatch):
    """Sentences, then hours of quiet: pressed while the last sentences are heard, the quiet is read
    ahead and most sentences are still to be decoded."""
    monkeypatch.setattr("asr.recognition.transcribe.WINDOW", 8)
    monkeypatch.setattr("asr.recognition.transcribe.os.cpu_count", lambda: 1)
    _, samples = say(64, 1.0)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    blocks, emissions = audio.blocks, recognizer.emissions
    made, read, decoded, pressed = [], [], [], Event()

    def and_quiet_for_hours(*arguments):
        yield from blocks(*arguments)
        for number in range(20_000):
            read.append(number)
            sleep(0.005)
            yield np.zeros(RATE_HZ, np.float32)

    def counted(waveforms):
        made.extend(waveforms)
        return emissions(waveforms)

    def slow(log_probs):
        decoded.append(len(log_probs))
        pressed.wait(60)
        sleep(1)
        return []

    def press(_):
        if len(made) == 64:
            while not read:
                sleep(0.01)
            pressed.set()
            raise KeyboardInterrupt

    recognizer.decode_segments, recognizer.emissions = slow, counted
    monkeypatch.setattr("asr.recognition.waveforms.audio.blocks", and_quiet_for_hours)
    with pytest.raises(KeyboardInterrupt):
        asked = [Utterance("x", str(tmp_path / "long.wav"))]
        list(transcribe_many(recognizer, asked, vad="energy", on_progress=press))
    assert len(read) < 20_000 and len(decoded) < 8


def test_the_recognizer_transcribes_like_transcribe_many(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "asr.audio.vad.silero_installed", lambda: False
    )  # it would not take the tones
    _, samples = say(60, 0.4)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    recognizer = load(model_file, "cpu")
    ((_, result),) = transcribe_many(recognizer, [Utterance("x", str(tmp_path / "long.wav"))])
    assert recognizer.transcribe(tmp_path / "long.wav") == result
    assert len(result.segments) > 2
    assert recognizer.transcribe(samples[: RATE_HZ * 3]).text


# --- chunks


class Told:
    """A detector with known results."""

    hop = 10

    def __init__(self, speech):
        self.speech = list(speech)

    def __call__(self, samples):
        n = len(samples) // self.hop
        now, self.speech = self.speech[:n], self.speech[n:]
        return np.array(now, np.float32)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), max_size=12),
    st.lists(st.integers(1, 4000), min_size=1, max_size=4),
    st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_chunks_hold_all_speech_once(runs, blocks, tail):
    speech = np.concatenate([np.zeros(0, bool), *(np.full(n, on) for on, n in runs)])
    samples = np.arange(len(speech) * 10 - (tail if len(speech) else 0), dtype=np.float32) + 1
    rate_hz = round(10 / HOP_S)
    cut, at = [], 0
    while at < len(samples):
        size = blocks[len(cut) % len(blocks)]
        cut.append(samples[at : at + size])
        at += size
    covered = np.zeros(len(samples), int)
    found = list(chunks(iter(cut), Told(speech), rate_hz))
    for one in found:
        start = round(one.start_s * rate_hz)
        kept = one.samples[one.samples > 0]  # the last hop is filled up with zeros
        assert np.array_equal(kept, samples[start : start + len(kept)])
        assert len(one.samples) / rate_hz <= LONGEST_S + 0.1
        covered[start + round(one.overlap_s * rate_hz) : start + len(kept)] += 1
    assert covered.max(initial=0) <= 1
    assert covered[np.repeat(speech, 10)[: len(samples)]].all()
    # Long silence is in no chunk.
    assert covered[~np.repeat(speech, 10)[: len(samples)]].sum() / rate_hz <= (
        (2 * EDGE_S + END_S) * (len(runs) + 1) + 0.1 * len(found)
    )
    for before, after in pairwise(found):
        end_s = before.start_s + len(before.samples) / rate_hz
        assert after.start_s == pytest.approx(end_s - after.overlap_s) or (
            after.start_s > end_s and not after.overlap_s
        )


# --- stitching

PIECES = ["<blank>", WORD_START, "a", "b", "c"]


def rows(text: str) -> np.ndarray:
    """Emissions with a frame per character: `-` is the blank, `_` the word mark."""
    tokens = [{"-": 0, "_": 1}.get(c) if c in "-_" else PIECES.index(c) for c in text]
    log_probs = np.full((len(tokens), len(PIECES)), -5.0, np.float32)
    log_probs[np.arange(len(tokens)), tokens] = -0.1
    return log_probs


@pytest.mark.parametrize(
    ("left", "right", "offset", "joined"),
    [
        # "ab" is split by the end of the left part and the beginning of the right
        ("_aa--_b-a-_c--_a-", "-a-_c--_a-b--_c-", 7, "_aa--_b-a-_c--_a-b--_c-"),
        ("_a---_b---_c--", "_b---_c---_a--", 5, "_a---_b---_c---_a--"),
        ("_a---_b---_c--", "-_b---_c---_a--", 5, "_a---_b---_c---_a--"),  # a frame later
        ("-----", "-----", 2, "-------"),
    ],
)
def test_chunks_are_joined_between_words_that_both_have(left, right, offset, joined):
    end, first = stitching.find_cut(rows(left), rows(right), offset, PIECES)
    said = (left[:end] + right[first:]).replace("-", "")
    assert said == joined.replace("-", "")


# --- detectors


@pytest.mark.parametrize("level", [0.0003, 0.01])
def test_energy_separates_speech_from_noise(level):
    draw = np.random.default_rng(0)
    samples = level * draw.standard_normal(RATE_HZ * 60).astype(np.float32)
    said = np.zeros(len(samples), bool)
    for at in range(5, 60, 6):
        said[at * RATE_HZ : (at + 2) * RATE_HZ] = True
    samples[said] += 0.3 * np.sin(np.arange(said.sum()) / 3)
    found = Energy(RATE_HZ)(samples[: len(samples) // 256 * 256].astype(np.float32)) > 0.5
    truth = said[: len(found) * 256].reshape(-1, 256).mean(axis=1) > 0.5
    assert np.mean(found == truth) > 0.99


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_detector_does_not_depend_on_silence_alone(size):
    quiet = np.zeros(size * Energy(RATE_HZ).hop, np.float32)
    assert not Energy(RATE_HZ)(quiet).any()
    assert Everything(RATE_HZ)(quiet).all()


def test_silero_separates_speech_from_tones_and_noise(corpora):
    if not silero_installed():
        pytest.skip("silero-vad is not installed: pip install silero-vad onnxruntime")
    from asr import audio

    speech = audio.read(next((corpora / "rhasspy_kathleen/audio").glob("*.opus")), 16000)
    speech = speech[: len(speech) // 512 * 512]
    assert Silero(16000)(speech).mean() > 0.5
    draw = np.random.default_rng(0)
    for other in (
        0.1 * np.sin(np.arange(16000 * 4 // 512 * 512) / 8),
        0.05 * draw.standard_normal(16000 * 4 // 512 * 512),
    ):
        assert (Silero(16000)(other.astype(np.float32)) > 0.5).mean() < 0.1


def test_detectors_refuse_unsupported_rates(monkeypatch):
    if silero_installed():
        with pytest.raises(UserError, match="takes 8 or 16 kHz, not 22050 Hz"):
            Silero(22050)
    monkeypatch.setattr("asr.audio.vad.silero_installed", lambda: False)
    with pytest.raises(UserError, match="needs the packages silero-vad and onnxruntime"):
        detector("silero", 16000)
    assert isinstance(detector("auto", 16000), Energy)
