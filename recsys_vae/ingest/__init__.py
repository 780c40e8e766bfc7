"""From files to clean interactions, with an account of every row."""
