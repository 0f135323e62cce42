"""Many files at once: a bad file does not stop the others, and batches do not change results."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.sources import sources
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer, load
from asr.recognition.transcribe import WINDOW, Failure, transcribe_many
from asr.recognition.waveforms import batches

RATE_HZ = 16000


@pytest.fixture(scope="module")
def recognizer(model_file) -> Recognizer:
    return load(model_file, "cpu")


def listed(recordings) -> list[Utterance]:
    return [Utterance(path.stem, str(path)) for path in sorted(recordings.glob("*.wav"))]


def test_the_model_writes_words_that_differ(recognizer, recordings):
    """Otherwise the tests below would pass for a model that outputs nothing."""
    texts = [recognizer.transcribe(path).text for path in recordings.glob("*.wav")]
    assert len(set(texts)) > 5
    assert sum(" " in text for text in texts) > 3


def test_a_transcript_does_not_depend_on_its_batch(recognizer, recordings):
    alone = [recognizer.transcribe(utterance.audio) for utterance in listed(recordings)]
    for batch_s in (0.1, 3.0, 7.0, 1e9):
        together = [t for _, t in transcribe_many(recognizer, listed(recordings), batch_s)]
        for one, other in zip(alone, together, strict=True):
            assert other.text == one.text
            assert [(w.start_s, w.end_s) for w in other.words] == [
                (w.start_s, w.end_s) for w in one.words
            ]
            assert [w.confidence for w in other.words] == pytest.approx(
                [w.confidence for w in one.words], abs=1e-3
            )


def test_bad_files_among_good_ones(recognizer, recordings, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello\n" * 50)
    good = listed(recordings)
    asked = [
        Utterance("missing", str(tmp_path / "missing.wav")),
        *good[:3],
        Utterance("empty", str(tmp_path / "empty.wav")),
        *good[3:],
        Utterance("late", good[0].audio, start_s=100.0),
        Utterance("text", str(tmp_path / "text.wav")),
    ]
    results = list(transcribe_many(recognizer, asked))
    assert [utterance for utterance, _ in results] == asked
    failed = {u.id: r.reason for u, r in results if isinstance(r, Failure)}
    assert list(failed) == ["missing", "empty", "late", "text"]
    for utterance, result in results:
        if isinstance(result, Failure):
            assert result.utterance is utterance
            assert result.reason.startswith(f"{utterance.audio}: ")
        else:
            assert result.text == recognizer.transcribe(utterance.audio).text


def test_more_files_than_a_window_stay_in_order(recognizer, recordings):
    good = listed(recordings)
    asked = [
        Utterance(str(i), good[i % 8].audio if i % 10 else "missing.wav")
        for i in range(2 * WINDOW + 5)
    ]
    texts = {u.audio: recognizer.transcribe(u.audio).text for u in good}
    results = list(transcribe_many(recognizer, iter(asked)))
    assert [utterance.id for utterance, _ in results] == [utterance.id for utterance in asked]
    for i, (utterance, result) in enumerate(results):
        assert isinstance(result, Failure) == (i % 10 == 0)
        assert isinstance(result, Failure) or result.text == texts[utterance.audio]


def test_reading_runs_ahead_by_three_windows_at_most(recognizer, recordings):
    """Utterances are taken from the iterator as needed, so an archive may have any size."""
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield Utterance(str(drawn), str(recordings / "r1.wav"))

    results = transcribe_many(recognizer, endless())
    for _ in range(WINDOW):
        next(results)
    assert 2 * WINDOW <= drawn <= 3 * WINDOW  # one decoded, one heard, one being read
    results.close()


@given(st.floats(0, 3.0), st.none() | st.floats(0.01, 4.0), st.integers(0, 7))
@settings(max_examples=40)
def test_word_times_are_seconds_of_the_file(recognizer, recordings, start_s, duration_s, which):
    path = recordings / f"r{which}.wav"
    file_s = soundfile.info(path).duration
    asked = Utterance("x", str(path), start_s, duration_s)
    ((_, result),) = transcribe_many(recognizer, [asked])
    if isinstance(result, Failure):
        assert "no samples between" in result.reason
        assert start_s > file_s - 1 / RATE_HZ
        return
    end_s = min(file_s, start_s + duration_s if duration_s else file_s)
    times = [time for word in result.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    for time in times:
        assert start_s - 1e-6 <= time <= end_s + 1 / RATE_HZ
    assert all(0 <= word.confidence <= 1 for word in result.words)
    assert result.duration_s == pytest.approx(end_s - start_s, abs=2 / RATE_HZ)


def test_words_of_a_segment_have_the_times_of_the_file(recognizer, recordings, tmp_path):
    samples, _ = soundfile.read(recordings / "r4.wav", dtype="float32")
    soundfile.write(tmp_path / "cut.wav", samples[RATE_HZ:], RATE_HZ)
    alone = recognizer.transcribe(tmp_path / "cut.wav")
    asked = Utterance("x", str(recordings / "r4.wav"), 1.0)
    ((_, moved),) = transcribe_many(recognizer, [asked])
    assert moved.text == alone.text
    assert [w.start_s for w in moved.words] == pytest.approx([w.start_s + 1 for w in alone.words])


@pytest.mark.parametrize("count", [1, 2, 159, 160, 161, 641])
def test_the_shortest_recordings_are_transcribed(recognizer, count):
    transcript = recognizer.transcribe(np.full(count, 0.1, np.float32), RATE_HZ)
    assert transcript.duration_s == round(count / RATE_HZ, 6)
    assert all(word.end_s <= transcript.duration_s for word in transcript.words)


def test_digital_silence_gives_finite_emissions(recognizer):
    emissions = recognizer.emissions([np.zeros(RATE_HZ, np.float32)])
    assert np.isfinite(emissions.log_probs).all()
    np.testing.assert_allclose(np.exp(emissions.log_probs).sum(-1), 1, rtol=1e-5)
    transcript = recognizer.transcribe(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert transcript.duration_s == 1.0
    assert all(
        0 <= w.start_s <= w.end_s <= 1.0 and 0 <= w.confidence <= 1 for w in transcript.words
    )


# ---- what is asked for ---------------------------------------------------------------------------


def test_sources_are_files_folders_and_manifests(tmp_path):
    for name in ("f/b.WAV", "f/sub/a.mp3", "f/notes.txt", "c.flac", "f/g.wav/h.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    manifest.write(tmp_path / "m.jsonl", [Utterance("row", str(tmp_path / "z.wav"), 2.0)])
    found = sources([tmp_path / "c.flac", tmp_path / "f", tmp_path / "m.jsonl"])
    assert [u.id for u in found] == ["c", "b", "g.wav/h", "sub/a", "row"]
    assert found[-1].start_s == 2.0


def test_duplicate_names_keep_their_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = sources(["a/x.wav", "b/x.wav", "b/x.mp3", "b/y.wav"])
    paths = [str(tmp_path / name) for name in ("a/x.wav", "b/x.wav", "b/x.mp3")]
    assert [u.id for u in found] == [*paths, "y"]


def test_a_folder_without_audio_is_a_users_mistake(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="no audio file in this folder"):
        sources([tmp_path])


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_every_utterance_once_within_the_limit(lengths, limit):
    samples = [np.zeros(length) for length in lengths]
    found = list(batches(samples, limit))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= limit
