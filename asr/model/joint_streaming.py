"""Several streams of one causal model, whose recurrent layers are computed at once.

A recurrent layer reads all its weights for each frame, whether it computes one stream or twenty, so
the time of twenty streams together is about that of three alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr.model.streaming import AcousticStream, TorchEmissionStream, evaluation


def feed_together(
    streams: Sequence[TorchEmissionStream], pieces: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """`TorchEmissionStream.feed` for streams of one model: [(N_i,)] float32 -> [(T_i, V)].

    A stream occurs once at most.
    """
    found: dict[int, np.ndarray] = {}
    together = []
    for i, (stream, piece) in enumerate(zip(streams, pieces, strict=True)):
        if _joins(stream.acoustic) and len(piece) <= stream.block:
            together.append(i)
        else:
            found[i] = stream.feed(piece)
    if together:
        rows = _feed([streams[i] for i in together], [pieces[i] for i in together])
        found |= zip(together, rows, strict=True)
    return [found[i] for i in range(len(streams))]


def _joins(stream: AcousticStream) -> bool:
    """Whether its layers are LSTMs with nothing between them."""
    model = stream.model
    return model.condition is None and all(isinstance(r.forward_rnn, nn.LSTM) for r in model.layers)


@torch.inference_mode()
def _feed(streams: Sequence[TorchEmissionStream], pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    acoustics = [stream.acoustic for stream in streams]
    device = acoustics[0].model.head.weight.device
    modules = (streams[0].features.features, acoustics[0].model)
    with evaluation(*modules), torch.backends.cudnn.flags(allow_tf32=False):
        inputs = [
            stream.acoustic.convolved(stream.features.feed(torch.from_numpy(piece).to(device)))
            for stream, piece in zip(streams, pieces, strict=True)
        ]
        outputs = _recur(acoustics, inputs)
        return [
            acoustic.read(x).cpu().numpy() for acoustic, x in zip(acoustics, outputs, strict=True)
        ]


def _recur(streams: Sequence[AcousticStream], inputs: Sequence[Tensor]) -> list[Tensor]:
    """[(T_i, W)] -> [(T_i, W)], T_i from 0 up, through the recurrent layers."""
    outputs = list(inputs)
    # In the order of their lengths, the streams that still have a frame come first.
    order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
    order = [i for i in order if len(inputs[i])]
    if not order:
        return outputs
    lengths = [len(inputs[i]) for i in order]
    x = torch.cat([inputs[i] for i in order])  # (sum of T, W)
    for number, layer in enumerate(streams[0].model.layers):
        states = [streams[i].recurrences[number] for i in order]
        y, states = _advance(layer.forward_rnn, layer.norm(x), lengths, states)
        for i, state in zip(order, states, strict=True):
            streams[i].recurrences[number] = state
        x = x + y
    for i, part in zip(order, x.split(lengths), strict=True):
        outputs[i] = part
    return outputs


def _advance(
    rnn: nn.LSTM,
    x: Tensor,
    lengths: Sequence[int],
    states: Sequence[tuple[Tensor, Tensor] | None],
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """(sum of T_i, W), the longest first, and the states before -> (sum of T_i, H), the states."""
    size = rnn.hidden_size
    empty = x.new_zeros(1, 1, size)
    hidden, cell = (
        torch.cat([empty if state is None else state[part] for state in states])[:, 0]
        for part in (0, 1)
    )  # (B, H)
    inputs = nn.functional.linear(x, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0)
    padded = pad_sequence(list(inputs.split(list(lengths))))  # (T, B, 4 H)
    recurrent = rnn.weight_hh_l0.t()
    outputs = x.new_zeros(len(lengths), lengths[0], size)
    for t, gates in enumerate(padded):
        count = sum(length > t for length in lengths)
        mixed = torch.addmm(gates[:count], hidden[:count], recurrent)
        i, f, g, o = mixed.chunk(4, 1)
        cell[:count] = f.sigmoid() * cell[:count] + i.sigmoid() * g.tanh()
        hidden[:count] = o.sigmoid() * cell[:count].tanh()
        outputs[:count, t] = hidden[:count]
    joined = torch.cat([row[:length] for row, length in zip(outputs, lengths, strict=True)])
    after = [(hidden[b][None, None], cell[b][None, None]) for b in range(len(lengths))]
    return joined, after
