"""What is compared: the ways through a model, its ablations, and baselines."""
