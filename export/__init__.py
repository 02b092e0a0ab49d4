"""From torch to engines: ONNX graphs, the gate that checks them, and the commands that make engines and recipes."""
