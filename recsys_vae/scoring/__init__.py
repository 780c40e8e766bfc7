"""Lists for everyone, offline."""
