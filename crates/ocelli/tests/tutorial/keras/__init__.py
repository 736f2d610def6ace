"""What the tutorial uses of Keras; see the README beside the processes."""
