"""The command line: parse, call the library, render. stdout is data, stderr is everything else."""
