"""Whole, labeled tomograms from layouts: which particle is where."""
