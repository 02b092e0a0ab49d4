"""The subcommands that run on the line."""
