"""What runs on the workstation: the CLIP backbone in torch, and the methods that learn a product."""
