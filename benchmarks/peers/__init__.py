"""Other people's software, run beside ours."""
