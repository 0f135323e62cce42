"""Pictures of the sound itself: waveform, spectrum, spectrogram, mel filters, log-mel."""

from __future__ import annotations

import numpy as np

from asr.audio.spectrogram import hz_to_mel
from asr.plotting.recording import drawing
from asr.plotting.recording.drawing import MARK, QUIET, SECOND, WAVE, Picture
from asr.plotting.recording.excerpt import Excerpt

NEAR_S, NEAREST_S = 0.040, 0.004  # durations of the second and third panel of a waveform


def waveform(excerpt: Excerpt) -> Picture:
    """The whole excerpt, and two magnified parts of it."""
    samples, times_s = excerpt.samples, excerpt.times_s
    figure, (whole, near, nearest) = drawing.stacked([1.7, 1.7, 1.7], share_x=False)
    drawing.wave(whole, excerpt)
    middle_s = times_s[_sample_of(excerpt, moments(excerpt)[0])]
    peak = 1.1 * max(np.abs(samples).max(), 1e-4)
    drawing.title(whole, f"{excerpt.name}: {len(samples)} samples")
    outer = whole
    for axes, length_s in ((near, NEAR_S), (nearest, NEAREST_S)):
        first = max(excerpt.start_s, middle_s - length_s / 2)
        inside = (times_s >= first) & (times_s < first + length_s)
        outer.axvspan(first, first + length_s, color=MARK, alpha=0.35, linewidth=0)
        axes.axhline(0, color=QUIET, linewidth=0.5)
        axes.plot(times_s[inside], samples[inside], color=WAVE, linewidth=1)
        axes.set_xlim(first, first + length_s)
        drawing.label(axes, y="amplitude")
        outer = axes
    drawing.title(near, f"the marked {1000 * NEAR_S:g} ms")
    nearest.vlines(times_s[inside], 0, samples[inside], color=WAVE, linewidth=0.6, alpha=0.5)
    nearest.plot(times_s[inside], samples[inside], "o", color=WAVE, markersize=3.5)
    drawing.title(nearest, f"the marked {1000 * NEAREST_S:g} ms of these, sample by sample")
    drawing.label(nearest, "seconds")
    for axes in (whole, near, nearest):
        axes.set_ylim(-peak, peak)
    return Picture(
        figure,
        f"{len(samples)} samples, {excerpt.rate_hz} Hz, {len(samples) / excerpt.rate_hz:.3f} s; "
        f"the peak is {np.abs(samples).max():.4f} of full scale",
    )


def moments(excerpt: Excerpt) -> tuple[int, int]:
    """The indices of two frames, which in speech are typically in a vowel and in a sibilant.

    The first is the loudest frame. With `low` and `high` the power in the lower and upper half of
    the spectrum, the second has the highest high / low of the frames with high >= max(high) / 4.
    """
    power = 10 ** (excerpt.spectrogram / 10)  # (T, bins)
    low, high = (half.sum(axis=1) for half in np.array_split(power, 2, axis=1))
    ratio = np.where(high >= high.max() / 4, high / low, 0)
    return int((low + high).argmax()), int(ratio.argmax())


def _sample_of(excerpt: Excerpt, frame: int) -> int:
    return min(len(excerpt.samples) - 1, round(frame * excerpt.hop_s * excerpt.rate_hz))


def spectrum(excerpt: Excerpt) -> Picture:
    """The waveforms of two windows, and their spectra."""
    figure, rows = drawing.stacked([2.1, 2.1], columns=2)
    window = round(excerpt.features.window_ms / 1000 * excerpt.rate_hz)  # samples
    hertz = np.linspace(0, excerpt.rate_hz / 2, excerpt.spectrogram.shape[1])
    levels = drawing.relative_db(excerpt.spectrogram)
    facts = []
    for (left, right), frame, color, name in zip(
        rows, moments(excerpt), (MARK, SECOND), ("the loudest", "the most sibilant"), strict=True
    ):
        middle = _sample_of(excerpt, frame)
        inside = slice(max(0, middle - window // 2), middle + window // 2)
        at_s = excerpt.start_s + frame * excerpt.hop_s
        left.axhline(0, color=QUIET, linewidth=0.5)
        from_middle_ms = 1000 * (excerpt.times_s[inside] - at_s)
        left.plot(from_middle_ms, excerpt.samples[inside], color=color, linewidth=0.9)
        drawing.title(left, f"{name} {excerpt.features.window_ms:g} ms, around {at_s:.2f} s")
        drawing.label(left, y="amplitude")
        right.plot(hertz, levels[frame], color=color, linewidth=1)
        right.fill_between(hertz, -drawing.DYNAMIC_RANGE_DB, levels[frame], color=color, alpha=0.15)
        right.set_xlim(0, excerpt.rate_hz / 2)
        right.set_ylim(-drawing.DYNAMIC_RANGE_DB, 5)
        drawing.title(right, "its spectrum")
        drawing.label(right, y="power, dB")
        strongest = hertz[levels[frame].argmax()]
        facts.append(f"{name} {at_s:.2f} s, strongest at {strongest:.0f} Hz")
    drawing.label(rows[-1][0], "milliseconds")
    drawing.label(rows[-1][1], "hertz")
    return Picture(figure, "; ".join(facts))


def spectrogram(excerpt: Excerpt) -> Picture:
    """The waveform, and below it the spectrogram."""
    figure, (above, below) = drawing.stacked([1.1, 2.9])
    drawing.wave(above, excerpt)
    drawing.title(above, excerpt.name)
    drawing.decibels(below, excerpt, excerpt.spectrogram, (0, excerpt.rate_hz / 2))
    for frame, color in zip(moments(excerpt), (MARK, SECOND), strict=True):
        for axes in (above, below):
            at_s = excerpt.start_s + frame * excerpt.hop_s
            axes.axvline(at_s, color=color, linewidth=1.2, linestyle=(0, (4, 3)))
    drawing.label(below, "seconds", "hertz")
    frames, bins = excerpt.spectrogram.shape
    return Picture(
        figure,
        f"{frames} frames, one every {1000 * excerpt.hop_s:g} ms, of {bins} frequency bins, "
        f"{excerpt.rate_hz / 2 / (bins - 1):.2f} Hz apart",
    )


def mel_filters(excerpt: Excerpt) -> Picture:
    """The mel scale, and the triangular filter of each band."""
    figure, (scale, filters) = drawing.stacked([2.2, 1.7])
    low_hz, high_hz = excerpt.mel_range_hz
    hertz = np.linspace(low_hz, high_hz, 500)
    scale.plot(hertz, hz_to_mel(hertz), color=WAVE)
    steps = np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), 11)
    for step, at_hz in zip(steps, np.interp(steps, hz_to_mel(hertz), hertz), strict=True):
        scale.plot([0, at_hz, at_hz], [step, step, 0], color=QUIET, linewidth=0.6)
    scale.set_ylim(0, 1.05 * hz_to_mel(high_hz))
    drawing.title(scale, "equal steps on the mel scale are increasing steps in hertz")
    drawing.label(scale, y="mel")
    triangles = excerpt.mel_filters  # (n_mels, bins)
    bins_hz = np.linspace(0, excerpt.rate_hz / 2, triangles.shape[1])
    for number, triangle in enumerate(triangles):
        filters.plot(bins_hz, triangle, color=(WAVE, MARK)[number % 2], linewidth=0.8)
    filters.set_xlim(0, excerpt.rate_hz / 2)
    filters.set_ylim(0, 1.1)
    drawing.title(filters, f"{len(triangles)} mel filters, one for each band")
    drawing.label(filters, "hertz", "weight")
    edges_mel = np.linspace(steps[0], steps[-1], len(triangles) + 2)
    edges = np.interp(edges_mel, hz_to_mel(hertz), hertz)
    return Picture(
        figure,
        f"{len(triangles)} bands from {low_hz:g} to {high_hz:g} Hz; the lowest is "
        f"{edges[2] - edges[0]:.0f} Hz wide, the highest {edges[-1] - edges[-3]:.0f} Hz; "
        f"the frequency bins are {bins_hz[1]:.2f} Hz apart",
    )


def log_mel(excerpt: Excerpt) -> Picture:
    """The waveform, and below it the log-mel spectrogram, the power in each mel band."""
    figure, (above, below) = drawing.stacked([1.1, 2.6])
    drawing.wave(above, excerpt)
    drawing.title(above, excerpt.name)
    drawing.decibels(below, excerpt, excerpt.log_mel)
    drawing.mel_axis(below, excerpt)
    drawing.label(below, "seconds", "hertz (mel bands)")
    frames, bands = excerpt.log_mel.shape
    return Picture(
        figure,
        f"{frames} frames of {bands} bands: {frames * bands} values for "
        f"{len(excerpt.samples)} samples",
    )
