"""Broken input for every entrance of the library, by mutation of small good samples: `python -m tools.fuzz`."""
