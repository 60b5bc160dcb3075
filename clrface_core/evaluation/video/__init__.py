"""How steady restored videos are: clips of known motion, and measures of what moves in them that should not."""
