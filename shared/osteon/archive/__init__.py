"""What the archive knows of its instances: the records, and the ports by which services read and write them."""
