"""Vectors by name: what kernels take from `vectors`, without the import of Numba.

A module with kernels is imported by many who call none of them, and Numba takes longer than all the
rest. These names stand in it until its first kernel is compiled.
"""

from qnn_ref.compiled import Later

LANES = 8
"""Words in a vector."""

(
    fence,
    lanes_of,
    load,
    load_row,
    nan_bits,
    narrow,
    repeat,
    sign_bits,
    spread,
    spread_from,
    store,
    store_row,
    store_some,
    stream,
    stream_row,
    turn,
) = (
    Later("qnn_ref.bits.vectors", name)
    for name in (
        *("fence", "lanes_of", "load", "load_row", "nan_bits", "narrow", "repeat"),
        *("sign_bits", "spread", "spread_from", "store", "store_row"),
        *("store_some", "stream", "stream_row", "turn"),
    )
)
