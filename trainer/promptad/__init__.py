"""PromptAD (CVPR 2024): prompts learned for one product from the features of a few good photos."""
