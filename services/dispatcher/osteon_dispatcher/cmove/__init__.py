"""C-MOVE as provider (PS3.4 C.4.2): the requests of `ingress`, the job that sends, and its checkpoint."""
