"""What tests of exported files share: the other side, and networks with many ties."""

from __future__ import annotations

import numpy as np

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
"""onnxruntime's levels of optimisation."""


def same_bits(found, expected):
    """Bit for bit, so 0 and -0 differ."""
    assert found.dtype == expected.dtype
    words = f"u{expected.itemsize}"
    np.testing.assert_array_equal(found.view(words), expected.view(words))


def session(data, level="ENABLE_ALL", threads=1):
    """The file, loaded by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def by_onnxruntime(data, images, level="ENABLE_ALL", threads=1):
    """Scores of images by the file."""
    return session(data, level, threads).run(["scores"], {"images": images})[0]


def by_reference(data, images):
    """Scores of images by the file, in the evaluator that comes with onnx."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(onnx.load_from_string(data)).run(["scores"], {"images": images})[0]


def by_qonnx(data, images, clean):
    """Scores of images by a QONNX file, in qonnx's executor; cleaned up first or as it is."""
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.change_batchsize import ChangeBatchSize
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.util.cleanup import cleanup_model

    model = ModelWrapper(onnx.load_from_string(data))
    if clean:
        model = cleanup_model(model, override_inpsize=len(images))
    elif len(images) != 1:
        model = model.transform(ChangeBatchSize(len(images))).transform(InferShapes())
    (given,), (wanted,) = model.graph.input, model.graph.output
    answer = execute_onnx(model, {given.name: images.astype(np.float32)})
    return answer[wanted.name]


def plant_ties(network, images):
    """Move running means onto sums that occur, so that many numbers are exactly 0 behind them.

    Half of the channels of every batch norm get the sum that one of the images has there.
    """
    from qnn_ref.layers import BatchNorm

    for index, layer in enumerate(network.layers):
        if isinstance(layer, BatchNorm):
            x = images
            for before in network.layers[:index]:
                x = before.forward(x)
            rows = x.reshape(-1, x.shape[-1])
            channels = np.arange(0, rows.shape[1], 2)
            layer.running_mean[channels] = rows[channels % len(rows), channels]
            layer.shift.assign(np.where(np.arange(rows.shape[1]) % 2, layer.shift.latent, 0.0))
    return network
