"""The part of the command line tool that runs within pytest."""
