"""Raw sources to documents; vocabulary; encoding and decoding."""
