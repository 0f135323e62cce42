"""A grammar for the tokens of one model: a deterministic automaton, and the way back to the slots.

The words of a network become tokens (`TokenNetwork`), the network becomes deterministic by the
subset construction with weights (Mohri 1997), and states with equal futures are merged. Each
sentence then has exactly one path, so a decoder sums over the alignments of a sentence and never
over its readings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from asr.errors import UserError
from asr.lm.network import ArcBudget, GrammarTooLarge, Instruction, Network, words_after

MOST_STATES = 1_000_000
_ROUNDING = 9  # decimals of a weight by which states are compared

Encode = Callable[[str, bool], list[tuple[int, ...]]]


@dataclass(frozen=True)
class GrammarArrays:
    """A deterministic automaton over tokens, with S states and A arcs, for the decoder.

    Weights are factors, not logs. State 0 is the start; no arc leads to it.
    """

    arc_start: np.ndarray  # (S + 1,) int64; the arcs of state s are arc_start[s]:arc_start[s + 1]
    arc_source: np.ndarray  # (A,) int32, state
    arc_token: np.ndarray  # (A,) int32, ascending within a state
    arc_weight: np.ndarray  # (A,) float64
    arc_next: np.ndarray  # (A,) int32, state
    arc_repeats: np.ndarray  # (A,) bool, whether an arc into the source has the same token
    final_weight: np.ndarray  # (S,) float64; 0 where no sentence ends
    in_start: np.ndarray  # (S + 1,) int64; the arcs into s are in_arc[in_start[s]:in_start[s + 1]]
    in_arc: np.ndarray  # (A,) int32


class TokenNetwork:
    """The words of a network as tokens: a trie for each state between words.

    `children[node]` maps a token to the next node; `ends[node]` lists the states in which a word
    that ends in the node may end, with instructions and weight. `root(state)` is the first node.
    """

    def __init__(self, network: Network, encode: Encode):
        self.children: list[dict[int, int]] = []
        self.ends: list[list[tuple[int, tuple[Instruction, ...], float]]] = []
        self.final: dict[int, tuple[float, tuple[Instruction, ...]]] = {}  # root: end of a sentence
        self._network, self._encode = network, encode
        self.budget: ArcBudget = network.budget
        self._roots: dict[int, int] = {}
        self.start = self.root(0)
        if self.start in self.final:
            raise UserError("a sentence of the grammar may be empty; make one word of it required")

    def root(self, state: int) -> int:
        """The trie of the words that may follow in a state, made when it is first needed."""
        if state not in self._roots:
            self._roots[state] = self._node()
            self._build(self._roots[state], state)
        return self._roots[state]

    def _node(self) -> int:
        self.children.append({})
        self.ends.append([])
        return len(self.children) - 1

    def _build(self, root: int, state: int) -> None:
        network = self._network
        if state == network.final:
            self.final[root] = (0.0, ())
            return
        words, ends = words_after(network, state)
        for word, to, instructions, weight in words:
            for tokens in self._encode(word, state == 0):
                node = root
                for token in tokens:
                    if token not in self.children[node]:
                        self.budget.spend()
                        self.children[node][token] = self._node()
                    node = self.children[node][token]
                self.ends[node].append((to, instructions, weight))
        for _, _, instructions, weight in ends:
            if root not in self.final or weight > self.final[root][0]:
                self.final[root] = (weight, instructions)

    def read(self, tokens: Sequence[int]) -> tuple[Instruction, ...] | None:
        """The instructions of a sentence by its heaviest reading; None if it is not in the grammar.

        Of readings of the same weight, the first in the order of the file counts.
        """
        # node: weight, instructions, and the order in which it was found
        active: dict[int, tuple[float, tuple[Instruction, ...]]] = {self.start: (0.0, ())}
        for token in tokens:
            before, active = active, {}
            for node, (weight, instructions) in before.items():
                child = self.children[node].get(token)
                if child is not None:
                    self._reach(active, child, weight, instructions)
        ends = [
            (weight + self.final[node][0], instructions + self.final[node][1])
            for node, (weight, instructions) in active.items()
            if node in self.final
        ]
        return max(ends, key=lambda end: end[0])[1] if ends else None

    def _reach(self, active: dict, node: int, weight: float, instructions: tuple) -> None:
        if node not in active or weight > active[node][0]:
            active[node] = weight, instructions
        for to, more, extra in self.ends[node]:
            root = self.root(to)
            if root not in active or weight + extra > active[root][0]:
                active[root] = weight + extra, instructions + more


# The key of a state of the deterministic automaton: nodes with what each has too little in weight
_Subset = tuple[tuple[int, float], ...]


def determinize(network: TokenNetwork) -> GrammarArrays:
    """The minimal deterministic automaton of a network.

    Raises `GrammarTooLarge` if it has more than `MOST_STATES` states before states are merged, or
    needs more arcs than the budget of the network has.
    """
    arcs, finals = _subsets(network)
    return _arrays(*_merged(arcs, finals))


def _subsets(
    network: TokenNetwork,
) -> tuple[list[list[tuple[int, float, int]]], list[float]]:
    """Arcs (token, weight, next) and final weights of the states of the subset construction."""
    numbers: dict[_Subset, int] = {}
    arcs: list[list[tuple[int, float, int]]] = []
    finals: list[float] = []

    def number(subset: _Subset) -> int:
        if subset not in numbers:
            if len(numbers) == MOST_STATES:
                raise GrammarTooLarge(
                    f"the grammar needs more than {MOST_STATES} states; make lists shorter"
                )
            numbers[subset] = len(numbers)
            waiting.append(subset)
            arcs.append([])
            finals.append(
                max(
                    (w + network.final[node][0] for node, w in subset if node in network.final),
                    default=-math.inf,
                )
            )
        return numbers[subset]

    waiting: list[_Subset] = []
    number(((network.start, 0.0),))
    for state in count():
        if state == len(waiting):
            break
        reached: dict[int, dict[int, float]] = {}
        for node, weight in waiting[state]:
            network.budget.spend(len(network.children[node]))
            for token, child in network.children[node].items():
                _enter(network, reached.setdefault(token, {}), child, weight)
        for token in sorted(reached):
            best = max(reached[token].values())
            subset = tuple(
                sorted((n, round(w - best, _ROUNDING) + 0.0) for n, w in reached[token].items())
            )
            arcs[state].append((token, best, number(subset)))
    return arcs, finals


def _enter(network: TokenNetwork, reached: dict[int, float], node: int, weight: float) -> None:
    """Add a node, and the tries of the words that follow if a word ends in it."""
    if weight > reached.get(node, -math.inf):
        reached[node] = weight
    network.budget.spend(len(network.ends[node]))
    for to, _, extra in network.ends[node]:
        root = network.root(to)
        if weight + extra > reached.get(root, -math.inf):
            reached[root] = weight + extra


def _merged(
    arcs: list[list[tuple[int, float, int]]], finals: list[float]
) -> tuple[list[list[tuple[int, float, int]]], list[float]]:
    """Merge the states that have equal futures; the start becomes state 0."""
    order = _topological(arcs)
    merged: dict[tuple, int] = {}
    new: list[int] = [0] * len(arcs)
    kept: list[tuple] = []
    for state in reversed(order):
        future = (
            round(finals[state], _ROUNDING),
            tuple((token, round(w, _ROUNDING), new[to]) for token, w, to in arcs[state]),
        )
        if future not in merged:
            merged[future] = len(merged)
            kept.append(future)
        new[state] = merged[future]
    last = len(kept) - 1  # the start was merged last, since it is first in order
    return (
        [[(token, w, last - to) for token, w, to in future[1]] for future in reversed(kept)],
        [future[0] for future in reversed(kept)],
    )


def _topological(arcs: list[list[tuple[int, float, int]]]) -> list[int]:
    """The states in an order in which each comes before the states that its arcs lead to."""
    waiting_for = [0] * len(arcs)
    for state_arcs in arcs:
        for _, _, to in state_arcs:
            waiting_for[to] += 1
    order = [0]
    for state in order:
        for _, _, to in arcs[state]:
            waiting_for[to] -= 1
            if not waiting_for[to]:
                order.append(to)
    return order


def _arrays(arcs: list[list[tuple[int, float, int]]], finals: list[float]) -> GrammarArrays:
    degree = np.array([len(state_arcs) for state_arcs in arcs], np.int64)
    flat = [arc for state_arcs in arcs for arc in state_arcs]
    token = np.array([arc[0] for arc in flat], np.int32)
    following = np.array([arc[2] for arc in flat], np.int32)
    source = np.repeat(np.arange(len(arcs), dtype=np.int32), degree)
    in_arc = np.argsort(following, kind="stable").astype(np.int32)
    into = np.bincount(following, minlength=len(arcs))
    repeats = np.isin(
        source.astype(np.int64) << 32 | token, np.unique(following.astype(np.int64) << 32 | token)
    )
    return GrammarArrays(
        arc_start=np.concatenate([[0], np.cumsum(degree)]),
        arc_source=source,
        arc_token=token,
        arc_weight=np.exp([arc[1] for arc in flat]),
        arc_next=following,
        arc_repeats=repeats,
        final_weight=np.exp(finals),
        in_start=np.concatenate([[0], np.cumsum(into)]).astype(np.int64),
        in_arc=in_arc,
    )
