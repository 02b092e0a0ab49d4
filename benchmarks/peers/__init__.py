"""Software of others, measured beside ours."""
