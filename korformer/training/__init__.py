"""Training: settings and presets, optimizer, the loop, and the run directory that it can always go on from."""
