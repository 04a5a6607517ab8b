"""Where work is done and releases live: one file each."""
