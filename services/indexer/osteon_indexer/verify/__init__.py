"""`osteon verify`: compares the object store with the index, in both directions."""
