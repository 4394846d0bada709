"""A finished run -> an ONNX graph in a model folder that works without torch."""
