"""Contract 10: in pieces or whole, a causal model gives the same text, times and confidences."""

import gc
import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tones
import torch
from conftest import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from test_streaming_model import PIECES, pieces_of

from asr import audio
from asr.config import parse
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model.model_file import Model, save_model
from asr.recognition import waveforms
from asr.recognition.endpoint import ENDPOINT_RULES, Endpointer, EndpointRule
from asr.recognition.recognizer import Recognizer, load
from asr.recognition.stream import FinishedUtterance
from asr.recognition.transcribe import transcribe_many
from asr.text.tokenizer import CharacterTokenizer
from asr.transcript import SpokenCommand

RATE_HZ = 8000


def save_streaming_model(path):
    """Untrained, causal; its head so steep and so centered that every sound gives other letters."""
    values = {
        "name": "untrained",
        "features": {"rate_hz": RATE_HZ, "n_mels": 20, "cmvn": "running"},
        "model": {"preset": "tiny", "streaming": True, "layers": 2, "hidden": 16, "channels": 4},
    }
    with torch.random.fork_rng():
        torch.manual_seed(37)
        model = Model.build(parse(values, "test"), CharacterTokenizer("abcdef"))
        speech = torch.from_numpy(said(8.0, 4))
        model.features.measure([(speech[None], torch.tensor([len(speech)]))])
    with torch.no_grad():
        model.acoustic.head.weight.mul_(25)
        emissions = Recognizer(model, "cpu").emissions([speech])
        model.acoustic.head.bias.sub_(torch.from_numpy(emissions.log_probs[0].mean(0)))
        model.acoustic.head.bias[0] += 8  # so that blanks are common
    save_model(path, model)


@pytest.fixture(scope="module")
def streaming_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("streaming") / "model.asr"
    save_streaming_model(path)
    return path


def said(duration_s, seed, rate_hz=RATE_HZ):
    """Noise with pauses of up to 1.5 s."""
    samples = noise(duration_s + 1, seed, rate_hz)[: round(duration_s * rate_hz)]
    draw = np.random.default_rng(seed)
    at = 0
    while at < len(samples):
        at += int(draw.integers(rate_hz // 2, 2 * rate_hz))
        end = at + int(draw.integers(0, 3 * rate_hz // 2))
        samples[at:end] *= 1e-3
        at = end
    return samples


def test_silence_at_the_end_of_a_stream_is_not_refused():
    refusal = SpokenCommand(False, -9.0, "ab", None, {})
    ended = FinishedUtterance(0.0, 1.0, (), (), "", command=refusal)
    assert ended.refused and not replace(ended, said=False).refused
    assert not replace(ended, command=replace(refusal, accepted=True)).refused


WORDS = ["ab", "ba", "cab", "fed", "bad", "face"]
DECODERS = {
    "greedy": {},
    "beam": {"beam": 8},
    "n-gram": {
        "lm": NGram.estimate(["ab ba", "cab fed", "bad face ab"], 2),
        "beam": 8,
        "n_best": 3,
    },
    "hotwords": {"hotwords": {"bad face": 6.0, "fed": 3.0}, "beam": 8},
    "lexicon": {"lexicon": WORDS, "beam": 8},
    "calibrated": {"confidence_scale": 0.6, "confidence_shift": -0.4},
}


@pytest.fixture(scope="module")
def recognizers(streaming_model):
    return {name: load(streaming_model, "cpu", **options) for name, options in DECODERS.items()}


def assert_same(found, expected):
    assert found.text == expected.text
    assert found.duration_s == expected.duration_s
    assert found.alternatives == expected.alternatives
    assert len(found.segments) == len(expected.segments)
    for one, other in zip(found.words, expected.words, strict=True):
        assert (one.text, one.start_s, one.end_s) == (other.text, other.start_s, other.end_s)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def in_pieces(stream, samples, sizes):
    """What the calls of feed and finish return."""
    return [stream.feed(piece) for piece in pieces_of(samples, sizes)], stream.finish()


@pytest.mark.parametrize("decoder", DECODERS)
@settings(max_examples=25)
@given(
    rate_hz=st.sampled_from([8000, 16000, 44100, 48000, 11025]),
    sizes=PIECES,
    duration_s=st.floats(0, 7),
    seed=st.integers(0, 9),
)
def test_in_pieces_and_whole_are_the_same(recognizers, decoder, rate_hz, sizes, duration_s, seed):
    recognizer = recognizers[decoder]
    samples = said(duration_s, seed, rate_hz)
    partials, found = in_pieces(recognizer.stream(rate_hz), samples, sizes)
    if not len(samples):
        assert (found.text, found.duration_s, found.segments) == ("", 0.0, ())
        return
    assert_same(found, recognizer.transcribe(samples, rate_hz))
    spoken = [word for part in partials for one in part.finished for word in one.words]
    assert found.words[: len(spoken)] == tuple(spoken)


@pytest.mark.parametrize("count", [1, 2, 10, 79, 80, 99, 100, 101, 200, 201])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44100])
def test_less_than_a_window_is_the_same(recognizers, rate_hz, count):
    recognizer = recognizers["greedy"]
    samples = noise(1.0)[:count]
    _, found = in_pieces(recognizer.stream(rate_hz), samples, [1])
    assert_same(found, recognizer.transcribe(samples, rate_hz))


def test_the_untrained_model_says_something(recognizers):
    """The tests above would pass on empty texts."""
    for name, recognizer in recognizers.items():
        found = [recognizer.transcribe(said(7.0, seed), RATE_HZ) for seed in range(5)]
        assert sum(len(one.words) for one in found) > 10, name
        assert sum(len(one.segments) for one in found) > 5, name


@pytest.mark.parametrize("decoder", DECODERS)
def test_stable_words_stay(recognizers, decoder):
    recognizer = recognizers[decoder]
    stream, stable, stables = recognizer.stream(RATE_HZ), [], 0
    for piece in pieces_of(said(20.0, 3), [700]):
        partial = stream.feed(piece)
        if partial.finished:
            assert partial.finished[0].text.split()[: len(stable)] == stable
            stable = []
            continue
        assert partial.stable.split()[: len(stable)] == stable
        assert partial.text.split() == [word.text for word in partial.words]
        stable = partial.stable.split()
        stables += len(stable)
    assert stables > 20 or recognizer.config.decoder.beam > 1  # an untrained beam agrees on nothing


def test_a_long_file_goes_through_in_blocks_with_the_same_result(
    recognizers, tmp_path, monkeypatch
):
    samples = said(45.0, 5)
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ, subtype="FLOAT")
    rows = [
        Utterance("all", str(tmp_path / "long.wav")),
        Utterance("part", str(tmp_path / "long.wav"), start_s=3.0, duration_s=31.5),
        Utterance("missing", str(tmp_path / "none.wav")),
    ]
    for name in ("greedy", "n-gram"):
        whole, heard_s = [], []
        for long_s in (100.0, 5.0):
            monkeypatch.setattr(waveforms, "LONG_S", long_s)
            seconds: list[float] = []
            found = list(transcribe_many(recognizers[name], rows, on_progress=seconds.append))
            whole.append([result for _, result in found[:2]])
            heard_s.append(sum(seconds))
        assert heard_s == pytest.approx([76.5, 76.5])
        for one, other in zip(*whole, strict=True):
            assert len(one.words) > 10
            assert_same(other, one)
        _, streamed = in_pieces(recognizers[name].stream(RATE_HZ), samples, [12345])
        assert_same(streamed, whole[0][0])


def test_samples_of_any_type_and_channels(recognizers):
    recognizer = recognizers["greedy"]
    coded = (said(3.0, 1) * 32767).round().astype(np.int16)
    expected = recognizer.transcribe(coded, RATE_HZ)
    for samples in (coded, torch.from_numpy(coded), np.stack([coded, coded], 1)):
        assert_same(in_pieces(recognizer.stream(RATE_HZ), samples, [999])[1], expected)
    file = io.BytesIO()
    soundfile.write(file, coded, RATE_HZ, format="WAV", subtype="PCM_16")
    assert_same(recognizer.transcribe(file.getvalue()), expected)


def test_what_is_no_audio_is_refused(recognizers, tiny_model, streaming_model):
    stream = recognizers["greedy"].stream(RATE_HZ)
    for samples in (np.array([np.nan], np.float32), np.zeros((2, 2, 2)), ["a"]):
        with pytest.raises(UserError, match="stream: "):
            stream.feed(samples)
    stream.finish()
    for call in (stream.finish, lambda: stream.feed(np.zeros(1))):
        with pytest.raises(UserError, match="has ended"):
            call()
    with pytest.raises(UserError, match="rate_hz"):
        recognizers["greedy"].stream(8)
    with pytest.raises(UserError, match="both directions"):
        Recognizer(tiny_model, "cpu").stream(16000)
    with pytest.raises(UserError, match="int8"):
        load(streaming_model, "cpu", quantized=True).stream(16000)


# ---- end points ------------------------------------------------------------------------------


def rules_of(pattern, rules=ENDPOINT_RULES, frame_s=0.04):
    """The names of the rules that hold after each frame; `.` is a silent frame."""
    endpointer = Endpointer(rules, frame_s)
    return [[rule.name for rule in endpointer.advance(frame == ".")] for frame in pattern]


def first_of(pattern, name):
    return next((t for t, names in enumerate(rules_of(pattern), 1) if name in names), None)


def test_the_default_rules_are_those_of_kaldi():
    assert first_of("." * 200, "nothing_said") == 125  # 5 s
    assert first_of("." * 200, "complete") is None
    word = "." * 50 + "xx.x"
    assert first_of(word + "." * 200, "complete") == 54 + 13  # 0.52 s, the first frame past 0.5 s
    assert first_of(word + "." * 200, "maybe_complete") == 54 + 25
    assert first_of(word + "." * 200, "silence") == 54 + 50
    assert first_of(word + "." * 200, "nothing_said") == 54 + 125
    assert first_of("x." * 400, "too_long") == 500  # 20 s
    assert first_of("x" * 800, "too_long") == 550  # 2 s later, as no frame is silent
    assert first_of("x" * 509 + "." * 9, "too_long") == 510
    costs = {rule.name: rule.max_cost for rule in ENDPOINT_RULES}
    assert (costs["complete"], costs["maybe_complete"], costs["silence"]) == (2.0, 8.0, np.inf)


def test_a_language_model_delays_the_end_of_an_unlikely_text(trained):
    """ "low mid" ends sentences of the model, "low" alone does not."""
    lm = NGram.estimate(["low mid", "high mid"] * 50, 2)
    recognizer = load(trained, "cpu", lm=lm, beam=20, lm_weight=2.0)
    ends = {}
    for words in (["low", "mid"], ["low"]):
        speech = tones.speak(words, np.random.default_rng(1))
        samples = np.concatenate([speech, np.zeros(3 * tones.RATE_HZ)])
        partials, _ = in_pieces(recognizer.stream(tones.RATE_HZ), samples, [80])
        (ended,) = [one for part in partials for one in part.finished if one.words]
        assert ended.text == " ".join(words)
        ends[len(words)] = (ended.rule, ended.end_s - ended.words[-1].end_s)
    assert ends[2][0] == "complete" and ends[1][0] in ("maybe_complete", "silence")
    assert ends[1][1] > ends[2][1] + 0.3


def test_rules_of_ones_own_and_none(recognizers):
    recognizer = recognizers["greedy"]
    samples = said(12.0, 2)
    quick = [EndpointRule("quick", silence_s=0.2, words=True)]
    partials, _ = in_pieces(recognizer.stream(RATE_HZ, endpoints=quick), samples, [800])
    ended = [one for part in partials for one in part.finished]
    assert len(ended) > 3 and {one.rule for one in ended} == {"quick"}
    assert [one.end_s for one in ended[:-1]] == [one.start_s for one in ended[1:]]
    partials, found = in_pieces(recognizer.stream(RATE_HZ, endpoints=()), samples, [800])
    assert not any(part.finished for part in partials) and len(found.segments) == 1
    (whole,) = recognizer.decode(recognizer.emissions([samples]).rows()[0])
    assert found.text == whole.text
    assert [word.start_s for word in found.words] == [word.start_s for word in whole.words]


# ---- a trained model -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(corpus):
    """The recipe of tones with the one switch."""
    tones.asr(
        "train",
        corpus / "recipe.yaml",
        "model.streaming=true",
        "name=streaming",
        "model.hidden=48",
        "-o",
        corpus / "runs",
    )
    return corpus / "runs/streaming/model.asr"


def test_a_streaming_model_learns_and_hears_the_last_word_without_a_tail(trained):
    recognizer = load(trained, "cpu")
    draw = np.random.default_rng(9)
    wrong = 0
    for _ in range(20):
        words = draw.choice(list(tones.TONES_HZ), size=3).tolist()
        samples = tones.speak(words, draw)
        speech_end = np.flatnonzero(np.abs(samples) > 0.05)[-1] + 1
        partials, found = in_pieces(recognizer.stream(tones.RATE_HZ), samples[:speech_end], [800])
        wrong += found.text.split() != words
    assert wrong <= 4
    assert partials[-1].text.split()[:1] == words[:1]  # heard before the end


def test_state_does_not_grow_with_time(trained):
    """An hour of speech and pauses: the stream holds what it held after a minute."""
    recognizer = load(trained, "cpu", beam=5)
    draw = np.random.default_rng(1)
    minute = np.concatenate(
        [
            np.concatenate([tones.speak(["low", "mid", "high"], draw), np.zeros(8000)])
            for _ in range(40)
        ]
    )[: 60 * tones.RATE_HZ].astype(np.float32)
    stream = recognizer.stream(tones.RATE_HZ, keep_transcript=False)
    sizes, utterances = [], 0
    for _ in range(60):
        for piece in pieces_of(minute, [tones.RATE_HZ * 10]):
            utterances += len(stream.feed(piece).finished)
        sizes.append(held_bytes(stream, {id(recognizer)}))
    assert utterances > 500
    assert stream.duration_s == pytest.approx(3600, abs=1)
    assert max(sizes[1:]) < 1.2 * sizes[0], sizes


def held_bytes(thing, seen) -> int:
    """The bytes of the arrays, tensors and containers that `thing` refers to."""
    total, stack = 0, [thing]
    while stack:
        one = stack.pop()
        if id(one) in seen or isinstance(one, (type, type(held_bytes), torch.nn.Module)):
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            total += one.untyped_storage().nbytes()
        elif isinstance(one, np.ndarray):
            total += one.nbytes
        elif isinstance(one, (list, dict, tuple, str, bytes)):
            total += len(one) * 8
        if not isinstance(one, (torch.Tensor, np.ndarray, str, bytes)) and not hasattr(
            one, "__path__"
        ):
            stack += [r for r in gc.get_referents(one) if type(r).__name__ != "module"]
    return total


def test_recordings_of_another_rate_equal_their_stream(trained, tmp_path):
    samples = audio.resample(
        tones.speak(["low", "high"], np.random.default_rng(3)).astype(np.float32), 8000, 44100
    )
    soundfile.write(tmp_path / "a.flac", samples, 44100)
    read, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    recognizer = load(trained, "cpu")
    expected = recognizer.transcribe(tmp_path / "a.flac")
    assert len(expected.words) == 2
    assert_same(in_pieces(recognizer.stream(44100), read, [441, 4410, 17])[1], expected)
