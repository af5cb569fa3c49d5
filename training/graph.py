"""ONNX files written node by node: what is in them is what stands here, whichever exporter is in fashion."""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes in the order in which they are added. A value is known by its name."""

    def __init__(self, name):
        self.name, self.nodes, self.weights, self.inputs, self.outputs = name, [], [], [], []

    def input(self, name, shape):
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name, shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, value, kind=numpy.float32):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(numpy.ascontiguousarray(value, dtype=kind), name))
        return name

    def node(self, kind, inputs, name=None, **attributes):
        name = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{kind}_{len(self.nodes)}", **attributes))
        return name

    def convolution(self, x, conv, norm=None):
        """A convolution with the normalisation after it (in evaluation) folded into its weights."""
        weight = conv.weight.detach().double()
        bias = conv.bias.detach().double() if conv.bias is not None else weight.new_zeros(weight.shape[0])
        if norm is not None:
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * scale[:, None, None, None]
            bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
        pads, strides = list(conv.padding) * 2, list(conv.stride)
        inputs = [x, self.constant(weight.float().numpy()), self.constant(bias.float().numpy())]
        return self.node("Conv", inputs, kernel_shape=list(conv.kernel_size), pads=pads, strides=strides, group=conv.groups)

    def save(self, path):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="placard training")
        model.ir_version = 8
        onnx.checker.check_model(model)
        onnx.save(model, path)
