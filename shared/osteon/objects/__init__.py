"""The object store: a port, any S3 by the `minio` client, and a folder."""
