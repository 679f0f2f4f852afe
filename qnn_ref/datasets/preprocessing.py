"""What a recipe may do to images before training: contrast normalization, whitening, and back.

The paper itself uses none of it; the authors' Torch recipes whiten CIFAR-10 and normalize the
contrast of SVHN. Both give real numbers, while the first layer of a packed network reads bytes:
`to_bytes` quantizes them again. What is learned from images (a mean, a matrix, a range) is learned
from the training part and then used for all parts:

    mean, matrix = zca_fit(train, bias=0.1)
    train, value_range = to_bytes(zca_apply(train, mean, matrix))
    test, _ = to_bytes(zca_apply(test, mean, matrix), value_range)

All sums are taken in float64, for a block of images at a time; a data set in float64 would not fit
into the memory of a small machine.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn_ref.checks import all_finite, real, whole

_BLOCK = 1000
_LARGEST = 1e100

Images = NDArray[np.uint8] | NDArray[np.floating[Any]]
Reals = NDArray[np.floating[Any]]


def global_contrast_normalize(images: Images, scale: float = 1.0, bias: float = 10.0) -> Reals:
    """Give all images the same brightness and nearly the same contrast (GCN).

    y = scale (x - m) / sqrt(bias + v), where m and v are the mean and the variance (divided by
    the count) of all pixels and channels of one image. An image of one colour value becomes zeros.

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8 or float
    scale : float
        The deviation of the result where v is much larger than `bias`.
    bias : float
        Keeps flat images from becoming noise. 0 gives each image exactly the deviation `scale`;
        the recipe's 10 belongs to pixels 0..255.

    Returns
    -------
    array of float32, or float64 if `images` is
        The same shape.

    Raises
    ------
    ValueError
        If the dtype, shape or a value is wrong, or `bias` is negative.

    References
    ----------
    Not in the paper: the authors' Torch recipe for SVHN (by the deviation, bias 10), in which
    the bias stands inside the root.

    Examples
    --------
    >>> images = np.array([0, 4, 8, 12, 7, 7, 7, 7], np.uint8).reshape(2, 2, 2, 1)
    >>> global_contrast_normalize(images, bias=0).reshape(2, 4).round(3)
    array([[-1.342, -0.447,  0.447,  1.342],
           [ 0.   ,  0.   ,  0.   ,  0.   ]], dtype=float32)
    """
    _check_squares(images)
    scale = real("scale", scale, most=_LARGEST)
    bias = real("bias", bias, least=0)
    result = _empty_result(images)
    for block, x in _blocks(images):
        centred = x - x.mean(axis=1, keepdims=True)
        # The mean of equal numbers is rounded: without this, noise would be scaled up.
        centred[x.min(axis=1) == x.max(axis=1)] = 0
        variance = np.mean(centred**2, axis=1, keepdims=True)
        deviation = np.sqrt(bias + variance)
        deviation[deviation == 0] = 1
        _store(result, block, scale * centred / deviation, "scale")
    return result


def local_contrast_normalize(
    images: Images, size: int = 9, deviation: float = 2.0, least: float = 1e-4
) -> Reals:
    r"""Give each neighbourhood of an image the same brightness, at most the same contrast (LCN).

    v = x - sum w x and y = v / max(s, mean of s, least), with s = sqrt(sum w v^2): sums over the
    window of a pixel, with a Gaussian's weights w that add up to 1, in each channel for itself.
    The mean is that of the channel, so quiet places are not blown up. Outside of the image there
    are zeros.

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8 or float
    size : int
        Pixels along a side of the window, an odd number.
    deviation : float
        Of the Gaussian, in pixels.
    least : float
        What is divided by in a flat image.

    Returns
    -------
    array of float32, or float64 if `images` is
        The same shape.

    Raises
    ------
    ValueError
        If the dtype, shape or a value is wrong, or `size` is even.

    References
    ----------
    Not in the paper: the authors' Torch recipe for SVHN (LeCun's form, 9 x 9), after GCN. The
    Gaussian's deviation and the border are our reading; Jarrett et al. (2009).

    Examples
    --------
    >>> image = np.zeros((1, 3, 3, 1), np.float32)
    >>> image[0, 1, 1] = 1
    >>> local_contrast_normalize(image, size=3, deviation=1.0)[0, ..., 0].round(2)
    array([[-0.28, -0.42, -0.28],
           [-0.42,  2.14, -0.42],
           [-0.28, -0.42, -0.28]], dtype=float32)
    """
    _check_squares(images)
    size = whole("size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"size: expected an odd number of pixels, got {size}")
    away = np.arange(size) - size // 2
    deviation = real("deviation", deviation, above=0)
    weights = np.exp(-0.5 * (away / deviation) ** 2)
    weights /= weights.sum()
    least = real("least", least, above=0)
    result = _empty_result(images)
    for block, flat in _blocks(images):
        x = flat.reshape(-1, *images.shape[1:])
        v = x - _smooth(x, weights)
        contrast = np.sqrt(_smooth(v**2, weights))
        floor = np.maximum(contrast.mean(axis=(1, 2), keepdims=True), least)
        _store(result, block, v / np.maximum(contrast, floor), "least")
    return result


def _smooth(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sums (count, height, width, channels) along both sides; outside there is 0."""
    reach = len(weights) // 2
    for axis in (1, 2):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(4)]
        x = np.lib.stride_tricks.sliding_window_view(np.pad(x, pad), len(weights), axis) @ weights
    return x


def zca_fit(images: Images, bias: float = 0.1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Learn the whitening that changes images least (ZCA).

    With the mean m and the covariance C = E[(x - m)(x - m)^T] = U diag(l) U^T of the flattened
    images (divided by their count) the matrix is U diag(1 / sqrt(l + bias)) U^T. Whitened images
    (`zca_apply`) have the covariance U diag(l / (l + bias)) U^T, for bias 0 the identity.

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8 or float
        The training part.
    bias : float
        Keeps directions without variance from becoming noise. It is compared with l, so it
        depends on the unit of the pixels.

    Returns
    -------
    mean : array (height * width * channels,) of float64
    matrix : array (features, features) of float64
        Symmetric, with the same number of features.

    Raises
    ------
    ValueError
        If the dtype, shape or a value is wrong, if `bias` is negative, or if it is 0 and the
        covariance is singular, as it always is for no more images than features.

    References
    ----------
    Not in the paper: the authors' Torch recipe for CIFAR-10 (bias 0.1).
    """
    _check_squares(images)
    bias = real("bias", bias, least=0)
    features = images[0].size
    mean = np.zeros(features)
    for _, x in _blocks(images):
        mean += x.sum(axis=0)
    mean /= len(images)
    covariance = np.zeros((features, features))
    for _, x in _blocks(images):
        x -= mean
        covariance += x.T @ x
    covariance /= len(images)
    variances, directions = np.linalg.eigh(covariance)
    # What is smaller is the rounding of a variance that is 0.
    smallest = max(variances.max(), 0) * features * np.finfo(np.float64).eps
    if bias == 0 and variances.min() <= smallest:
        rank = int((variances > smallest).sum())
        raise ValueError(
            f"bias: expected more than 0, because the covariance of these {len(images)} images "
            f"has rank {rank} of {features}, got 0"
        )
    matrix = (directions / np.sqrt(np.maximum(variances, 0) + bias)) @ directions.T
    return mean, (matrix + matrix.T) / 2


def zca_apply(images: Images, mean: NDArray[np.float64], matrix: NDArray[np.float64]) -> Reals:
    """Whiten images with what `zca_fit` learned: y = matrix (x - mean).

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8 or float
        Any part.
    mean : array (height * width * channels,) of float64
    matrix : array (features, features) of float64

    Returns
    -------
    array of float32, or float64 if `images` is
        The same shape as `images`.

    Raises
    ------
    ValueError
        If the dtype, a shape or a value is wrong.

    References
    ----------
    Not in the paper: see `zca_fit`.

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(5, 2, (1000, 2, 2, 1))
    >>> mean, matrix = zca_fit(images, bias=0)
    >>> flat = zca_apply(images, mean, matrix).reshape(1000, 4)
    >>> np.allclose(flat.T @ flat / 1000, np.eye(4))
    True
    """
    _check_images(images)
    features = images[0].size
    for name, array, shape in (
        ("mean", mean, (features,)),
        ("matrix", matrix, (features, features)),
    ):
        if array.shape != shape:
            raise ValueError(
                f"{name}: expected shape {shape} for images of shape {images.shape[1:]}, got "
                f"{array.shape}"
            )
        all_finite(name, array)
    result = _empty_result(images)
    for block, x in _blocks(images):
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            whitened = (x - mean) @ matrix.T
        _store(result, block, whitened, "matrix")
    return result


def to_bytes(
    images: Images, value_range: tuple[float, float] | None = None, tail: float = 0.1
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Quantize preprocessed images to bytes, which `layers.Pixels` and packed networks read.

    pixel = floor(255 (x - low) / (high - low) + 1/2), cut off at 0 and 255: values beyond the
    range become its ends. So the pixel p stands for low + p (high - low) / 255, and the first
    layer sees the range as [-1, 1].

    Parameters
    ----------
    images : array (count, height, width, channels) of uint8 or float
    value_range : tuple of float, optional
        (low, high); None takes percentiles of these images. Give the range of the training part
        for the other parts.
    tail : float
        For a range that is not given: how many percent of the values lie below it, and how many
        above; 0 keeps all.

    Returns
    -------
    pixels : array of uint8
        The same shape.
    value_range : tuple of float
        (low, high) as used.

    Raises
    ------
    ValueError
        If the dtype, shape or a value is wrong, or the range is empty.

    References
    ----------
    Not in the paper: it packs no network with whitened input. Range and rounding are ours.

    Examples
    --------
    >>> images = np.array([-1.5, -1.0, 0.0, 1.0]).reshape(1, 2, 2, 1)
    >>> pixels, value_range = to_bytes(images, (-1, 1))
    >>> pixels.ravel(), value_range
    (array([  0,   0, 128, 255], dtype=uint8), (-1.0, 1.0))
    """
    _check_images(images)
    tail = real("tail", tail, least=0, below=50)
    if value_range is None:
        low, high = (float(end) for end in np.percentile(images, (tail, 100 - tail)))
    else:
        if len(value_range) != 2:
            raise ValueError(f"value_range: expected (low, high), got {value_range}")
        low, high = (real("value_range", end) for end in value_range)
    if not (np.isfinite(high - low) and low < high):
        raise ValueError(f"value_range: expected low < high, got ({low}, {high})")
    result = np.empty(images.shape, np.uint8)
    for block, x in _blocks(images):
        levels = 255 * ((np.clip(x, low, high) - low) / (high - low))
        result[block] = np.floor(levels + 0.5).reshape(-1, *images.shape[1:])
    return result, (low, high)


def _blocks(images: Images) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield some images at a time: where they stand, and a copy of shape (some, features)."""
    for start in range(0, len(images), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield block, images[block].reshape(len(images[block]), -1).astype(np.float64)


def _check_images(images: Images) -> None:
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images: expected a NumPy array, got {type(images).__name__}")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ValueError(f"images: expected dtype uint8 or float, got {images.dtype}")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"images: expected shape (count, height, width, channels), got {images.shape}"
        )
    all_finite("images", images)


def _check_squares(images: Images) -> None:
    """As `_check_images`, for who adds squares of pixels."""
    _check_images(images)
    if max(float(images.max()), -float(images.min())) > _LARGEST:
        raise ValueError(f"images: expected values up to {_LARGEST:g}, whose squares are numbers")


def _empty_result(images: Images) -> Reals:
    return np.empty(images.shape, np.float32 if images.dtype.itemsize <= 4 else np.float64)


def _store(result: Reals, block: slice, x: NDArray[np.float64], name: str) -> None:
    """Round a block to the type of the result, which must be able to hold it."""
    largest = np.finfo(result.dtype).max
    if not np.abs(x).max() <= largest:
        raise ValueError(f"{name}: makes values that {result.dtype} cannot hold")
    result[block] = x.reshape(-1, *result.shape[1:])
