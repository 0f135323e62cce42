"""Live connections whose packets are computed together get the texts of their recordings."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from test_stream import RATE_HZ, said, save_streaming_model

from asr.export.model import export
from asr.model.model_file import load_model
from asr.recognition.recognizer import load
from asr.server.live_batching import LiveBatches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    save_streaming_model(folder / "live.asr")
    export(folder / "live.onnx", load_model(folder / "live.asr"))
    return folder


@pytest.mark.parametrize("name", ["live.asr", "live.onnx"])
def test_connections_together_get_what_each_would_get_alone(folder, name, monkeypatch):
    recognizer = load(folder / name, "cpu")
    recordings = [said(seconds, seed) for seed, seconds in enumerate((3.0, 2.0, 2.5))]
    streams = [recognizer.stream(RATE_HZ) for _ in recordings]
    computed, feed_together = [], recognizer.emitter.feed_together

    def counted(of_batch, pieces):
        computed.append(len(of_batch))
        return feed_together(of_batch, pieces)

    monkeypatch.setattr(recognizer.emitter, "feed_together", counted)
    with ThreadPoolExecutor(2) as pool:
        batches = LiveBatches(pool, lambda stage, seconds: None)
        for start in range(0, 3 * RATE_HZ, RATE_HZ // 5):
            futures = [
                batches.feed(recognizer, stream, samples[start : start + RATE_HZ // 5])
                for stream, samples in zip(streams, recordings, strict=True)
            ]
            for future in futures:
                future.result(timeout=60)
        batches.close()
    assert sum(computed) == 45 and max(computed) > 1
    for stream, samples in zip(streams, recordings, strict=True):
        expected = recognizer.transcribe(samples, rate_hz=RATE_HZ)
        assert stream.finish().text == expected.text != ""
