"""What is done to the graph of a model after it was built: fewer and wider products, fewer rows of logits, smaller weights."""
