"""Diffusion over latents: the forward process, the solvers, identity guidance and the loop of them all."""
