"""How a face network is shown a picture, so that it finds faces of any size and rotation."""
