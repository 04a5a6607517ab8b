"""Where and how stages are done: light cards in `engines` and `places`, heavy bodies in `work` and `serving`."""
