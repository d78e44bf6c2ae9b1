"""`osteon verify`: does the object store hold what the index says, and the other way round."""
