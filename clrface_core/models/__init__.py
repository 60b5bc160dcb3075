"""The networks of CLR-Face, one file each, and the bundle that holds them."""
