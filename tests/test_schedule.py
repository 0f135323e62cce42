"""The learning rate over a run, and the effects of validations."""

import itertools

import pytest

from asr.config import TrainConfig
from asr.training.schedule import TrainingState, learning_rate, record_validation


def test_cosine_warms_up_and_falls_to_zero():
    c = TrainConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, c) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == max(rates) == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.5) and rates[-1] < 0.001


def test_plateau_stays_at_the_peak():
    c = TrainConfig(learning_rate=1.0, warmup=0.1, schedule="plateau")
    assert {learning_rate(step, 100, c) for step in range(10, 100)} == {1.0}


def test_noam_falls_with_the_root_of_the_step():
    c = TrainConfig(learning_rate=1.0, warmup=0.1, schedule="noam")
    rates = [learning_rate(step, 1000, c) for step in range(1000)]
    assert rates[99] == max(rates) == 1.0 and rates[49] == pytest.approx(0.5)
    assert rates[399] == pytest.approx(0.5) and rates[899] == pytest.approx(1 / 3)


def test_the_annealed_rate_falls_from_epoch_to_epoch():
    c = TrainConfig(learning_rate=1.0, warmup=0, schedule="exponential", anneal=1.25)
    found = [learning_rate(10 * epoch + i, 30, c, epoch) for epoch in range(3) for i in range(10)]
    assert found == [1.0] * 10 + [0.8] * 10 + [pytest.approx(0.64)] * 10


def test_plateau_halves_the_rate_without_improvement():
    c = TrainConfig(schedule="plateau", patience=2)
    state = TrainingState()
    for wer in (0.5, 0.4, 0.4, 0.41, 0.39):
        record_validation(state, (wer, wer), c)
    assert state.rate_scale == 0.5 and state.best == (0.39, 0.39)


def test_early_stopping_without_improvement():
    c = TrainConfig(early_stopping=3)
    state = TrainingState()
    stopped = []
    for wer in (0.5, 0.6, 0.6, 0.4, 0.4, 0.41, 0.5):
        record_validation(state, (wer, wer), c)
        stopped.append(state.stopped)
    assert stopped == [False] * 6 + [True] and state.best == (0.4, 0.4)


def test_the_later_of_equal_validations_is_the_best():
    state = TrainingState()
    found = []
    for state.epoch, wer in enumerate((0.5, 0.3, 0.3, 0.4)):
        found.append(record_validation(state, (wer, wer), TrainConfig()))
    assert found == [True, True, True, False] and state.best_epoch == 3
