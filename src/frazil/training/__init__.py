"""Training: Lightning drives it, frazil decides what a step sees. Only this room (and multi-device generation) imports Lightning."""
