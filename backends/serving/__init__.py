"""The endpoint's own process."""
