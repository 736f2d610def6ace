"""See `image`."""
