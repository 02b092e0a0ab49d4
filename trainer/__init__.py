"""Everything that runs on the workstation: the backbones in torch, and the methods that learn a product."""
