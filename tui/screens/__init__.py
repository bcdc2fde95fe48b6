"""What fills the whole terminal, one at a time."""
