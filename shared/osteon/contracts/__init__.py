"""What services say to each other: message types, one file a family, and the topology that carries them."""
