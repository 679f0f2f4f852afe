"""The published data sets: shapes, class names, checksums, and where they can be had; texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_DIGIT_NAMES = tuple("0123456789")


@dataclass(frozen=True)
class Known:
    """What is known about a published data set.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    classes : tuple of str
        The name of each class.
    sha256 : mapping of str to str
        For each part the checksum of its *uncompressed* idx file: the compressed files differ
        between sources in the header of the compression alone. Of a set that is published in
        another form, for each file by name the checksum of the file as it is.
    mirrors : tuple of str
        Addresses that end in "/", tried in this order; none for a set that comes with the package.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    sha256: Mapping[str, str]
    mirrors: tuple[str, ...] = ()


# Of the 1,797 images and labels as stored, pixels 0..16.
DIGITS = Known(
    image_shape=(8, 8, 1),
    classes=_DIGIT_NAMES,
    sha256=MappingProxyType(
        {
            "images": "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96",
            "labels": "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad",
        }
    ),
)

MNIST = Known(
    image_shape=(28, 28, 1),
    classes=_DIGIT_NAMES,
    sha256=MappingProxyType(
        {
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
)

FASHION_MNIST = Known(
    image_shape=(28, 28, 1),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    sha256=MappingProxyType(
        {
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        }
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)

CIFAR10 = Known(
    image_shape=(32, 32, 3),
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    sha256=MappingProxyType(
        {
            "cifar-10-binary.tar.gz": (
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
            ),
        }
    ),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
)

SVHN = Known(
    image_shape=(32, 32, 3),
    classes=_DIGIT_NAMES,
    sha256=MappingProxyType(
        {
            "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            "extra_32x32.mat": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
            "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        }
    ),
    mirrors=("http://ufldl.stanford.edu/housenumbers/",),
)


@dataclass(frozen=True)
class KnownText:
    """What is known about a text.

    Parameters
    ----------
    sha256 : mapping of str to str
        For each file by name the checksum of its bytes.
    strip_lines : bool
        Whether its lines have a space at either end that is none of the text.
    mirrors : tuple of str
        None so far: one text comes with the package, the other may not be passed on.
    """

    sha256: Mapping[str, str]
    strip_lines: bool = False
    mirrors: tuple[str, ...] = ()


TEXTS: Mapping[str, KnownText] = MappingProxyType(
    {
        "shakespeare": KnownText(
            MappingProxyType(
                {
                    "shakespeare.txt": (
                        "7bce277f2f9d6c2c5ebb6307101f7b5a6fe4ada24dd87971bd874d4bed8d503b"
                    ),
                }
            )
        ),
        "ptb": KnownText(
            MappingProxyType(
                {
                    "ptb.train.txt": (
                        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"
                    ),
                    "ptb.valid.txt": (
                        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"
                    ),
                    "ptb.test.txt": (
                        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"
                    ),
                }
            ),
            strip_lines=True,
        ),
    }
)

KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "digits": DIGITS,
        "mnist": MNIST,
        "fashion-mnist": FASHION_MNIST,
        "cifar10": CIFAR10,
        "svhn": SVHN,
    }
)

_ALSO_CALLED: Mapping[str, str] = MappingProxyType({"cifar10": "cifar-10"})


def spellings(name: str) -> list[str]:
    """List how a data set's files or folder may be called.

    Parameters
    ----------
    name : str
        Of the data set.

    Returns
    -------
    list of str
        The name and its other form ("cifar-10"), each also with "_" for "-".
    """
    names = (name, _ALSO_CALLED.get(name, name))
    return list(dict.fromkeys(form for each in names for form in (each, each.replace("-", "_"))))


def folders_of(name: str, folder: Path) -> list[Path]:
    """List where the files of a data set may lie.

    Parameters
    ----------
    name : str
        Of the data set.
    folder : pathlib.Path
        Where to look.

    Returns
    -------
    list of pathlib.Path
        Its own folders inside `folder`, then `folder`.
    """
    return [*(folder / spelling for spelling in spellings(name)), folder]
