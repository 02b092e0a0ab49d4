"""Makes engines from torch: exports ONNX graphs, checks them at the gate, and has the commands for both."""
