"""What an archive needs for what a hospital sends: replicas, cores, disks. From measured figures, by a simple model."""
