"""Training: Lightning drives it, frazil decides what a step sees."""
