"""Labels, metadata, attachments and protection of resources: what users add to what was received."""
