"""Speech from text: engines, seeds, resumption, what is left out, and commands that misbehave."""

import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.data import manifest
from asr.data.download import sha256_of
from asr.errors import Failed, UserError
from asr.synthesis import ENGINES, Command, VoiceEngine, corpus, espeak, synthesize
from asr.synthesis.engines import engines_of
from asr.synthesis.plan import choose_voices, plan
from asr.synthesis.quality import RANGE_DB, flaw_of, letters_of, sound_of, trimmed

TEXTS = ["Seven people sat on a ship.", "Yes.", "It was the year 1984, she said: go home!", "Yes."]
SENTENCE = TEXTS[2]


@pytest.fixture(params=list(ENGINES))
def engine(request) -> VoiceEngine:
    engine = ENGINES[request.param]
    if engine.problem():
        pytest.skip(f"{engine.name}: {engine.problem()}")
    return engine


def some_voices(engine: VoiceEngine, count: int) -> list[str]:
    return [voice.name for voice in choose_voices([engine], count, seed=1)]


def tree(folder: Path) -> dict[str, str]:
    """The files that a corpus consists of, without the record of their making."""
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "outcomes.jsonl"
    }


def speak(folder: Path, texts=TEXTS, engines=("espeak", "hibari"), **options):
    return synthesize(texts, folder, engines, **{"voices": 8, "takes": 2, **options})


# ---- engines -------------------------------------------------------------------------------------


def test_speech_is_finite_unclipped_and_has_no_flaw(engine):
    for voice in some_voices(engine, 2 if engine.name == "kokoro" else 12):
        samples, rate_hz = engine.speak(SENTENCE, voice, seed=3)
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert np.isfinite(samples).all()
        assert flaw_of(samples, SENTENCE, rate_hz) is None, voice
        start, end = sound_of(samples, RANGE_DB, rate_hz)
        assert 8 < letters_of(SENTENCE) / ((end - start) / rate_hz) < 28, voice


def test_equal_seeds_give_equal_samples_whatever_was_spoken_before(engine):
    voice, other = some_voices(engine, 2)
    first, _ = engine.speak(TEXTS[0], voice, seed=3)
    engine.speak(TEXTS[1], other, seed=4)
    second, _ = engine.speak(TEXTS[0], voice, seed=3)
    np.testing.assert_array_equal(first, second)
    third, _ = engine.speak(TEXTS[0], voice, seed=5)
    assert len(first) != len(third) or (first != third).any()


def test_the_installed_espeak_is_seeded_too(monkeypatch):
    monkeypatch.setattr(espeak.importlib.util, "find_spec", lambda name: None)
    engine = ENGINES["espeak"]
    if engine.problem():
        pytest.skip(f"espeak without the package espeakng-loader: {engine.problem()}")
    first, _ = engine.speak(TEXTS[0], "en-us+f3", seed=3)
    engine.speak(TEXTS[1], "en-029+klatt2", seed=4)
    np.testing.assert_array_equal(first, engine.speak(TEXTS[0], "en-us+f3", seed=3)[0])
    assert len({engine.speak(TEXTS[1], voice, 3)[0].tobytes() for voice in engine.voices()[:9]}) > 5


def test_voices_differ(engine):
    assert len(set(engine.voices())) == len(engine.voices()) >= 4
    spoken = [engine.speak(TEXTS[1], voice, seed=3)[0] for voice in some_voices(engine, 4)]
    assert len({samples.tobytes() for samples in spoken}) == 4


def test_voice_names_can_be_file_names():
    for engine in ENGINES.values():
        if not engine.problem():
            assert all(set(voice) <= set(_FILE_NAME) for voice in engine.voices()), engine.name


_FILE_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_"


def test_a_missing_engine_is_an_error_with_its_installation(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"voice engine flite: .* apt-get install flite$"):
        engines_of(["flite"])
    monkeypatch.setattr(espeak.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(espeak, "SYSTEM_LIBRARIES", {sys.platform: "libnone.so.1"})
    with pytest.raises(UserError, match=r"voice engine espeak: .*libnone.*pip install 'espeakng"):
        engines_of(["espeak"])
    with pytest.raises(UserError, match=r"voice engine kokoro: .*pip install 'asr\[kokoro\]'"):
        engines_of(["kokoro"])
    assert [engine.name for engine in engines_of([])] in (["hibari"], [])


def test_an_unknown_engine_is_an_error_that_lists_those_there_are():
    with pytest.raises(UserError, match="'espeka': unknown; there are espeak, flite, hibari, kok"):
        engines_of(["espeka"])


# ---- the plan ------------------------------------------------------------------------------------


class Numbered(VoiceEngine):
    """Voices with numbers for names, which say a tone as long as the text."""

    about, license, install = "a tone", "none", "nothing"

    def __init__(self, name: str, count: int, fails_on: str = "?"):
        self.name, self.count, self.fails_on = name, count, fails_on

    def voices(self):
        return [f"{i}" for i in range(self.count)]

    def problem(self):
        return ""

    def version(self):
        return "1"

    def speak(self, text, voice, seed):
        if self.fails_on in text:
            raise Failed("does not want to")
        samples = np.zeros(1000 + 1000 * len(text), np.float32)
        samples[500:-500] = np.sin(np.arange(len(samples) - 1000) * (0.1 + 0.01 * int(voice)))
        return samples, 8000


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    voices=st.integers(1, 30),
    takes=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_engines_and_voices_take_turns(counts, voices, takes, seed):
    engines = [Numbered(f"e{i}", count) for i, count in enumerate(counts)]
    chosen = choose_voices(engines, voices, seed)
    assert len(set(chosen)) == len(chosen) == min(voices, sum(counts))
    of = {engine.name: sum(voice.engine is engine for voice in chosen) for engine in engines}
    for engine in engines:  # an engine with fewer than another has no more
        if of[engine.name] < max(of.values()) - 1:
            assert of[engine.name] == engine.count
    if takes > len(chosen):
        with pytest.raises(UserError, match="takes"):
            list(plan(["a"], chosen, seed, takes))
        return
    planned = list(plan(["a", "b", "a"], chosen, seed, takes))
    assert len({take.id for take in planned}) == len(planned) == 3 * takes
    for at in range(0, len(planned), takes):
        spoken = planned[at : at + takes]
        assert len({take.voice for take in spoken}) == takes
        used = {take.voice.engine.name for take in spoken}
        assert len(used) >= min(takes, sum(count > 0 for count in of.values()))
    assert list(plan(["a", "b", "a", "c"], chosen, seed, takes))[: 3 * takes] == planned


# ---- a corpus ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    for name in ("espeak", "hibari"):
        if ENGINES[name].problem():
            pytest.skip(f"{name}: {ENGINES[name].problem()}")
    folder = tmp_path_factory.mktemp("whole") / "corpus"
    made = speak(folder)
    assert len(made.utterances) == 8 and made.left_out == [] and made.failed == 0
    return folder


def test_the_manifest_has_voices_as_speakers_and_true_durations(whole):
    utterances = manifest.read(whole / "manifest.jsonl")
    assert [u.text for u in utterances] == [text for text in TEXTS for _ in range(2)]
    assert {u.speaker.partition("-")[0] for u in utterances} == {"espeak", "hibari"}
    for u in utterances:
        assert Path(u.audio).parent.name == u.speaker and u.language == "en"
        samples, rate_hz = soundfile.read(u.audio)
        assert rate_hz == 16000
        assert len(samples) / rate_hz == pytest.approx(u.duration_s, abs=1e-4)
        assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-3)
        start, end = sound_of(samples, RANGE_DB, rate_hz)
        assert start / rate_hz <= 0.17 and (len(samples) - end) / rate_hz <= 0.17


def test_the_bytes_do_not_depend_on_the_processes(whole, tmp_path):
    speak(tmp_path, processes=2)
    assert tree(tmp_path) == tree(whole)


@pytest.mark.parametrize("after", [0, 1, 5, 8])
def test_a_corpus_that_was_interrupted_and_resumed_is_the_same(whole, tmp_path, after):
    def interrupt(done, total):
        assert total == 8
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speak(tmp_path, progress=interrupt)
    with (tmp_path / "outcomes.jsonl").open("a") as file:
        file.write('{"id": "hibari-00')  # what a killed process leaves
    counts = []
    speak(tmp_path, progress=lambda done, total: counts.append(done))
    assert tree(tmp_path) == tree(whole)
    assert counts == list(range(after, 9))
    rows = (tmp_path / "outcomes.jsonl").read_text().splitlines()
    assert len({json.loads(row)["id"] for row in rows}) == len(rows) == 8


def test_what_is_there_is_kept_and_what_is_missing_is_spoken(whole, tmp_path):
    speak(tmp_path)
    kept, lost = sorted(tmp_path.rglob("*.flac"))[:2]
    written = kept.stat().st_mtime_ns
    lost.unlink()
    speak(tmp_path)
    assert tree(tmp_path) == tree(whole)
    assert kept.stat().st_mtime_ns == written


def test_a_corpus_can_be_extended(whole, tmp_path):
    speak(tmp_path, TEXTS[:2])
    before = tree(tmp_path / "audio")
    speak(tmp_path)
    assert before.items() < tree(tmp_path / "audio").items()
    assert tree(tmp_path) == tree(whole)


def test_another_seed_is_another_corpus_and_not_mixed_with_the_first(whole, tmp_path):
    speak(tmp_path / "other", seed=1)
    others = {digest for name, digest in tree(tmp_path / "other").items() if "audio" in name}
    assert len(others) == 8 and not others & set(tree(whole).values())
    before = tree(whole)
    with pytest.raises(UserError, match="has a corpus with other seed and voices; give another"):
        speak(whole, seed=1)
    with pytest.raises(UserError, match="other rate_hz"):
        speak(whole, rate_hz=8000)
    assert tree(whole) == before


def test_audio_of_another_origin_is_left_alone(tmp_path):
    (tmp_path / "audio").mkdir()
    with pytest.raises(UserError, match="has audio of another origin"):
        synthesize(["one"], tmp_path, [Numbered("tone", 1)])
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"voices": 0}, "voices: 0"),
        ({"takes": 0}, "takes: 0"),
        ({"takes": 9}, "takes: 9 of each text by different voices, of which there are 3"),
        ({"seed": -1}, "seed: -1"),
        ({"rate_hz": 100}, "rate: 100 Hz is outside 4000 to 48000 Hz"),
        ({"processes": 0}, "processes: 0"),
    ],
)
def test_a_value_out_of_range_is_an_error(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        synthesize(["one"], tmp_path, [Numbered("tone", 3)], **options)


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no text to speak"):
        synthesize([], tmp_path, [Numbered("tone", 3)])


def test_what_was_left_out_is_listed_with_the_reason_and_not_tried_again(tmp_path):
    tone = Numbered("tone", 3)
    texts = ["one two", "***", "three four", "one two three four " * 3 + "." * 500]
    made = synthesize(texts, tmp_path, [tone])
    assert [u.text for u in made.utterances] == ["one two", "three four"]
    listed = [json.loads(line) for line in (tmp_path / "left-out.jsonl").open()]
    assert [(row["text"], row["reason"]) for row in listed] == [
        (texts[1], "text"),
        (texts[3], "too long"),
    ]
    assert [str(left_out) for left_out in made.left_out] == [
        f"{row['id']} ({row['text'][:40]!r}): {row['reason']}: {row['detail']}" for row in listed
    ]
    tone.fails_on = "."  # it is not asked again
    assert synthesize(texts, tmp_path, [tone]).left_out == made.left_out


def test_an_utterance_that_the_engine_failed_to_speak_is_tried_again(tmp_path):
    tone = Numbered("tone", 3, fails_on="two")
    made = synthesize(["one", "two", "three"], tmp_path, [tone])
    assert made.failed == 1 and [u.text for u in made.utterances] == ["one", "three"]
    assert "does not want to" in str(made.left_out[0])
    tone.fails_on = "?"
    again = synthesize(["one", "two", "three"], tmp_path, [tone])
    assert again.failed == 0 and len(again.utterances) == 3


def test_an_engine_that_never_speaks_ends_the_work_early(tmp_path):
    asked = []
    tone = Numbered("tone", 3, fails_on="o")
    with pytest.raises(Failed, match="voice engine tone: does not want to"):
        synthesize(["one"] * 100, tmp_path, [tone], progress=lambda done, _: asked.append(done))
    assert len(asked) == corpus.GIVE_UP_AFTER
    with pytest.raises(Failed, match=r"nothing could be used; tone-.*does not want to"):
        synthesize(["one"], tmp_path, [tone])


class Deadly(Numbered):
    """Ends its process when it is to speak a certain text."""

    def speak(self, text, voice, seed):
        if self.fails_on in text:
            os._exit(9)
        return super().speak(text, voice, seed)


def test_a_process_that_dies_is_an_error_and_the_next_call_resumes(tmp_path):
    texts = [f"text {'abcdefghij'[i]}" for i in range(10)]
    with pytest.raises(Failed, match="a process that speaks ended unexpectedly"):
        synthesize(texts, tmp_path, [Deadly("tone", 3, fails_on="text h")], processes=2)
    made = synthesize(texts, tmp_path, [Deadly("tone", 3)], processes=2)
    assert [u.text for u in made.utterances] == texts


# ---- what is wrong with speech -------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken() -> tuple[np.ndarray, int]:
    engine = ENGINES["hibari"]
    if engine.problem():
        pytest.skip(engine.problem())
    samples, rate_hz = engine.speak(SENTENCE, "0001", seed=0)
    pad = np.zeros(rate_hz // 2, np.float32)
    return np.concatenate([pad, samples, pad]), rate_hz


def test_trimmed_speech_keeps_a_margin(spoken):
    samples, rate_hz = spoken
    start, end = sound_of(samples, RANGE_DB, rate_hz)
    left = trimmed(samples, rate_hz)
    assert len(left) == end - start + 2 * round(0.15 * rate_hz)
    assert np.isin(samples[start:end], left).all()
    np.testing.assert_array_equal(trimmed(left, rate_hz), left)


@given(share=st.floats(0, 0.25))
def test_truncated_speech_is_found(spoken, share):
    samples, rate_hz = spoken
    start, end = sound_of(samples, RANGE_DB, rate_hz)
    truncated = samples[: start + round(share * (end - start))]
    flaw = flaw_of(truncated, SENTENCE, rate_hz)
    assert flaw is not None and flaw.kind in ("silence", "too short", "cut off")


def test_speech_that_ends_inside_a_loud_sound_is_found(spoken):
    samples, rate_hz = spoken
    block = rate_hz // 100
    loudness = (samples[: len(samples) // block * block].reshape(-1, block) ** 2).mean(axis=1)
    end = (int(loudness.argmax()) + 1) * block
    kinds = {"cut off"} if end / len(samples) > 0.6 else {"cut off", "too short"}
    assert flaw_of(samples[:end], SENTENCE, rate_hz).kind in kinds
    assert flaw_of(samples, SENTENCE, rate_hz) is None


@pytest.mark.parametrize("quiet", [0.0, 3e-5, np.nan, np.inf])
def test_silence_and_samples_that_are_not_finite_are_found(quiet):
    for count in (0, 5, 16000):
        assert flaw_of(np.full(count, quiet, np.float32), "yes", 16000).kind == "silence"


def test_speech_that_goes_on_too_long_is_found(spoken):
    samples, rate_hz = spoken
    assert flaw_of(np.tile(samples, 4), SENTENCE, rate_hz).kind == "too long"
    assert flaw_of(samples, "Yes.", rate_hz).kind == "too long"


def test_digits_count_as_words():
    assert letters_of("go, 42!") == 2 + 2 * 5 and letters_of("... * -") == 0


def test_a_model_leaves_out_what_it_cannot_align(tmp_path, model_file):
    texts = ["bad cab", "a big hedge", "xylophone"]  # the model knows the letters a to j

    def made(min_score=None):
        return speak(tmp_path, texts, ["espeak"], takes=1, model=model_file, min_score=min_score)

    kept = made()
    scores = [u.extra["score"] for u in kept.utterances]
    assert [u.text for u in kept.utterances] == texts[:2] and max(scores) < 0
    (left_out,) = kept.left_out
    assert (left_out.text, left_out.flaw.kind) == ("xylophone", "not aligned")
    higher = made(max(scores))
    assert [u.extra["score"] for u in higher.utterances] == [max(scores)]
    assert [left_out.flaw.kind for left_out in higher.left_out] == [
        *["score"] * (len(set(scores)) - 1),
        "not aligned",
    ]
    with pytest.raises(Failed, match=r"nothing could be used; espeak-.*score: -.*below 0"):
        made(0.0)


# ---- commands ------------------------------------------------------------------------------------

TONE = (
    "import math, sys, wave, struct; f = wave.open(sys.argv[1], 'wb'); f.setparams((1, 2, 8000, 0, "
    "'NONE', '')); n = 800 * max(1, len(sys.argv[2])); f.writeframes(struct.pack(f'<{n + 80}h', "
    "*[int(9000 * math.sin(i / 3)) for i in range(n)], *[0] * 80))"
)


def python(code: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", code]) + "".join(f" {part}" for part in arguments)


def test_a_command_speaks(tmp_path):
    command = Command(python(TONE, "{wav}", "{text}"))
    made = synthesize(["a; b $HOME {wav}", "--abc"], tmp_path, [command])
    assert [u.duration_s for u in made.utterances] == pytest.approx([1.61, 0.31], abs=0.01)
    (voice,) = command.voices()
    assert voice.startswith("python") and {u.speaker for u in made.utterances} == {
        f"command-{voice}"
    }
    assert made.utterances[0].language is None


def test_a_command_without_text_reads_it_from_its_input(tmp_path):
    code = f"import sys; sys.argv.append(sys.stdin.read()); {TONE}"
    made = synthesize(["seven chars"], tmp_path, [Command(python(code, "{wav}"))])
    assert made.utterances[0].duration_s == pytest.approx(1.11, abs=0.01)


def test_two_commands_are_two_voices(tmp_path):
    commands = [Command(python(TONE, "{wav}", "{text}", extra)) for extra in ("1", "2")]
    made = synthesize(["abc"], tmp_path, commands, takes=2)
    assert len({u.speaker for u in made.utterances}) == 2


@pytest.mark.parametrize(
    "command, message",
    [
        ("piper {text}", r"'piper \{text\}': has no \{wav\}"),
        ("piper '{text} {wav}", "No closing quotation; check the quotes"),
    ],
)
def test_a_command_that_cannot_be_right_is_an_error(command, message):
    with pytest.raises(UserError, match=message):
        Command(command)


def test_a_command_that_is_not_installed_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no program 'no-such-program'"):
        synthesize(["one"], tmp_path / "out", [Command("no-such-program {text} {wav}")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "code, message",
    [
        ("import sys; sys.exit('no such\\nvoice')", "ended with status 1: no such voice"),
        ("import sys; sys.exit(3)", "ended with status 3: it printed nothing"),
        ("print('done')", "wrote no audio: .* done"),
        ("import sys; open(sys.argv[1], 'w').write('text')", "wrote no audio"),
        ("import time; time.sleep(60)", "was stopped, as it ran for more than 0.5 s"),
    ],
)
def test_a_command_that_fails_says_how(tmp_path, code, message):
    command = Command(python(code, "{wav}", "{text}"), timeout_s=0.5)
    with pytest.raises(Failed, match=message):
        synthesize(["one"], tmp_path, [command])


def test_a_command_that_writes_silence_is_caught(tmp_path):
    code = TONE.replace("9000", "0")
    with pytest.raises(Failed, match="silence"):
        synthesize(["one"], tmp_path, [Command(python(code, "{wav}", "{text}"))])


# ---- the command line ----------------------------------------------------------------------------


@pytest.fixture
def texts_file(tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS[:3]))
    return path


def test_synth_makes_a_corpus_and_says_what_it_left_out(run, texts_file, tmp_path):
    texts_file.write_text("Good morning.\n***\n")
    options = ("-o", tmp_path / "out", "--engine", "espeak", "--voices", 3, "--rate", 8000)
    status, out, err = run("synth", texts_file, *options, "--processes", 1)
    assert status == 0
    assert out.startswith(f"{tmp_path}/out/manifest.jsonl: 1 utterances, 0.00 hours, 1 voices")
    assert err[0].startswith("left out espeak-") and "neither a letter nor a digit" in err[0]
    assert err[1] == f"left out: 1 (1 text), listed in {tmp_path}/out/left-out.jsonl"
    (utterance,) = manifest.read(tmp_path / "out/manifest.jsonl")
    assert soundfile.info(utterance.audio).samplerate == 8000


def test_synth_ends_with_status_1_if_a_command_failed_on_one_text(run, texts_file, tmp_path):
    code = f"import sys; 'Yes' in sys.argv[2] and sys.exit('no'); {TONE}"
    command = python(code, "{wav}", "{text}")
    options = ("-o", tmp_path / "out", "--command", command, "--processes", 1)
    status, out, err = run("synth", texts_file, *options)
    assert status == 1 and ": 2 utterances" in out
    assert err[-1] == "1 utterances could not be spoken"


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "name one or more files of texts"),
        (("texts.txt",), "a folder for the corpus, -o FOLDER"),
        (("texts.txt", "-o", "x"), "texts.txt: cannot be read"),
        (("texts.txt", "-o", "x", "--engine", "hal"), "voice engine 'hal': unknown"),
        (("texts.txt", "-o", "x", "--command", "hal {text}"), "has no {wav}"),
    ],
)
def test_synth_refuses_in_one_line(run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("synth", *options)
    assert (status, out, len(err)) == (2, "", 1) and message in err[0]


def test_synth_lists_the_engines_and_what_installs_them(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, out, err = run("synth", "--list")
    assert (status, err) == (0, [])
    assert all(name in out for name in ENGINES)
    assert "flite: there is no program flite; install it with: apt-get install flite" in out


def test_doctor_lists_the_voices(run):
    _, out, _ = run("doctor")
    assert all(f"voices of {name}" in out for name in ENGINES)
