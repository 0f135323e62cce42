"""The English model that the package contains, on recordings of people it was not trained on."""

import pytest

import asr
from asr.data import manifest
from asr.model.model_file import load_model
from asr.model.shipped import english
from asr.scoring.evaluate import evaluate


@pytest.fixture(scope="module")
def model():
    return load_model(english())


def test_the_file_is_small_and_has_a_language_model(model):
    assert english().stat().st_size <= 12_000_000
    assert model.ngram is not None and model.ngram.unit == "words"
    assert model.config.decoder.beam > 1


def test_the_card_states_data_licenses_rates_and_weaknesses(model):
    for heading in ("## Data", "## Error rates", "## What it is bad at"):
        assert heading in model.card
    for license in ("CC0", "CC BY 4.0", "public domain"):
        assert license in model.card


def test_prompts_of_a_known_voice_are_recognized_in_part(corpora):
    prompts = [
        u
        for u in manifest.read(corpora / "rhasspy_kathleen" / "manifest.tsv")
        if u.id.split("_")[1].endswith("0")
    ][:20]
    assert evaluate(asr.load(device="cpu"), prompts).wer < 0.7
