"""Learning from labelled examples: reading and checking them, windows and batches, what a task of this kind offers."""
