"""Table 1 of the paper: test errors in percent, and the recipe that trains such a network here.

Rows of other authors have no recipe. What was trained here so far, and how far, stands in
results/README.md.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperError(NamedTuple):
    """A cell of Table 1.

    Parameters
    ----------
    method : str
    dataset : str
    error : float
        Test error in percent, as printed.
    recipe : str
        Name of ours; empty for a method of others.

    References
    ----------
    Section 4.1, Table 1.
    """

    method: str
    dataset: str
    error: float
    recipe: str = ""


TABLE_1 = (
    PaperError("BNN (Torch7)", "mnist", 1.40, "mnist-torch"),
    PaperError("BNN (Torch7)", "svhn", 2.53, "svhn-torch"),
    PaperError("BNN (Torch7)", "cifar10", 10.15, "cifar10-torch"),
    PaperError("BNN (Theano)", "mnist", 0.96, "mnist-theano"),
    PaperError("BNN (Theano)", "svhn", 2.80, "svhn-theano"),
    PaperError("BNN (Theano)", "cifar10", 11.40, "cifar10-theano"),
    PaperError("Committee Machines' Array", "mnist", 1.35),
    PaperError("BinaryConnect", "mnist", 1.29),
    PaperError("BinaryConnect", "svhn", 2.30),
    PaperError("BinaryConnect", "cifar10", 9.90),
    PaperError("EBP", "mnist", 2.2),
    PaperError("Bitwise DNNs", "mnist", 1.33),
    PaperError("Hwang & Sung", "mnist", 1.45),
    PaperError("Maxout", "mnist", 0.94),
    PaperError("Maxout", "svhn", 2.47),
    PaperError("Maxout", "cifar10", 11.68),
    PaperError("Network in Network", "svhn", 2.35),
)
