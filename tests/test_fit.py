"""The texts that fit their audio worst: order, number, and those that cannot be aligned."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.recognition import fit


def aligned_by(scores):
    """In place of `align_recording`: the score of each utterance; None cannot be aligned."""

    def align_recording(recognizer, utterance, sentences):
        score = scores[int(utterance.id)]
        if score is None:
            raise UserError(f"{utterance.audio}: too few frames")
        return None, [replace(utterance, extra={"score": score})]

    return align_recording


@given(st.lists(st.none() | st.floats(-20, 0), max_size=30), st.integers(1, 5))
def test_the_lowest_scores_are_kept_in_order(scores, count):
    utterances = [Utterance(str(i), "a.wav", text=f"text {i}") for i in range(len(scores))]
    original, fit.align_recording = fit.align_recording, aligned_by(scores)
    try:
        found = fit.worst_fits(None, iter(utterances), count)
    finally:
        fit.align_recording = original
    known = sorted(score for score in scores if score is not None)
    assert [score for score, _, _ in found.worst] == known[:count]
    assert all(scores[int(name)] == score for score, name, _ in found.worst)
    assert [name for name, _ in found.failed] == [
        str(i) for i, score in enumerate(scores) if score is None
    ]
