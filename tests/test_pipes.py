"""Commands in wav.scp are parsed but never run: supported ones, and their input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers.pipes import NotUnderstood, Piped, understand

UNDERSTOOD = {
    "sph2pipe -f wav a.sph |": ("a.sph", None),
    "sph2pipe -f wav -p -c 1 a.sph |": ("a.sph", 0),
    "/k/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 2 'my file.sph' |": ("my file.sph", 1),
    "flac -c -d -s '/data/my $(music) | 1;.flac' |": ("/data/my $(music) | 1;.flac", None),
    "sph2pipe -p a.sph - |": ("a.sph", None),
    "flac -c -d -s a.flac |": ("a.flac", None),
    "flac -dcs a.flac|": ("a.flac", None),
    "flac --decode --stdout --silent a.flac |": ("a.flac", None),
    "sox a.mp3 -t wav - |": ("a.mp3", None),
    "sox -t wav a.wav -r 16k -b 16 -c 1 -e signed -t wav - |": ("a.wav", None),
    "sox a.wav -t wav -r 8000 - remix 2 |": ("a.wav", 1),
    "sox a.wav -t wav - rate -v 16000 channels 1 |": ("a.wav", None),
    "sox -V1 a.wav -t wav - dither -s |": ("a.wav", None),
    "ffmpeg -i a.m4a -ac 1 -ar 16000 -f wav - |": ("a.m4a", None),
    "ffmpeg -nostdin -loglevel quiet -i a.m4a -acodec pcm_s16le -f wav pipe:1 |": ("a.m4a", None),
    "cat a.wav |": ("a.wav", None),
    "sph2pipe -f wav -p -c 1 a.sph | sox -t wav - -r 16000 -t wav - |": ("a.sph", 0),
    "cat a.wav | sox -t wav - -t wav - remix 2 |": ("a.wav", 1),
    "ffmpeg -i a.m4a -f wav - | sox -t wav - -r 8000 -t wav - |": ("a.m4a", None),
}

REFUSED = {
    "rm -rf / |": "rm is not known",
    "touch x; sph2pipe -f wav a.sph |": "needs a shell",
    "sph2pipe -f wav $(touch x) |": "needs a shell",
    "sph2pipe -f wav `touch x` |": "needs a shell",
    "sph2pipe -f wav a.sph > b.wav |": "needs a shell",
    "$KALDI_ROOT/tools/sph2pipe a.sph |": "needs a shell",
    "sph2pipe -f wav -t 0:5 a.sph |": "sph2pipe -t",
    "sph2pipe -f wav |": "must read one file",
    "sph2pipe -f wav -c 1,2 a.sph |": "not one channel",
    "flac a.wav |": "encodes",
    "flac -d -c --skip=100 a.flac |": "flac --skip",
    "sox a.wav -t wav - speed 0.9 |": "speed changes the sound",
    "sox a.wav -t wav - trim 1 2 |": "trim changes the sound",
    "sox a.wav -t wav - remix 1,2 |": "not one channel",
    "sox -v 0.5 a.wav -t wav - |": "sox -v",
    "sox a.wav b.wav -t wav - |": "write to -",
    "sox a.wav b.wav |": "write to -",
    "sox a.wav -c 2 -t wav - |": "several channels",
    "ffmpeg -i a.m4a -af volume=2 -f wav - |": "ffmpeg -af",
    "ffmpeg -i a.m4a -f wav b.wav |": "ffmpeg b.wav",
    "ffmpeg -ss 5 -i a.m4a -f wav - |": "ffmpeg -ss",
    "cat a.wav b.wav |": "must read one file",
    "cat a.wav | wc |": "wc is not known",
    "sox -t wav - -t wav - |": "names no file",
    "cat a.wav | sox b.wav -t wav - |": "reads another file",
    "sox a.wav -t wav - remix 1 | sox -t wav - -t wav - remix 1 |": "two commands",
    "sph2pipe 'a.sph |": "quotation",
    "|": "an empty command",
    "wav-copy ark:a.ark - |": "wav-copy is not known",
}


@pytest.mark.parametrize("command", UNDERSTOOD)
def test_understood(command):
    assert understand(command) == Piped(*UNDERSTOOD[command])


@pytest.mark.parametrize("command", REFUSED)
def test_refused(command):
    with pytest.raises(NotUnderstood, match=REFUSED[command]):
        understand(command)


WORDS = st.sampled_from(
    "sox flac ffmpeg cat sph2pipe - -t wav -r 16000 -c 1 2 -d -s -i -f -ac a.wav b.wav remix | ' \""
    " rate dither -p -ar pipe:1 speed 1.1 -x".split()
)


@given(st.lists(WORDS, max_size=14))
def test_any_words_are_understood_or_refused(words):
    command = " ".join([*words, "|"])
    try:
        found = understand(command)
    except NotUnderstood as error:
        assert str(error)
        return
    assert found.path in words
