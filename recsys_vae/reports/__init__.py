"""Plots of what other rooms have worked out; the only room that imports matplotlib."""
