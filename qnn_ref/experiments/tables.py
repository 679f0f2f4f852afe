"""Tables of section 4: the paper's figures, and the recipe or network here that belongs to each.

Rows of other authors have no recipe. `qnn-ref report` puts what was trained here beside them.
Numbers of tables after the first differ between versions of the paper, so they go by their subject.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperError(NamedTuple):
    """A cell of Table 1.

    Parameters
    ----------
    method : str
    dataset : str
    printed : str
        Test error in percent, as it stands there, perhaps with its spread.
    recipe : str
        Name of ours; empty for a method of others.

    References
    ----------
    Section 4.1, Table 1.
    """

    method: str
    dataset: str
    printed: str
    recipe: str = ""

    @property
    def error(self) -> float:
        """Test error in percent (a scalar)."""
        return float(self.printed.partition(" ")[0])


TABLE_1 = (
    PaperError("BNN (Torch7)", "mnist", "1.40", "mnist-torch"),
    PaperError("BNN (Torch7)", "svhn", "2.53", "svhn-torch"),
    PaperError("BNN (Torch7)", "cifar10", "10.15", "cifar10-torch"),
    PaperError("BNN (Theano)", "mnist", "0.96", "mnist-theano"),
    PaperError("BNN (Theano)", "svhn", "2.80", "svhn-theano"),
    PaperError("BNN (Theano)", "cifar10", "11.40", "cifar10-theano"),
    PaperError("Committee Machines' Array", "mnist", "1.35"),
    PaperError("BinaryConnect", "mnist", "1.29 ± 0.08"),
    PaperError("BinaryConnect", "svhn", "2.30"),
    PaperError("BinaryConnect", "cifar10", "9.90"),
    PaperError("EBP", "mnist", "2.2 ± 0.1"),
    PaperError("Bitwise DNNs", "mnist", "1.33"),
    PaperError("Hwang & Sung", "mnist", "1.45"),
    PaperError("Maxout", "mnist", "0.94"),
    PaperError("Maxout", "svhn", "2.47"),
    PaperError("Maxout", "cifar10", "11.68"),
    PaperError("Network in Network", "svhn", "2.35"),
    PaperError("Network in Network", "cifar10", "10.41"),
    PaperError("Gated pooling", "svhn", "1.69"),
    PaperError("Gated pooling", "cifar10", "7.62"),
)


class ImageNetAccuracy(NamedTuple):
    """A row of the paper's tables of ImageNet.

    Parameters
    ----------
    network : str
        "AlexNet" or "GoogLeNet".
    method : str
    top_1, top_5 : float
        Accuracy in percent: the caption says error, the figures are accuracies. NaN is never one;
        None where the table has none.
    recipe : str
        Name of ours in `NETWORKS`; empty for a method of others and for the float network.

    References
    ----------
    Section 4.3.
    """

    network: str
    method: str
    top_1: float | None
    top_5: float | None
    recipe: str = ""


IMAGENET = (
    ImageNetAccuracy("AlexNet", "BNN, 1-bit weights and activations", 41.8, 67.1, "alexnet-bnn"),
    ImageNetAccuracy("AlexNet", "XNOR-Net", 44.2, 69.2),
    ImageNetAccuracy(
        "AlexNet", "QNN, 1-bit weights, 2-bit activations", 51.03, 73.67, "alexnet-qnn-1-2"
    ),
    ImageNetAccuracy("AlexNet", "DoReFa-Net, 2-bit activations", 50.7, 72.57),
    ImageNetAccuracy("AlexNet", "Deep Compression, 4/2 bits", 55.34, 77.67),
    ImageNetAccuracy("AlexNet", "Gysel et al., 2 bits", 0.01, None),
    ImageNetAccuracy("AlexNet", "float", 56.6, 80.2),
    ImageNetAccuracy(
        "GoogLeNet", "BNN, 1-bit weights and activations", 47.1, 69.1, "googlenet-bnn"
    ),
    ImageNetAccuracy(
        "GoogLeNet", "QNN, 4-bit weights and activations", 66.5, 83.4, "googlenet-qnn-4-4"
    ),
    ImageNetAccuracy(
        "GoogLeNet", "QNN, 6-bit weights, activations, gradients", 66.4, 83.1, "googlenet-qnn-6-6-6"
    ),
    ImageNetAccuracy("GoogLeNet", "float", 71.6, 91.2),
)


class LanguageResult(NamedTuple):
    """A row of Table 4.

    Parameters
    ----------
    model : str
    weights, activations : int
        Bits; 32 is float.
    result : float
    unit : str
        "bits a character" or "perplexity a word".
    recipe : str
        Name of ours.
    note : str
        What is to be said of the row.

    References
    ----------
    Section 4.4, Table 4.
    """

    model: str
    weights: int
    activations: int
    result: float
    unit: str
    recipe: str
    note: str = ""

    @property
    def printed(self) -> str:
        """The result as it stands there."""
        return f"{self.result:g}"


CHARACTERS, WORDS = "bits a character", "perplexity a word"
TABLE_4 = (
    LanguageResult("RNN, 2048 units", 3, 3, 1.81, CHARACTERS, "ptb-char-rnn-3-3"),
    LanguageResult("RNN, 2048 units", 2, 4, 1.67, CHARACTERS, "ptb-char-rnn-2-4"),
    LanguageResult("RNN, 2048 units", 3, 4, 1.11, CHARACTERS, "ptb-char-rnn-3-4"),
    LanguageResult(
        *("RNN, 2048 units", 4, 4, 1.05, CHARACTERS, "ptb-char-rnn-4-4"),
        note="the paper prints 3-bit weights, as in the row above; it probably means 4",
    ),
    LanguageResult("RNN, 2048 units", 32, 32, 1.05, CHARACTERS, "ptb-char-rnn-fp"),
    LanguageResult("LSTM, 300 units", 2, 3, 220, WORDS, "ptb-word-lstm-2-3"),
    LanguageResult("LSTM, 300 units", 3, 4, 110, WORDS, "ptb-word-lstm-3-4"),
    LanguageResult("LSTM, 300 units", 4, 4, 100, WORDS, "ptb-word-lstm-4-4"),
    LanguageResult("LSTM, 900 units", 4, 4, 97, WORDS, "ptb-word-lstm-900-4-4"),
    LanguageResult("LSTM, 300 units", 32, 32, 97, WORDS, "ptb-word-lstm-fp"),
)
