"""The pipeline's verbs: each reads folders, calls the library, writes a folder, logs a run."""
