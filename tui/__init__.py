"""The writing page: the Textual application over the library."""
