"""The subcommands that need no torch."""
