"""ZIP archives and media of resources."""
