"""Makes what `tests/test_interop_weights.py` compares with: networks of other libraries, run there.

    python -m tests.make_weights torch      # PyTorch
    TF_USE_LEGACY_KERAS=1 python -m tests.make_weights larq       # larq, with Keras 2

Writes `tests/data/weights/NAME.npz`: arrays of the other library's network as it gives them,
images, and its own scores in inference, all float64; the header says which versions made it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from qnn_ref.files import save_arrays

FOLDER = Path(__file__).parent / "data" / "weights"
KIND, VERSION = "weights from elsewhere", 1
SHAPE, CHANNELS, HIDDEN, CLASSES = (6, 8, 2), (5, 7), 9, 4


def images(count: int, seed: int) -> np.ndarray:
    """Some images of bytes (count, height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def codes(x: np.ndarray) -> np.ndarray:
    """Pixels in [-1, 1]."""
    return (2 * x.astype(np.float64) - 255) / 255


def by_torch() -> None:
    """A straight-through network: sign forward, slope 1 between the bounds backward."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sign()

        @staticmethod
        def backward(ctx, dy):
            return dy * (ctx.saved_tensors[0].abs() <= 1)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(SHAPE[2], CHANNELS[0], 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(CHANNELS[0])
            self.conv2 = nn.Conv2d(CHANNELS[0], CHANNELS[1], (3, 2))
            self.bn2 = nn.BatchNorm2d(CHANNELS[1])
            self.fc1 = nn.Linear(CHANNELS[1] * 2 * 3, HIDDEN)
            self.bn3 = nn.BatchNorm1d(HIDDEN)
            self.fc2 = nn.Linear(HIDDEN, CLASSES)
            self.bn4 = nn.BatchNorm1d(CLASSES, affine=False)

        def forward(self, x):
            def multiply(layer, x, function, **settings):
                return function(x, Sign.apply(layer.weight), layer.bias, **settings)

            f = nn.functional
            x = Sign.apply(self.bn1(multiply(self.conv1, x, f.conv2d, padding=1)))
            x = Sign.apply(self.bn2(f.max_pool2d(multiply(self.conv2, x, f.conv2d), 2)))
            x = Sign.apply(self.bn3(multiply(self.fc1, x.flatten(1), f.linear)))
            return self.bn4(multiply(self.fc2, x, f.linear))

    model, rng = Network(), np.random.default_rng(0)
    for norm in (model.bn1, model.bn2, model.bn3):
        norm.weight.data = torch.tensor(rng.normal(size=norm.weight.shape))  # some are negative
    rule = torch.optim.SGD(model.parameters(), 0.05)
    for step in range(20):
        x = torch.tensor(codes(images(16, step)).transpose(0, 3, 1, 2))
        loss = nn.functional.cross_entropy(model(x), torch.tensor(rng.integers(0, CLASSES, 16)))
        rule.zero_grad()
        loss.backward()
        rule.step()
    model.eval()
    test = images(40, 1000)
    with torch.no_grad():
        scores = model(torch.tensor(codes(test).transpose(0, 3, 1, 2))).numpy()
    state = {f"there/{name}": value.numpy() for name, value in model.state_dict().items()}
    save("torch", state | {"images": test, "scores": scores}, {"torch": torch.__version__})


def by_larq() -> None:
    """The same kind of network of larq's layers; a border of ones, one of the pools in front."""
    import larq
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    keras.backend.set_floatx("float64")
    binary = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    signs = {"input_quantizer": "ste_sign", **binary}
    model = keras.Sequential(
        [
            larq.layers.QuantConv2D(
                CHANNELS[0], 3, padding="same", use_bias=False, input_shape=SHAPE, **binary
            ),
            keras.layers.BatchNormalization(),
            larq.layers.QuantConv2D(CHANNELS[1], 3, padding="same", pad_values=1.0, **signs),
            keras.layers.MaxPooling2D(2),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Flatten(),
            larq.layers.QuantDense(HIDDEN, **signs),
            keras.layers.BatchNormalization(epsilon=1e-3),
            larq.layers.QuantDense(CLASSES, use_bias=False, **signs),
            keras.layers.BatchNormalization(),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            first = layer.get_weights()
            layer.set_weights([rng.normal(size=first[0].shape), *first[1:]])
    for step in range(20):
        model.train_on_batch(codes(images(16, step)), rng.integers(0, CLASSES, 16))
    test = images(40, 1000)
    arrays = {
        f"there/{number}/{i}": array
        for number, layer in enumerate(model.layers)
        for i, array in enumerate(layer.get_weights())
    }
    scores = model.predict_on_batch(codes(test))
    versions = {"larq": larq.__version__, "tf_keras": keras.__version__}
    save("larq", arrays | {"images": test, "scores": scores}, versions)


def save(name: str, arrays: dict[str, np.ndarray], versions: dict[str, str]) -> None:
    """Write a file, and how it was made."""
    FOLDER.mkdir(exist_ok=True)
    facts = {"kind": KIND, "version": VERSION, "command": f"python -m tests.make_weights {name}"}
    save_arrays(FOLDER / f"{name}.npz", arrays, facts | {"versions": versions})


if __name__ == "__main__":
    {"torch": by_torch, "larq": by_larq}[sys.argv[1]]()
