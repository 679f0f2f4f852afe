"""Several numbers at a time: vector values for compiled kernels.

A loop over the columns of a matrix is usually turned into vector instructions by the compiler. It
gives up where it cannot see that two arrays do not overlap, and it never keeps a row of sums in
registers across an inner loop. A kernel that wants both says so with these values: ``load`` some
neighbours, add or XOR them, ``store`` them. LLVM writes them with whatever the processor has, one
instruction where registers are wide enough, two or four where they are not.

A vector is as wide as the widest registers there are, 512 bits, whatever the processor: an addition
of each lane for itself gives the same bits in one instruction or in four.

They exist in compiled code only, without a plain Python form: kernels that use them stand beside
one that does not. Places are checked where those of arrays are, with NUMBA_BOUNDSCHECK. This file
imports Numba, so modules with kernels take its names from `lanes`.

Over 400 lines: all that kernels say about vectors shares one form of code.
"""

# mypy: allow-untyped-defs

import operator
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from qnn_ref.bits.in_passing import BLOCK, leave_signs
from qnn_ref.bits.lanes import LANES
from qnn_ref.bits.popcount import popcount

VECTOR_BITS = 512
"""The widest registers there are, and a line of the cache."""


class Vector(types.Type):
    """Numba's type of a vector of numbers of the type `lane`: 512 bits."""

    def __init__(self, lane: Any) -> None:
        self.lane = lane
        self.lanes = VECTOR_BITS // lane.bitwidth
        super().__init__(name=f"Vector({lane}, {self.lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector lives in registers, as LLVM's own vector type."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        lane = manager.lookup(vector.lane).get_value_type()
        super().__init__(manager, vector, ir.VectorType(lane, vector.lanes))


class Row(types.Type):
    """Numba's type of a few vectors side by side: as many numbers as several registers hold."""

    def __init__(self, vector: Vector, count: int) -> None:
        self.vector, self.count = vector, count
        super().__init__(name=f"Row({vector}, {count})")


@register_model(Row)
class RowModel(models.PrimitiveModel):
    """LLVM's own array of vectors, which it takes apart into registers."""

    def __init__(self, manager: Any, row: Row) -> None:
        vector = manager.lookup(row.vector).get_value_type()
        super().__init__(manager, row, ir.ArrayType(vector, row.count))


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    if context.enable_boundscheck:
        last = builder.add(index, index.type(vector.count - 1))
        for lane in (index, last):
            cgutils.do_boundscheck(context, builder, lane, view.nitems)
    return builder.bitcast(builder.gep(view.data, [index]), vector.as_pointer())


def _is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"


@intrinsic
def load(typing_context, array, index):
    """Read the vector that starts at `index` of a contiguous array with one axis."""

    def code(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        place = _place(context, builder, signature.args[0], args[0], args[1], vector)
        read = builder.load(place)
        read.align = array.dtype.bitwidth // 8
        return read

    return (Vector(array.dtype)(array, index), code) if _is_flat(array) else None


@intrinsic
def store(typing_context, array, index, vector):
    """Write a vector to a contiguous array with one axis, from `index` on."""

    def code(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], args[0], args[1], args[2].type)
        builder.store(args[2], place).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    fits = _is_flat(array) and vector == Vector(array.dtype)
    return (types.void(array, index, vector), code) if fits else None


@intrinsic
def store_some(typing_context, array, index, vector, count):
    """Write the first `count` lanes of a vector, 1 or more, and nothing else, from `index` on."""

    def code(context, builder, signature, args):
        array, index, lanes, count = args
        view = context.make_array(signature.args[0])(context, builder, array)
        if context.enable_boundscheck:
            last = builder.add(index, builder.sub(count, count.type(1)))
            for lane in (index, last):
                cgutils.do_boundscheck(context, builder, lane, view.nitems)
        place = builder.bitcast(builder.gep(view.data, [index]), lanes.type.as_pointer())
        numbers = ir.VectorType(count.type, lanes.type.count)
        inside = builder.icmp_signed(
            "<",
            ir.Constant(numbers, list(range(lanes.type.count))),
            _in_all_lanes(builder, numbers, count),
        )
        align = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [lanes.type, place.type, align, inside.type])
        write = f"llvm.masked.store.v{lanes.type.count}{_short(vector.lane)}.p0"
        write = cgutils.get_or_insert_function(builder.module, kind, write)
        builder.call(write, [lanes, place, align(vector.lane.bitwidth // 8), inside])
        return context.get_dummy_value()

    fits = _is_flat(array) and vector == Vector(array.dtype) and count == types.int64
    return (types.void(array, index, vector, count), code) if fits else None


def _short(lane: Any) -> str:
    """LLVM's name of a number, as in the names of its functions."""
    return f"{'f' if isinstance(lane, types.Float) else 'i'}{lane.bitwidth}"


@intrinsic
def stream(typing_context, array, index, vector):
    """Write a vector past the caches, to a place that is a multiple of 64 bytes: see `is_line`.

    A result that is larger than the caches is not read on the way: a processor that writes part of
    a line must fetch it first. Others see it after `fence`.
    """

    def code(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], args[0], args[1], args[2].type)
        write = builder.store(args[2], place)
        write.align = VECTOR_BITS // 8
        once = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        write.set_metadata("nontemporal", once)
        return context.get_dummy_value()

    fits = _is_flat(array) and vector == Vector(array.dtype)
    return (types.void(array, index, vector), code) if fits else None


@intrinsic
def turn(typing_context, x, start, step, out, at, out_step):
    """Write a square of numbers, a row for each lane of a vector, with rows and columns exchanged.

    Row r begins at start + r step of `x`, and its numbers go to at + c out_step + r of `out`.
    """

    def code(context, builder, signature, args):
        vector = context.get_value_type(Vector(x.dtype))
        count, arrays = vector.count, (signature.args[0], signature.args[3])
        places = [
            [builder.add(first, builder.mul(by, by.type(r))) for r in range(count)]
            for first, by in (args[1:3], args[4:6])
        ]

        def place(side, r):
            array = args[3 * side]
            return _place(context, builder, arrays[side], array, places[side][r], vector)

        rows = [builder.load(place(0, r), align=x.dtype.bitwidth // 8) for r in range(count)]
        # Two rows that stand half the square apart are threaded into each other, lane by lane.
        # After log2(count) such rounds each number stands where its column was.
        index = ir.VectorType(ir.IntType(32), count)
        lanes = [(lane // 2) + lane % 2 * count for lane in range(2 * count)]
        halves = [ir.Constant(index, lanes[i : i + count]) for i in (0, count)]
        for _ in range(count.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[r], rows[r + count // 2], half)
                for r in range(count // 2)
                for half in halves
            ]
        for r in range(count):
            builder.store(rows[r], place(1, r)).align = x.dtype.bitwidth // 8
        return context.get_dummy_value()

    whole = {start, step, at, out_step} == {types.int64}
    fits = _is_flat(x) and _is_flat(out) and x.dtype == out.dtype and whole
    return (types.void(x, start, step, out, at, out_step), code) if fits else None


@intrinsic(prefer_literal=True)
def repeat(typing_context, vector, count):
    """Put `count` times the same vector side by side; `count` is written as a number."""
    if not isinstance(vector, Vector) or not isinstance(count, types.IntegerLiteral):
        return None
    row = Row(vector, count.literal_value)

    def code(context, builder, signature, args):
        return cgutils.pack_array(builder, [args[0]] * row.count)

    return row(vector, count), code


@intrinsic
def load_row(typing_context, array, index, like):
    """Read as many vectors as `like` has, from `index` on."""

    def code(context, builder, signature, args):
        array_type, row = signature.args[0], args[2].type
        vectors = []
        for i in range(row.count):
            at = builder.add(args[1], args[1].type(i * row.element.count))
            place = _place(context, builder, array_type, args[0], at, row.element)
            vectors.append(builder.load(place, align=array_type.dtype.bitwidth // 8))
        return cgutils.pack_array(builder, vectors)

    fits = _is_flat(array) and isinstance(like, Row) and like.vector == Vector(array.dtype)
    return (like(array, index, like), code) if fits else None


def _row_writer(past: bool) -> Any:
    @intrinsic
    def write(typing_context, array, index, row):
        def code(context, builder, signature, args):
            array_type = signature.args[0]
            once = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            for i, vector in enumerate(cgutils.unpack_tuple(builder, args[2])):
                at = builder.add(args[1], args[1].type(i * vector.type.count))
                place = _place(context, builder, array_type, args[0], at, vector.type)
                written = builder.store(vector, place)
                written.align = VECTOR_BITS // 8 if past else array_type.dtype.bitwidth // 8
                if past:
                    written.set_metadata("nontemporal", once)
            return context.get_dummy_value()

        fits = _is_flat(array) and isinstance(row, Row) and row.vector == Vector(array.dtype)
        return (types.void(array, index, row), code) if fits else None

    return write


store_row = _row_writer(past=False)
"""Write the vectors of a row to a contiguous array with one axis, from an index on."""

stream_row = _row_writer(past=True)
"""Do so past the caches, as `stream`."""


@intrinsic
def fence(typing_context):
    """Let all that was written before be seen by other threads before what is written after."""

    def code(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def lanes_of(typing_context, array):
    """Give the lanes of a vector of the array's numbers, or of a row: the compiler knows them."""
    is_row = isinstance(array, Row)
    lanes = array.count * array.vector.lanes if is_row else Vector(array.dtype).lanes

    def code(context, builder, signature, args):
        return context.get_constant(types.uint64, lanes)

    return types.uint64(array), code


def _in_all_lanes(builder: Any, vector: Any, number: Any) -> Any:
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, empty, lanes)


@intrinsic
def spread(typing_context, number):
    """Put one number into all lanes."""

    def code(context, builder, signature, args):
        return _in_all_lanes(builder, context.get_value_type(signature.return_type), args[0])

    return Vector(number)(number), code


@intrinsic
def spread_from(typing_context, array, index):
    """Read one number of a contiguous array with one axis into all lanes.

    `spread(array[index])` asks first whether the index counts from the end.
    """

    def code(context, builder, signature, args):
        view = context.make_array(signature.args[0])(context, builder, args[0])
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, args[1], view.nitems)
        number = builder.load(builder.gep(view.data, [args[1]]))
        return _in_all_lanes(builder, context.get_value_type(signature.return_type), number)

    return (Vector(array.dtype)(array, index), code) if _is_flat(array) else None


@intrinsic
def narrow(typing_context, left, right):
    """Keep the low 32 bits of each lane of two vectors of words, side by side, as int32."""

    def code(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        halves = (builder.bitcast(words, vector) for words in args)
        first = int(sys.byteorder == "big")  # of the two halves of a word, the low one
        low = [2 * lane + first for lane in range(vector.count)]
        index = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), low)
        return builder.shuffle_vector(*halves, index)

    fits = left == right and left.lane.bitwidth == 64
    return (Vector(types.int32)(left, right), code) if fits else None


def _lanewise(name: str) -> Any:
    @intrinsic
    def operation(typing_context, a, b):
        def code(context, builder, signature, args):
            lane = a.lane if isinstance(a, Vector) else a.vector.lane
            kind = "f" if isinstance(lane, types.Float) else ""
            operate = getattr(builder, kind + name)
            if isinstance(a, Vector):
                return operate(*args)
            both = zip(*(cgutils.unpack_tuple(builder, row) for row in args), strict=True)
            return cgutils.pack_array(builder, [operate(*vectors) for vectors in both])

        return a(a, b), code

    return operation


def _overload(python_operator: Any, name: str) -> None:
    operation = _lanewise(name)

    @overload(python_operator)
    def lanewise(a, b):
        if isinstance(a, Vector | Row) and a == b:
            return lambda a, b: operation(a, b)
        return None


for _operator, _name in (
    (operator.add, "add"),
    (operator.iadd, "add"),
    (operator.sub, "sub"),
    (operator.mul, "mul"),
    (operator.xor, "xor"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
):
    _overload(_operator, _name)


@intrinsic
def _popcount_word(typing_context, word):
    def code(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), code


@intrinsic
def popcount_lanes(typing_context, words):
    """Count the ones of each lane."""

    def code(context, builder, signature, args):
        vector = args[0].type
        kind = ir.FunctionType(vector, [vector])
        count = builder.module.declare_intrinsic(f"llvm.ctpop.v{LANES}i64", fnty=kind)
        return builder.call(count, args)

    return words(words), code


@overload(popcount)
def _compiled_popcount(x):
    # Refusing other integers keeps a signed or narrow word from being widened unseen.
    if x == types.uint64:
        return lambda x: _popcount_word(x)
    if x == Vector(types.uint64):
        return lambda x: popcount_lanes(x)
    return None


def _mask(comparison: str) -> Any:
    @intrinsic
    def bits(typing_context, reals):
        def code(context, builder, signature, args):
            lanes = signature.args[0].lanes
            zeros = ir.Constant(args[0].type, [0.0] * lanes)
            if comparison == "uno":
                flags = builder.fcmp_unordered(comparison, args[0], zeros)
            else:
                flags = builder.fcmp_ordered(comparison, args[0], zeros)
            return builder.zext(builder.bitcast(flags, ir.IntType(lanes)), ir.IntType(64))

        is_real = isinstance(reals, Vector) and isinstance(reals.lane, types.Float)
        return (types.uint64(reals), code) if is_real else None

    return bits


sign_bits = _mask(">=")
"""Bit i of the result is set where lane i is not negative (0 and -0.0 are not)."""

nan_bits = _mask("uno")
"""Bit i of the result is set where lane i is NaN."""


@overload(leave_signs)
def _compiled_leave_signs(w, first, signs):
    if not (_is_flat(w) and _is_flat(signs)):
        return None
    lanes = Vector(w.dtype).lanes
    parts = 64 // lanes

    def code(w, first, signs):
        nans = np.uint64(0)
        for at in range(first, min(first + BLOCK, w.size), 64):
            word = np.uint64(0)
            for part in range(parts):
                vector = load(w, at + lanes * part)
                word |= sign_bits(vector) << np.uint64(lanes * part)
                nans |= nan_bits(vector)
            signs[at // 64] = word
        return nans

    return code
