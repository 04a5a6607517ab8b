"""Serving places: one program each, behind the interface in `wanted` and `served`."""
