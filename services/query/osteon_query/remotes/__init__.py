"""Requests to modalities and peers, which `dispatcher` carries out, and the list of modalities for `ingress`."""
