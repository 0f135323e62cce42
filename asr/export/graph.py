"""A small builder of ONNX graphs: each call adds a node and returns the names of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from asr.runtime.onnx_file import NEXT_STATE, STATE

OPSET = 18  # of the standard operators
IR_VERSION = 8  # of the file, which belongs to opset 18
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators, for int8 weights
FLOAT, DOUBLE, INT32, INT64 = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
)


class Graph:
    """Nodes, weights, inputs and outputs of a graph under construction."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple | None, str] = {}

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[str | int]) -> None:
        """Declare `value` as the output `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def weight(self, array: Any, kind: type = np.float32) -> str:
        """A constant array; equal small ones are stored once."""
        value = np.ascontiguousarray(array, kind).reshape(np.shape(array))
        key = (value.dtype.str, value.shape, value.tobytes()) if value.size < 64 else None
        if key not in self._constants:
            name = f"w{len(self.weights)}"
            self.weights.append(numpy_helper.from_array(value, name))
            if key is None:
                return name
            self._constants[key] = name
        return self._constants[key]

    def state(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """What a piece of a stream takes from the piece before it; zeros before the first."""
        return self.input(f"{STATE}{name}", kind, shape)

    def next_state(self, state: str, value: str) -> None:
        """Declare `value` as that state after the piece."""
        (before,) = (one for one in self.inputs if one.name == state)
        name = NEXT_STATE + state.removeprefix(STATE)
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        after = onnx.ValueInfoProto()
        after.CopyFrom(before)
        after.name = name
        self.outputs.append(after)

    def ints(self, *values: int) -> str:
        """A one-dimensional constant of int64."""
        return self.weight(values, np.int64)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        (name,) = self.ops(kind, inputs, 1, domain, **attributes)
        return name

    def ops(
        self, kind: str, inputs: Sequence[str], outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs."""
        number = len(self.nodes)
        names = [f"{kind}_{number}" + (f"_{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, domain=domain, **attributes)
        self.nodes.append(node)
        return names

    def size(self, value: str, axis: int) -> str:
        """() int64: the size of an axis."""
        shape = self.op("Shape", value, start=axis, end=axis + 1)
        return self.op("Squeeze", shape, self.ints(0))

    def mask(self, lengths: str, size: str) -> str:
        """(B,) lengths and a size -> (B, size) bool, true below each length."""
        zero, one = self.weight(0, np.int64), self.weight(1, np.int64)
        positions = self.op("Range", zero, size, one)
        return self.op("Less", positions, self.op("Unsqueeze", lengths, self.ints(1)))

    def floats(self, value: str, kind: int = FLOAT) -> str:
        return self.op("Cast", value, to=kind)

    def slice(self, value: str, start: int, end: int | None, axis: int) -> str:
        last = np.iinfo(np.int64).max if end is None else end
        return self.op("Slice", value, self.ints(start), self.ints(last), self.ints(axis))

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs, initializer=self.weights
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="asr"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
