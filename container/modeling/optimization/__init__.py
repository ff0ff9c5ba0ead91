"""Training itself: the steps, what they make small and by which rule, and going on after an interruption."""
