"""The commands, each from the user's end: what it asks of the rooms below, and what it prints."""
