"""Scripts from right to left and without spaces: texts, tokens, error rates, manifests, a model."""

import io

import numpy as np
import pytest
import soundfile
from rich.console import Console

import asr
from asr.config import Config, TextConfig
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.pipeline.rows import train_rows
from asr.scoring.wer import Pair, score
from asr.text import tokenizer
from asr.text.normalize import normalize
from asr.text.tokenizer import BLANK, decode

HEBREW = TextConfig(language="he", marks="remove", numbers="spell")
CHINESE = TextConfig(ideographs="split")


@pytest.mark.parametrize(
    ("config", "text", "expected"),
    [
        (HEBREW, "שָׁלוֹם, עוֹלָם! 3", "שלום עולם שלוש"),
        (HEBREW, "בית־ספר ג'ירפה", "בית ספר ג'ירפה"),
        (HEBREW, '"ג׳ירפה" וצה"ל, צה״ל', "ג'ירפה וצה״ל צה״ל"),  # geresh and gershayim
        (HEBREW, "'שלום' ר׳ \"א\"", "שלום ר א"),
        (HEBREW, "\u200fשלום\u200e world\u200f", "שלום world"),  # marks of direction
        (CHINESE, "你好，世界！OK", "你 好 世 界 ok"),
        (CHINESE, "他有3個蘋果。", "他 有 3 個 蘋 果"),
    ],
)
def test_texts_are_normalized(config, text, expected):
    assert normalize(text, config) == expected
    assert normalize(expected, config) == expected


@pytest.mark.parametrize("kind", ["characters", "bpe", "unigram"])
@pytest.mark.parametrize(
    "texts",
    [
        ["שלום עולם", "מה שלומך היום", "היום אני לומד עברית"],
        ["你 好 世 界", "今 天 天 气 很 好", "我 们 去 公 园"],
    ],
)
def test_tokens_give_the_text_back_in_its_logical_order(kind, texts):
    size = len(set("".join(texts))) + 12
    learned = tokenizer.train([*texts, *" ".join(texts).split()], kind, size)
    for text in texts:
        tokens = learned.encode(text)
        assert BLANK not in tokens and decode(tokens, learned.pieces) == text


def test_error_rates():
    hebrew = score([Pair("a", "שלום עולם טוב", "שלום עולם רע")])
    assert hebrew.wer == pytest.approx(1 / 3)
    assert hebrew.cer == pytest.approx(3 / 13)  # טוב -> רע: two substituted, one deleted
    # Words of a text without spaces are its characters once they are split.
    chinese = score([Pair("a", normalize("你好世界", CHINESE), normalize("你好事界", CHINESE))])
    assert chinese.wer == pytest.approx(1 / 4)
    whole = score([Pair("a", "你好世界", "你好事界")])
    assert whole.wer == 1 and whole.cer == pytest.approx(1 / 4)
    assert asr.cer("你好世界", "你好事界") == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("texts", "config"),
    [(["שלום עולם", "מה שלומך"], HEBREW), (["你好世界", "今天很好"], CHINESE)],
)
def test_from_training_to_the_written_transcript(tmp_path, texts, config):
    draw = np.random.default_rng(0)
    rows = []
    for i in range(4):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, 0.1 * draw.standard_normal(16000), 16000)
        rows.append(Utterance(str(i), str(path), text=texts[i % 2], language=config.language))
    manifest.write(tmp_path / "rows.jsonl", rows)
    rows = manifest.read(tmp_path / "rows.jsonl")
    assert [u.text for u in rows] == texts * 2
    settings = Config(
        name="small",
        text=config,
        model={"preset": "tiny", "layers": 1, "hidden": 8, "channels": 2},
        train={"epochs": 1, "workers": 0, "threads": 1, "device": "cpu"},
    )
    model = train_rows(settings, rows, rows, tmp_path / "run", Console(file=io.StringIO()))
    known = set("".join(model.tokenizer.pieces))
    assert set(normalize("".join(texts), config)) - {" "} <= known
    recognizer = asr.load(tmp_path / "run/model.asr")
    assert set(recognizer.transcribe(rows[0].audio).text) <= known | {" "}
