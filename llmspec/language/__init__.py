"""How a file becomes a spec, and a spec explains itself: positions, overlays, references, faults, meanings, the schema."""
