"""Building blocks on tensors: they know neither users nor files."""
