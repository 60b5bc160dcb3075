"""How the bundled networks are trained: data, losses, the four stages and the one loop that runs them."""
