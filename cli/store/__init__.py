"""The subcommands that read and write stores."""
