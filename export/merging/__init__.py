"""An adapter added to a checkpoint's weights: W + delta, a tensor at a time and without torch."""
