"""The spool: packs on a local disk, the outbox between a modality and the archive."""
