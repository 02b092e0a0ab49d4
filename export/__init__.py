"""From torch to engines: ONNX graphs, the parity gate, and the commands that make engines and recipes."""
