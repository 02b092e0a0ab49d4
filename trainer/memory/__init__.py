"""The memory as a method of learning products: what good parts look like, and no prompts."""
