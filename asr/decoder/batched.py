"""Prefix beam search of many utterances at once, in tensors: for a GPU, and exact like the other.

Every frame of every utterance takes the same few operations on (B, K, C) tensors: B utterances, K
prefixes of the beam, C tokens that a frame may emit. Prefixes are told apart by a 64-bit hash of
their tokens instead of by a trie; two different ones would have to collide, in one beam, to be
mistaken. Sums are in float64, so that the order of prefixes is that of `BeamDecoder`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from asr.decoder.align import align
from asr.decoder.beam import BeamDecoder
from asr.decoder.tensor_fusion import Fused, TensorFusion
from asr.decoder.words import words_of
from asr.text.tokenizer import BLANK, decode
from asr.transcript import Hypothesis

IMPOSSIBLE = float("-inf")
ROOT_HASH, NO_HASH, DEAD_HASH = 0x1234567, -1, -2


class Beam(NamedTuple):
    """The prefixes of each utterance, best first; places that are free have the log-prob -inf."""

    p_blank: Tensor  # (B, K) float64, log sum of the paths that end in a blank
    p_token: Tensor  # (B, K) float64, and of those that end in the last token
    last: Tensor  # (B, K) int64, last token, BLANK for the empty prefix
    hash: Tensor  # (B, K) int64
    parent_hash: Tensor  # (B, K) int64
    fused: Fused  # (B, K) each

    @property
    def total(self) -> Tensor:
        return torch.logaddexp(self.p_blank, self.p_token)


class Frames(NamedTuple):
    """The frames that emit tokens, each utterance's first; those with the blank alone are gone."""

    tokens: Tensor  # (B, N, C) int64, likeliest first
    values: Tensor  # (B, N, C) float64, log-probs; -inf where no token is kept
    blank: Tensor  # (B, N) float64
    rested: Tensor  # (B, N) bool, frames with the blank alone stood before this one
    counts: Tensor  # (B,) int64
    base: Tensor  # (B,) float64, log-prob of the frames that are gone


class BatchedBeamDecoder:
    """`decoder`, on tensors: the same texts and scores, for many utterances at once.

    Word times and confidences are those of the likeliest path of each text through all frames
    (forced alignment), also where `decoder` has pruned it. Devices without float64 (MPS) are
    refused by torch.
    """

    def __init__(self, decoder: BeamDecoder, device: torch.device | str = "cpu"):
        self.decoder = decoder
        self.device = torch.device(device)
        self._fusion = TensorFusion(decoder.fusion, decoder.pieces, self.device)

    @torch.inference_mode()
    def decode_batch(
        self, log_probs: Tensor, lengths: Tensor, frame_s: float
    ) -> list[list[Hypothesis]]:
        """The likeliest texts of each utterance, best first, as `BeamDecoder.decode` gives them.

        log_probs: (B, T, V) natural logs; lengths: (B,) frames of each; frame_s: seconds a frame.
        """
        if log_probs.ndim != 3 or log_probs.shape[2] != len(self.decoder.pieces):
            raise ValueError(
                f"emissions have the shape {tuple(log_probs.shape)}, "
                f"not (utterances, frames, {len(self.decoder.pieces)})"
            )
        log_probs, lengths = log_probs.to(self.device), lengths.to(self.device)
        inside = torch.arange(log_probs.shape[1], device=self.device) < lengths[:, None]
        if (log_probs.isnan() & inside[:, :, None]).any():
            raise ValueError("the emissions contain NaN")
        frames = self._select(log_probs, inside)
        beam, links = self._begin(len(log_probs)), []
        for t in range(frames.tokens.shape[1]):
            beam, link = self._step(beam, frames, t)
            links.append(link)
        scores = frames.base[:, None] + beam.total + self._fusion.finish(beam.fused)
        return self._results(beam, links, scores, log_probs, lengths, frame_s)

    def _select(self, log_probs: Tensor, inside: Tensor) -> Frames:
        """What every frame may emit, by the rules of `search.keep_tokens`."""
        limits = self.decoder.limits
        room = min(limits.tokens_per_frame, log_probs.shape[2] - 1)
        blank = log_probs[:, :, BLANK].double()  # (B, T)
        values, tokens = log_probs[:, :, BLANK + 1 :].topk(room, dim=2)  # (B, T, C)
        values, tokens = values.double(), tokens + BLANK + 1
        kept = values >= limits.token_min_logp
        best = values[:, :, :1]
        kept[:, :, :1] |= (best > blank[:, :, None]) & (blank[:, :, None] < limits.token_min_logp)
        kept &= inside[:, :, None]
        values = torch.where(kept, values, IMPOSSIBLE)
        speaks = kept.any(dim=2)
        counts = speaks.sum(dim=1)
        longest = int(counts.amax()) if len(counts) else 0
        widest = int(kept.sum(dim=2).amax()) if longest else 1
        order = torch.argsort((~speaks).int(), dim=1, stable=True)[:, :longest]  # (B, N)
        frames = order[:, :, None].expand(-1, -1, widest)
        return Frames(
            tokens[:, :, :widest].gather(1, frames),
            values[:, :, :widest].gather(1, frames),
            blank.gather(1, order),
            order.diff(dim=1, prepend=torch.full_like(order[:, :1], -1)) > 1,
            counts,
            torch.where(inside & ~speaks, blank, 0.0).sum(dim=1),
        )

    def _begin(self, utterances: int) -> Beam:
        shape = (utterances, self.decoder.limits.beam)
        impossible = torch.full(shape, IMPOSSIBLE, dtype=torch.float64, device=self.device)
        empty = torch.arange(shape[1], device=self.device).expand(shape) == 0
        return Beam(
            p_blank=torch.where(empty, 0.0, impossible),
            p_token=impossible,
            last=torch.full(shape, BLANK, device=self.device),
            hash=torch.where(empty, ROOT_HASH, DEAD_HASH),
            parent_hash=torch.full(shape, NO_HASH, device=self.device),
            fused=self._fusion.begin(shape),
        )

    def _step(self, beam: Beam, frames: Frames, t: int) -> tuple[Beam, tuple[Tensor, Tensor]]:
        """The beam after one more frame, and where it comes from: slots, and tokens or BLANK."""
        tokens, values = frames.tokens[:, t], frames.values[:, t]  # (B, C)
        going_on = (t < frames.counts)[:, None]  # (B, 1); an utterance that has ended stays
        total, rested = beam.total, frames.rested[:, t, None]
        p_blank = torch.where(rested, total, beam.p_blank)
        p_token = torch.where(rested, IMPOSSIBLE, beam.p_token)

        # Prefixes that stay: blank, the last token again, or coming from their parent in the beam.
        is_last = beam.last[:, :, None] == tokens[:, None, :]  # (B, K, C)
        emitted = torch.where(is_last, values[:, None, :], IMPOSSIBLE).amax(dim=2)
        is_child = beam.parent_hash[:, :, None] == beam.hash[:, None, :]  # (B, child K, parent K)
        parent = is_child.byte().argmax(dim=2)
        repeats = beam.last.gather(1, parent) == beam.last
        incoming = torch.where(repeats, p_blank.gather(1, parent), total.gather(1, parent))
        incoming = torch.where(is_child.any(dim=2), incoming, IMPOSSIBLE)
        stay_blank = torch.where(going_on, total + frames.blank[:, t, None], beam.p_blank)
        stay_token = torch.logaddexp(p_token, incoming) + emitted
        stay_token = torch.where(going_on, stay_token, beam.p_token)
        stay_score = torch.logaddexp(stay_blank, stay_token)

        # Prefixes one token longer, unless they are in the beam.
        in_beam = torch.bmm(is_child.transpose(1, 2).float(), is_last.float()) > 0
        longer = torch.where(is_last, p_blank[:, :, None], total[:, :, None]) + values[:, None, :]
        longer = torch.where(in_beam | ~going_on[:, :, None], IMPOSSIBLE, longer)
        score = torch.cat([stay_score, longer.flatten(1)], dim=1)  # (B, K + K * C)
        if self._fusion.numbers.active:
            closed = self._fusion.close(beam.fused)
            wide = self._fusion.extend(
                *(Fused(*(field[:, :, None] for field in f)) for f in (beam.fused, closed)),
                tokens[:, None, :],
            )
            fused = torch.cat([beam.fused.score, wide.score.flatten(1)], dim=1)
            score = torch.where(score == IMPOSSIBLE, IMPOSSIBLE, score + fused)

        score, chosen = score.topk(beam.last.shape[1], dim=1)  # (B, K)
        alive = (score > IMPOSSIBLE) & (score >= score[:, :1] - self.decoder.limits.beam_margin)
        stays = chosen < beam.last.shape[1]
        child = (chosen - beam.last.shape[1]).clamp(min=0)
        slot = torch.where(stays, chosen, child // tokens.shape[1])
        token = tokens.gather(1, child % tokens.shape[1])
        origin = beam.hash.gather(1, slot)
        fused = beam.fused
        if self._fusion.numbers.active:
            old = beam.fused.take(slot)
            new = self._fusion.extend(old, closed.take(slot), token)
            fused = Fused(*map(torch.where, [stays] * len(old), old, new))
        p_longer = longer.flatten(1).gather(1, child)
        after = Beam(
            torch.where(stays & alive, stay_blank.gather(1, slot), IMPOSSIBLE),
            torch.where(stays, stay_token.gather(1, slot), p_longer).where(alive, IMPOSSIBLE),
            torch.where(stays, beam.last.gather(1, slot), token),
            torch.where(stays, origin, _hash(origin, token)).where(alive, DEAD_HASH),
            torch.where(stays, beam.parent_hash.gather(1, slot), origin).where(alive, NO_HASH),
            fused,
        )
        return after, (slot.int(), torch.where(stays, BLANK, token).int())

    def _results(
        self,
        beam: Beam,
        links: list[tuple[Tensor, Tensor]],
        scores: Tensor,
        log_probs: Tensor,
        lengths: Tensor,
        frame_s: float,
    ) -> list[list[Hypothesis]]:
        pieces, begins = self.decoder.pieces, self.decoder.fusion.begins
        impossible = beam.total == IMPOSSIBLE
        scores = torch.where(impossible, IMPOSSIBLE, scores).cpu().numpy()
        written = _trace([[one.cpu().numpy() for one in link] for link in links], scores.shape)
        emissions, counts = log_probs.cpu().numpy(), lengths.tolist()
        results = []
        for b, count in enumerate(counts):
            found: dict[str, Hypothesis] = {}
            for slot in np.argsort(-scores[b], kind="stable"):
                if len(found) == self.decoder.n_best or scores[b, slot] == IMPOSSIBLE:
                    break
                tokens = written[:, b, slot][written[:, b, slot] != BLANK].tolist()
                text = decode(tokens, pieces)
                if text not in found:
                    words = _timed(emissions[b, :count], tokens, pieces, frame_s)
                    found[text] = Hypothesis(tuple(tokens), text, float(scores[b, slot]), words)
            if not found:  # the lexicon knows only the beginning of the last word
                tokens = written[:, b, 0][written[:, b, 0] != BLANK].tolist()
                last = max((i for i, token in enumerate(tokens) if begins[token]), default=0)
                tokens = [] if impossible[b, 0] else tokens[:last]
                words = _timed(emissions[b, :count], tokens, pieces, frame_s)
                found[""] = Hypothesis(tuple(tokens), decode(tokens, pieces), IMPOSSIBLE, words)
            results.append(list(found.values()))
        return results


def _hash(parent: Tensor, token: Tensor) -> Tensor:
    """Of a prefix, from that of all but its last token; mixes as splitmix64 does, modulo 2^64."""
    mixed = (parent + token) * -7046029254386353131
    mixed = (mixed ^ (mixed >> 30)) * -4658895280553007687
    return mixed ^ (mixed >> 27)


def _trace(links: list[list[np.ndarray]], shape: tuple[int, int]) -> np.ndarray:
    """Tokens, or BLANK, that each prefix (B, K) of the last beam wrote in each frame, (N, B, K)."""
    written = np.empty((len(links), *shape), np.int32)
    utterance = np.arange(shape[0])[:, None]
    slot = np.tile(np.arange(shape[1]), (shape[0], 1))
    for t in range(len(links) - 1, -1, -1):
        slots, tokens = links[t]
        written[t] = tokens[utterance, slot]
        slot = slots[utterance, slot]
    return written


def _timed(log_probs: np.ndarray, tokens: list[int], pieces: list[str], frame_s: float):
    """Words of an utterance (T, V) with times, and each token's highest posterior on the way."""
    if not tokens:
        return ()
    path = align(log_probs, tokens)
    peaks = [
        float(log_probs[start:end, token].max())
        for token, start, end in zip(tokens, path.starts, path.ends, strict=True)
    ]
    return words_of(tokens, path.starts.tolist(), path.ends.tolist(), peaks, pieces, frame_s)
