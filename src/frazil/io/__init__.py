"""The only reader and writer of foreign formats. xyz is flipped to zyx here, once."""
