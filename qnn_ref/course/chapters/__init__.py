"""One file a notebook: its exercises and questions, as data."""
