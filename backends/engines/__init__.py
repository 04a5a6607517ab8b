"""The cards: options, defaults, and one line that names the work."""
