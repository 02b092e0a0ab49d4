"""The memory as a method: it remembers patches of good parts and learns no prompts."""
