"""A QONNX file that `export --format qonnx` wrote, back into a packed network.

The graph is followed from the images to the scores. Names are not looked at, only what flows, so a
file that another program tidied is read too as long as the operators are those. What we do not
write is refused by the name of the node. Signs that were moved into weights stay there: such a
network has other arrays than the one that was exported, and the same scores.

Over 400 lines: one reader, with a method for each operator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qnn_ref._typing import Array, Pair
from qnn_ref.bits import pack, pack_kernel, to_planes
from qnn_ref.grid import PIXELS, SIGNS, Grid
from qnn_ref.interop.graph import Graph, Node
from qnn_ref.interop.onnx_file import read_graph
from qnn_ref.interop.qonnx_values import DOMAIN
from qnn_ref.packed import PackedNetwork
from qnn_ref.packed.product_stages import (
    GridConv,
    GridDense,
    PixelsConv,
    PixelsDense,
    XnorConv,
    XnorDense,
)
from qnn_ref.packed.shape_stages import FlattenBits, FlattenIntegers, Join, MaxPool, SumPool
from qnn_ref.packed.stages import Flow, Stage
from qnn_ref.packed.thresholds import Levels, Scores, Threshold

AFFINE = "Add", "Sub", "Mul"


def load_qonnx(source: str | os.PathLike[str] | bytes) -> PackedNetwork:
    """Read a QONNX file that this package wrote.

    Parameters
    ----------
    source : path or bytes

    Returns
    -------
    PackedNetwork
        With the scores of the network that was exported, bit for bit.

    Raises
    ------
    FileError
        If the file is missing, or no ONNX file.
    ValueError
        If an operator is none of ours; the message names the node.
    ModuleNotFoundError
        Without the library onnx.

    References
    ----------
    Algorithm 5.
    """
    return network_of(read_graph(source))


@dataclass
class Path:
    """Steps that were read, and the tensor that flows out of them.

    Parameters
    ----------
    name : str
        Of the tensor, which stands for `factor * tensor + offset`.
    flow : Flow
        What it stands for; the channels last.
    stages : list of Stage
    factor : int
    offset : array (channels,) or () of int64
    """

    name: str
    flow: Flow
    stages: list[Stage] = field(default_factory=list)
    factor: int = 1
    offset: Array = field(default_factory=lambda: np.zeros((), np.int64))

    def then(self, stage: Stage, name: str) -> Path:
        """The path with a step more, whose output has this name."""
        return Path(name, stage.output(self.flow), [*self.stages, stage])


def network_of(graph: Graph) -> PackedNetwork:
    """The packed network that a graph of `qonnx.graph_of` stands for.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    PackedNetwork

    Raises
    ------
    ValueError
        If an operator is none of ours.
    """
    return Reader(graph).read()


class Reader:
    """Follows a graph.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.users.setdefault(name, []).append(node)

    def read(self) -> PackedNetwork:
        """The whole network."""
        given = self.graph.input_name
        if (datatype := self.graph.annotations.get(given)) != "UINT8":
            raise ValueError(
                f"{given}: expected pixels, an input that is annotated as UINT8, got {datatype}"
            )
        path = Path(given, Flow("pixels", self.graph.input_shape, PIXELS))
        while users := self.users.get(path.name):
            path = self.step(path, users)
        if path.name != self.graph.output_name:
            raise ValueError(f"node of {path.name}: expected it to lead to the scores")
        if not path.stages or not isinstance(path.stages[-1], Scores):
            self.expect_plain(path, path.name)
            path.stages.append(Scores("float32", 1.0))
        return PackedNetwork(path.stages, self.graph.input_shape)

    def step(self, path: Path, users: list[Node]) -> Path:
        """The path with the operators of one step more, those which use its tensor."""
        if len(users) > 1:
            return self.join(path, users)
        node = users[0]
        try:
            if node.operator in AFFINE and (scores := self.scores(path)):
                return scores
            if node.operator not in READ or node.domain not in ("", DOMAIN):
                raise ValueError("this operator is none that is written here")
            return READ[node.operator](self, path, node)
        except (ValueError, KeyError, IndexError) as error:
            if str(error).startswith("node "):
                raise
            words = f"expected {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"node {node.output} ({node.operator}): {words}") from error

    def constant(self, node: Node, place: int = 1) -> Array:
        """An input that is an array of the file."""
        if len(node.inputs) <= place or node.inputs[place] not in self.graph.constants:
            raise ValueError(f"expected a constant as input {place}")
        return self.graph.constants[node.inputs[place]]

    def whole(self, node: Node, place: int = 1) -> Array:
        """The same, of whole numbers, as int64."""
        array = self.constant(node, place)
        if array.dtype.kind not in "iuf" or not np.all(array == np.round(array)):
            raise ValueError(f"expected whole numbers as input {place}")
        if array.size and np.abs(array).max() > 2**31:
            raise ValueError(f"expected numbers of at most 31 bits as input {place}")
        return array.astype(np.int64)

    def next(self, path: Path, operator: str) -> tuple[Node, Path] | None:
        """The only user of the tensor, if it is this operator."""
        users = self.users.get(path.name, [])
        if len(users) != 1 or users[0].operator != operator:
            return None
        return users[0], replace(path, name=users[0].output)

    def expect_plain(self, path: Path, name: str) -> None:
        """Refuse a tensor that does not hold the sums themselves."""
        if path.factor != 1 or path.offset.any():
            raise ValueError(f"node of {name}: expected sums of 2 p - 255, got those of pixels p")

    # Sums

    def affine(self, path: Path, node: Node) -> Path:
        """Pixels 2 p - 255 made of p; or signs that are exchanged."""
        if node.operator == "Mul" and path.flow.kind == "pixels":
            return self.odd_pixels(path, node)
        if node.operator == "Mul" and path.factor != 1:
            if np.any(self.whole(node) != path.factor):
                raise ValueError(f"expected a factor of {path.factor}")
            path = replace(path, name=node.output, factor=1)
            if path.offset.any():
                following = self.next(path, "Add")
                if not following or np.any(
                    self.per_channel(following[0], path.flow) != path.offset
                ):
                    raise ValueError("expected the sums of weights to be added next")
                path = replace(following[1], offset=np.zeros((), np.int64))
            return path
        signs = self.per_channel(node, path.flow)
        if node.operator != "Mul" or not np.all(abs(signs) == 1):
            raise ValueError("this operator stands where none is written")
        path = replace(path, name=node.output)
        if following := self.next(path, "MultiThreshold"):
            return self.threshold(path, following[0], signs < 0)
        if following := self.next(path, "MaxPool"):
            return self.max_pool(path, following[0], signs < 0)
        raise ValueError("expected a threshold or a pool behind exchanged signs")

    def per_channel(self, node: Node, flow: Flow) -> Array:
        """Whole numbers (channels,)."""
        numbers = self.whole(node)
        if numbers.size not in (1, flow.shape[-1]):
            raise ValueError(f"expected {flow.shape[-1]} numbers, got {numbers.size}")
        return np.broadcast_to(numbers.reshape(-1), flow.shape[-1:])

    def odd_pixels(self, path: Path, node: Node) -> Path:
        """2 p - 255 for a convolution."""
        following = self.next(replace(path, name=node.output), "Sub")
        if np.any(self.whole(node) != 2) or not following:
            raise ValueError("expected 2 p - 255")
        if np.any(self.whole(following[0]) != 255):
            raise ValueError("expected 2 p - 255")
        return following[1]

    # Products

    def weights(self, node: Node) -> tuple[Array, Grid]:
        """Weights in the file's order, and the grid on which they lie."""
        w = self.whole(node)
        if w.size == 0:
            raise ValueError("expected weights, got none")
        if np.all(abs(w) == 1):
            return w, SIGNS
        low, high = int(w.min()), int(w.max())
        step = int(np.gcd.reduce(w.ravel() - low))
        return w, Grid(low, high, step) if step else Grid(low, low + 1, 1)

    def dense(self, path: Path, node: Node) -> Path:
        """A product of rows."""
        w, grid = self.weights(node)
        if w.ndim != 2:
            raise ValueError(f"expected weights (in, out), got {w.shape}")
        kind, size = path.flow.kind, len(w)
        if grid == SIGNS and kind != "integers":
            words = pack(np.ascontiguousarray(w.T, np.float32))
            stage: Stage = (PixelsDense if kind == "pixels" else XnorDense)(words, size)
        else:
            words = to_planes(np.ascontiguousarray(w.T, np.float32), grid)
            stage = GridDense(words, size, path.flow.grid, grid)
        after = path.then(stage, node.output)
        return replace(after, factor=2, offset=-255 * w.sum(axis=0)) if kind == "pixels" else after

    def convolution(self, path: Path, node: Node) -> Path:
        """A product of windows; or, channel by channel, their sums."""
        w, grid = self.weights(node)
        if w.ndim != 4:
            raise ValueError(f"expected kernels (out, in, height, width), got {w.shape}")
        stride, padding = self.place(node)
        group = node.settings.get("group", 1)
        if group != 1:
            if group != path.flow.shape[-1] or w.shape[:2] != (group, 1) or not np.all(w == 1):
                raise ValueError("expected one group, or a window of ones for each channel")
            size = w.shape[2], w.shape[3]
            return path.then(SumPool(size, stride, padding, group), node.output)
        return self.product_of_windows(path, node.output, (w, grid), (stride, padding, False))

    def product_of_windows(
        self, path: Path, name: str, weights: tuple[Array, Grid], place: tuple[Pair, Pair, bool]
    ) -> Path:
        """A convolution with its place: stride, padding, and whether ones stand outside."""
        (w, grid), channels = weights, path.flow.shape[-1]
        if grid == SIGNS and path.flow.kind != "integers":
            words = pack_kernel(np.ascontiguousarray(w.transpose(2, 3, 1, 0), np.float32))
            kind = PixelsConv if path.flow.kind == "pixels" else XnorConv
            return path.then(kind(words, channels, *place), name)
        units_first = np.ascontiguousarray(w.transpose(0, 2, 3, 1), np.float32)
        words = to_planes(units_first, grid)
        return path.then(GridConv(words, channels, path.flow.grid, grid, *place), name)

    def padded(self, path: Path, node: Node) -> Path:
        """A convolution whose border is the largest code."""
        pads, outside = self.whole(node), self.constant(node, 2)
        following = self.next(replace(path, name=node.output), "Conv")
        down, right = int(pads[2]), int(pads[3])
        if pads.tolist() != [0, 0, down, right] * 2 or not following:
            raise ValueError("expected equal borders in front of a convolution")
        if np.any(outside != path.flow.grid.high) or node.settings.get("mode") != "constant":
            raise ValueError(f"expected a border of {path.flow.grid.high}, got {outside}")
        stride, padding = self.place(following[0])
        if padding != (0, 0) or following[0].settings.get("group", 1) != 1:
            raise ValueError("expected no other border")
        place = stride, (down, right), True
        return self.product_of_windows(path, following[0].output, self.weights(following[0]), place)

    def place(self, node: Node) -> tuple[Pair, Pair]:
        """Stride and padding of a window."""
        stride, pads = node.settings.get("strides", [1, 1]), node.settings.get("pads", [0] * 4)
        if len(stride) != 2 or len(pads) != 4 or pads[:2] != pads[2:]:
            raise ValueError(f"expected two strides and equal borders, got {stride} and {pads}")
        if any(d != 1 for d in node.settings.get("dilations", [])):
            raise ValueError("expected no dilation")
        if node.settings.get("auto_pad", "NOTSET") != "NOTSET" or node.settings.get("ceil_mode"):
            raise ValueError("expected borders as numbers")
        return (stride[0], stride[1]), (pads[0], pads[1])

    # Between products

    def threshold(self, path: Path, node: Node, turned: Array | None = None) -> Path:
        """Codes of sums, whose signs may have been exchanged."""
        at, channels = self.whole(node), path.flow.shape[-1]
        if at.ndim != 2 or len(at) != channels or at.shape[1] == 0:
            raise ValueError(f"expected thresholds ({channels}, levels - 1), got {at.shape}")
        step, low = (float(node.settings.get(k, d)) for k, d in (("out_scale", 1), ("out_bias", 0)))
        if step != int(step) or low != int(low) or step < 1:
            raise ValueError(f"expected codes of whole numbers, got steps of {step} from {low}")
        at = path.factor * at.T + path.offset
        flip = np.zeros(at.shape, np.bool_)
        if turned is not None:  # -s >= t where not s >= 1 - t
            flip |= turned
            at = np.where(flip, 1 - at, at)
        least, most, _ = path.flow.grid
        always = np.where(flip, at > most, at <= least)
        never = np.where(flip, at <= least, at > most)
        flip = np.where(always | never, never, flip)
        at = np.where(always | never, least, at).astype(np.int32)
        codes = int(low) + int(step) * np.arange(len(at) + 1)
        if codes.tolist() == [-1, 1]:
            return path.then(Threshold(at[0], flip[0]), node.output)
        return path.then(Levels(at, flip, codes.astype(np.int32)), node.output)

    def max_pool(self, path: Path, node: Node, turned: Array | None = None) -> Path:
        """Maximum of windows; minimum between two exchanges of signs."""
        size = node.settings["kernel_shape"]
        window = (size[0], size[1]), *self.place(node)
        if turned is None:
            return path.then(MaxPool(*window), node.output)
        following = self.next(replace(path, name=node.output), "Mul")
        if not following or np.any((self.per_channel(following[0], path.flow) < 0) != turned):
            raise ValueError("expected the same signs behind the pool")
        return path.then(MaxPool(*window, turned), following[0].output)

    def transpose(self, path: Path, node: Node) -> Path:
        """Pixels to channels first; or channels last, in front of a flattening."""
        perm = node.settings["perm"]
        if path.flow.kind == "pixels" and perm == [0, 3, 1, 2]:
            return replace(path, name=node.output)
        following = self.next(replace(path, name=node.output), "Flatten")
        if perm != [0, 2, 3, 1] or not following:
            raise ValueError(f"expected channels last and then Flatten, got {perm}")
        bits = path.flow.kind == "bits"
        stage = FlattenBits(path.flow.shape[-1]) if bits else FlattenIntegers()
        return path.then(stage, following[0].output)

    def flatten(self, path: Path, node: Node) -> Path:
        """Images of pixels, which the first product takes as they are."""
        if path.flow.kind != "pixels" or node.settings.get("axis", 1) != 1:
            raise ValueError("expected images of pixels, or channels last before")
        return replace(path, name=node.output)

    def join(self, path: Path, users: list[Node]) -> Path:
        """Parallel paths up to where they meet; inner ones first. An empty one passes all on."""
        start = Path(path.name, path.flow)
        ends = [self.until_concat(start, node) for node in users]
        while ends:
            open_names = {end.name for end, _ in ends}
            node = next((n for _, n in ends if set(n.inputs) <= open_names), None)
            if node is None or node.settings.get("axis") != 1:
                break
            by_name = {end.name: end for end, meets in ends if meets is node}
            inner = [by_name[name] for name in node.inputs]
            stage = Join([end.stages for end in inner], [end.flow.shape[-1] for end in inner])
            met = start.then(stage, node.output)
            ends = [(end, meets) for end, meets in ends if meets is not node]
            if not ends:
                return Path(met.name, met.flow, [*path.stages, stage])
            ends.append(self.until_concat(met))
        raise ValueError(f"node of {path.name}: expected paths that meet in Concat, axis 1")

    def until_concat(self, path: Path, first: Node | None = None) -> tuple[Path, Node]:
        """Go on, of several paths on the one that begins with `first`, until paths meet."""
        while True:
            users = [first] if first else self.users.get(path.name, [])
            if len(users) == 1 and users[0].operator == "Concat" and len(users[0].inputs) > 1:
                return path, users[0]
            if not users:
                raise ValueError(f"node of {path.name}: expected paths that meet in Concat")
            path, first = self.step(path, users), None

    def concat(self, path: Path, node: Node) -> Path:
        """A single path."""
        if len(node.inputs) != 1:
            raise ValueError("expected paths that begin at one tensor")
        return replace(path, name=node.output)

    # Scores

    def scores(self, path: Path) -> Path | None:
        """The affine map at the end, if these operators lead there."""
        nodes, end = [], path
        while (users := self.users.get(end.name, [])) and len(users) == 1:
            if users[0].operator not in AFFINE:
                return None
            nodes.append(users[0])
            end = replace(end, name=users[0].output)
        if end.name != self.graph.output_name or path.flow.kind != "integers":
            return None
        if path.factor != 1:
            return None  # first the sums themselves
        kinds = [node.operator for node in nodes]
        arrays = [self.constant(node) for node in nodes]
        given: dict[str, Any] = {"scale": 1.0}
        if kinds[:1] == ["Mul"] and arrays[0].ndim == 0:
            given["scale"] = float(arrays[0])
            kinds, arrays = kinds[1:], arrays[1:]
        if kinds[:1] == ["Add"]:
            given["bias"], kinds, arrays = arrays[0], kinds[1:], arrays[1:]
        if kinds == ["Sub", "Mul", "Mul", "Add"]:
            names = "mean", "inverse_deviation", "gain", "shift"
            given |= dict(zip(names, arrays, strict=True))
        elif kinds:
            raise ValueError(f"expected scale, bias and batch norm at the end, got {kinds}")
        return path.then(Scores("float32", **given), self.graph.output_name)


READ: Mapping[str, Callable[[Reader, Path, Node], Path]] = {
    "MatMul": Reader.dense,
    "Conv": Reader.convolution,
    "Pad": Reader.padded,
    "MultiThreshold": Reader.threshold,
    "MaxPool": Reader.max_pool,
    "Transpose": Reader.transpose,
    "Flatten": Reader.flatten,
    "Concat": Reader.concat,
    **dict.fromkeys(AFFINE, Reader.affine),
}
"""What reads the operators of a step, by the first of them."""
