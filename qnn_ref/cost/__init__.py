"""Section 5: operations, energy, memory, slices and repeated filters of any network.

`inference_cost`, `training_cost` and `packed_cost` count what a network does, in its own few bits
or with all numbers in one format; `picojoules` prices it by the paper's table. Every figure rests
on `energy.ASSUMPTIONS`. A processor is no such circuit: its time is measured by `qnn-ref bench`.
"""

from qnn_ref.cost.energy import (
    level_of,
    picojoules,
)
from qnn_ref.cost.filters import (
    FilterOperations,
    UniqueFilters,
    binary_kernels,
    expected_unique_share,
    filter_forms,
    filter_operations,
    form_filters,
    unique_filters,
)
from qnn_ref.cost.network import Memory, inference_cost, memory_of, training_cost
from qnn_ref.cost.operations import Operation
from qnn_ref.cost.packed import packed_bytes, packed_cost
from qnn_ref.cost.record import Cost, Part, Transfer, joules

__all__ = [
    "Cost",
    "FilterOperations",
    "Memory",
    "Operation",
    "Part",
    "Transfer",
    "UniqueFilters",
    "binary_kernels",
    "expected_unique_share",
    "filter_forms",
    "filter_operations",
    "form_filters",
    "inference_cost",
    "joules",
    "level_of",
    "memory_of",
    "packed_bytes",
    "packed_cost",
    "picojoules",
    "training_cost",
    "unique_filters",
]
__dir__ = __all__.copy
